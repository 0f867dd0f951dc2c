#!/usr/bin/env python3
"""Makes the seeds that are not text: of the C compiler's libraries, and of the tests' double of libtt_metal.so.

    python3 tests/fuzz/seed.py [FIXTURE_LIBRARY...]

Writes tests/fuzz/corpus/elf, recording, journal, walk, cache, manifest, landing, vulkan, opencl and level_zero, and where
libraries are named, code. What `cargo xtask fuzz --keep` finds comes beside them.
"""

import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = """
extern void imported(void);
int table[4] = {1, 2, 3, 4};
void first_of_two(void) { imported(); }
void first_of_many(void) { imported(); imported(); }
static __attribute__((used)) int hidden_one(void) { return 1; }
"""
END = b"\x0f\x0b\x0f\x0b"
# Of an input, by `cargo xtask fuzz`.
LONGEST = 8192


def elf():
    """Libraries of a few functions, in the styles that linkers have."""
    corpus = HERE / "corpus/elf"
    corpus.mkdir(parents=True, exist_ok=True)
    styles = {
        "plain": [],
        "cet": ["-fcf-protection=full"],
        "now": ["-Wl,-z,now"],
        "sysv": ["-Wl,--hash-style=sysv", "-s"],
    }
    for name, flags in styles.items():
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "a.c")
            source.write_text(SOURCE)
            library = pathlib.Path(folder, "a.so")
            subprocess.run(
                ["gcc", "-O1", "-shared", "-fPIC", "-nostdlib", "-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=64",
                 "-Wl,-soname,liba.so.7", "-Wl,--build-id=0x0123abcd", "-fno-asynchronous-unwind-tables",
                 "-fno-ident", *flags, "-o", library, source],
                check=True,
            )
            (corpus / f"gcc-{name}").write_bytes(library.read_bytes())


def names():
    """The functions of the target `code`, in its order."""
    text = (HERE / "src/code.rs").read_text()
    return re.findall(r'"(_Z[^"]+)"', text)


def functions(library):
    """Code by symbol name."""
    data = library.read_bytes()
    headers, = struct.unpack_from("<Q", data, 0x28)
    count, = struct.unpack_from("<H", data, 0x3C)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, headers + 64 * n) for n in range(count)]
    loads = [struct.unpack_from("<IIQQQQQQ", data, 0x40 + 56 * n) for n in range(struct.unpack_from("<H", data, 0x38)[0])]
    found = {}
    for _, kind, _, _, offset, size, link, _, _, _ in sections:
        if kind not in (2, 11):
            continue
        strings = sections[link][4]
        for at in range(offset, offset + size, 24):
            name, _, _, _, value, length = struct.unpack_from("<IBBHQQ", data, at)
            end = data.index(b"\0", strings + name)
            place = next((l[2] + value - l[3] for l in loads if l[0] == 1 and 0 <= value - l[3] < l[5]), None)
            if place is not None and length:
                found[data[strings + name:end].decode()] = data[place:place + min(length, 512)]
    return found


def beginning(name):
    """Where argument lists differ, the name without them."""
    return re.sub(r"(E|Ev|Em+|Ej)$", "", name)


def code(libraries):
    corpus = HERE / "corpus/code"
    corpus.mkdir(parents=True, exist_ok=True)
    for library in map(pathlib.Path, libraries):
        found = functions(library)
        pieces = []
        for name in names():
            exact = found.get(name)
            like = next((found[other] for other in sorted(found) if other.startswith(beginning(name))), b"")
            pieces.append(exact or like)
        whole = END.join(pieces)
        (corpus / library.parent.name.split("-")[0]).write_bytes(whole)
        print(library, sum(map(bool, pieces)), "functions,", len(whole), "bytes")


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def zigzag(number):
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def string(data):
    return varint(len(data)) + data


PROCESS = {"proc": 7, "facts": {"pid": 22072, "start_time": None, "comm": "py\u001b[2J", "command": ["python", "\u202e"],
                                "uid": 1000, "user": "ada", "cgroup": "/"}}
OWNER = {"proc": 7, "space": 0, "owner": 94120400}
ROW = {"proc": 7, "owner": 94120400, "space": 0, "pool": 0, "ogen": 0, "reserved": 0}
VALUE = {"requested": 100, "charged": 128, "peak_charged": 256, "live": 1, "allocations": 2, "frees": 1, "failed": 0,
         "failed_bytes": 0, "inexact": 0, "sequence": 3}
FACTS = [
    {"start": {"host": "h", "observer": {"version": "0", "started_at": "", "scope": "all"},
               "runtimes": [{"name": "tt-metal", "pools": {"0": {"name": "DRAM", "charged": True}}}]}},
    {"process": PROCESS},
    {"understood": {"proc": 7, "understood": True}},
    {"since": {"proc": 7, "since": "start"}},
    {"placement": {"owner": OWNER, "ogen": 0, "placement": {
        "devices": [{"id": 0, "uid": "1", "name": None}, {"id": 1, "uid": None, "name": None}],
        "pools": {"0": {"banks": 12, "bytes": 12870205440, "largest_free_per_bank": None, "base": 1048640}}}}},
    {"baseline": {"key": ROW, "baseline": {"requested": 10, "charged": 64, "live": 1}}},
    {"row": {"key": ROW, "value": VALUE}},
]
MORE = [
    {"failure": {"at": "", "pid": 22072, "tid": 1, "comm": "python", "runtime": "tt-metal", "devices": [0],
                 "pool": "DRAM", "requested_bytes": 1, "needed_bytes": 2, "number": 1}},
    {"notice": {"at": "", "kind": "gap", "text": "gap"}},
    {"owner_opened": {"owner": OWNER, "ogen": 1}},
    {"freed_all": {"owner": OWNER, "ended": 0}},
    {"generation": {"owner": OWNER, "ogen": 2}},
    {"ending": {"at": "", "pid": 22072, "comm": "python", "user": None, "held": []}},
    {"inexact": {"proc": 7}},
    {"exited": {"proc": 7, "at_ns": 5}},
    {"forget": {"proc": 7}},
    {"libraries": [{"runtime": "tt-metal", "path": "/a", "build_id": None, "layout": "decoded", "probes": 5,
                    "processes": 1, "problem": None, "notes": []}]},
    {"health": {"events": 1, "lost_events": 0, "failed_reads": 0, "unknown_frees": 0, "inexact_rows": 0,
                "inherited_frees": 0, "notes": ["n"]}},
    {"live": [{"proc": 7, "space": 0, "owner": 94120400, "pool": 0, "ogen": 0, "key": 1, "requested": 10,
               "charged": 64, "address": 4096, "since_ns": 1, "tid": 1}]},
    {"peaks": [{"proc": 7, "space": 0, "device": {"uid": "1"}, "pool": 0, "charged": 512}]},
    # What a target may say of itself.
    {"row": {"key": ROW, "value": {**VALUE, "charged": 2**63 - 1, "requested": -2**63, "live": 2**63 - 1, "sequence": 9}}},
    {"baseline": {"key": ROW, "baseline": {"requested": -2**63, "charged": 2**63 - 1, "live": 2**63 - 1}}},
    {"event": {"kind": "alloc", "time_ns": 9, "proc": 7, "pid": 22072, "tid": 3, "key": 2, "row": ROW, "sequence": 4,
               "requested": 5, "charged": 64, "address": 8192}},
]


def line(fact):
    return json.dumps(fact, separators=(",", ":")).encode() + b"\n"


def payload(facts, events):
    """One batch: facts, then events of one row by one thread."""
    runs = [(0, len(facts))] * bool(facts) + [(1, len(events))] * bool(events)
    out = varint(1) + zigzag(1000000000) + zigzag(2000000000) + varint(len(runs))
    out += b"".join(bytes([kind]) + varint(count) for kind, count in runs)
    out += string(b"".join(map(line, facts)))
    whose = b"".join(map(varint, [7, 22072, 7, 94120400, 0, 0, 0]))
    out += varint(len(events)) + varint(bool(events)) + whose * bool(events) + varint(bool(events))
    out += varint(3) * bool(events)
    columns = [b"" for _ in range(10)]
    for kind, back in events:
        columns[0] += bytes([kind])
        columns[1] += varint(0)
        columns[2] += varint(0)
        columns[3] += zigzag(1000)
        columns[4] += zigzag(0)
        columns[5] += varint(back)
        if not back:
            columns[6] += zigzag(64)
            columns[7] += varint(100)
            columns[8] += varint(128)
            columns[9] += zigzag(4096)
    out += b"".join(map(string, columns))
    # No live allocations: none, nobody's, in seven empty columns.
    return out + varint(0) + varint(0) + string(b"") * 7


def recordings():
    corpus = HERE / "corpus/recording"
    corpus.mkdir(parents=True, exist_ok=True)
    frame = lambda kind, flags, parts, events, later, body: bytes([kind, flags, parts, events, later]) + body
    whole = [
        frame(1, 0, 0, 0, 1, payload(FACTS, [])),
        frame(2, 0, 0, 4, 1, payload([], [(0, 0), (0, 0), (1, 1), (1, 3)])),
        frame(2, 1, 0, 1, 1, payload(MORE[:3], [(2, 0)])),
        frame(1, 2, 1, 0, 1, payload(FACTS, [])),
        frame(2, 0, 0, 0, 1, payload(MORE[9:13], [])),
        frame(2, 1, 0, 0, 1, payload(MORE[3:8], [])),
        frame(3, 0, 0, 0, 1, b""),
    ]
    (corpus / "whole").write_bytes(b"FRAM".join(whole))
    (corpus / "short").write_bytes(b"FRAM".join(whole[:2]))
    (corpus / "anew").write_bytes(b"FRAM".join(whole[3:]))


def journals():
    corpus = HERE / "corpus/journal"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "facts").write_bytes(b"".join(map(line, FACTS)))
    for number, fact in enumerate(MORE):
        (corpus / f"more-{number}").write_bytes(b"".join(map(line, FACTS)) + line(fact))


def walks():
    """A process in order (two pools of buffers, as `arbitrary` reads them), and one change to it of each kind."""
    listed = lambda items: b"".join(b"\1" + item for item in items) + b"\0"
    buffer = lambda requested, size: struct.pack("<HB", requested, size)
    buffers = listed([buffer(100, 3), buffer(0, 0), buffer(65535, 255)]) + listed([buffer(64, 15)])
    # Which of five, as a fraction of 2^32; before which read; where.
    kind = lambda which: struct.pack("<I", (which << 32) // 5 + 1)
    change = lambda read, place, which, what: struct.pack("<BH", read, place) + kind(which) + what
    seeds = {
        "order": buffers + listed([]),
        "empty": listed([]) * 3,
        "byte": buffers + listed([change(0, 7 | 0x52 << 3, 0, b"\0")]),
        "word": buffers + listed([change(9, 3 | 0x40 << 3, 1, struct.pack("<Q", 1 << 63))]),
        "pointer": buffers + listed([change(0, 6 | 0x20 << 3, 2, struct.pack("<H", 0x5800))]),
        "table": buffers + listed([change(0, 3, 3, b"\1")]),
        "copy": buffers + listed([change(20, 1 | 0x18 << 3, 4, struct.pack("<HB", 6, 1)), change(40, 2, 4, b"\0\0\0")]),
    }
    write("walk", seeds)


def write(target, seeds):
    corpus = HERE / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        assert len(data) <= LONGEST, f"{target}/{name}: {len(data)} bytes, of which the end would not be read"
        (corpus / name).write_bytes(data)
        print(f"{target}/{name}", len(data), "bytes")


def caches():
    """What `ldconfig` writes (glibc's dl-cache.h), alone and behind a table of the older format."""
    entries = [(0x0303, "liba.so.1", "/lib/liba.so.1"), (3, "liba.so.1", "/lib32/liba.so.1"),
               (0x0303, "liba.so.1", "/lib/glibc-hwcaps/x86-64-v3/liba.so.1"), (0x0303, "libb.so", "/opt/b/libb.so")]
    table = (b"glibc-ld.so.cache1.1" + struct.pack("<I", len(entries))).ljust(48, b"\0")
    texts = b""
    for flags, *both in entries:
        table += struct.pack("<I", flags)
        for text in both:
            table += struct.pack("<I", 48 + 24 * len(entries) + len(texts))
            texts += text.encode() + b"\0"
        table += bytes(12)
    table += texts
    older = b"ld.so-1.7.0\0" + struct.pack("<I", 3) + bytes(36)
    write("cache", {"newer": table, "both": older.ljust(56, b"\0") + table})


def manifests():
    icd = lambda path: json.dumps({"file_format_version": "1.0.0", "ICD": {"library_path": path, "api_version": "1.3"}})
    write("manifest", {
        "name": icd("libvulkan_a.so").encode(),
        "path": icd("/opt/b/libvulkan_b.so").encode(),
        "beside": icd("../lib/libvulkan_c.so").encode(),
        "vendor": b"liba.so.1\n",
        "vendors": b"\n  /opt/b/libb.so \nlibc.so:/d/libd.so\n",
    })


def assembled(text, *flags):
    """A library without headers between its parts, as a file."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "a.s" if text.lstrip().startswith(".text") else "a.c")
        script, library = pathlib.Path(folder, "script"), pathlib.Path(folder, "a.so")
        source.write_text(text)
        script.write_text(SCRIPT)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-nostdlib", "-w", "-fno-asynchronous-unwind-tables", "-fno-ident", *flags,
             "-Wl,-Bsymbolic", "-Wl,--build-id=none", "-Wl,-T", script, "-o", library, source],
            check=True, stderr=subprocess.DEVNULL,
        )
        return library.read_bytes()


SCRIPT = """SECTIONS {
    . = 0;
    .text : { *(.text .text.*) }
    .rodata : { *(.rodata .rodata.*) }
    .data : { *(.got) *(.got.plt) *(.data.rel.ro*) *(.data .data.*) *(.bss .bss.*) *(COMMON) }
    .init_array : { *(.init_array*) }
    . = 0x100000;
}"""


def image(library, names):
    """What src/image.rs makes the library of again; `names` in the order of the target."""
    headers, = struct.unpack_from("<Q", library, 0x28)
    count, strings = struct.unpack_from("<HH", library, 0x3C)
    sections = [struct.unpack_from("<IIQQQQIIQQ", library, headers + 64 * n) for n in range(count)]
    text = lambda at: library[at:library.index(b"\0", at)].decode()
    parts = {text(sections[strings][4] + section[0]): section for section in sections}
    whole, ends = b"", {}
    for part in [".text", ".rodata", ".data", ".init_array"]:
        if part in parts:
            _, kind, _, at, offset, size, *_ = parts[part]
            whole = whole.ljust(at, b"\0") + (bytes(size) if kind == 8 else library[offset:offset + size])
        ends[part] = len(whole)
    symbols, pointers = b"", b""
    values = {}
    for section in sections:
        _, kind, _, _, offset, size, link, *_ = section
        if kind not in (2, 11):
            continue
        for number, at in enumerate(range(offset, offset + size, 24)):
            name, _, _, where, value, length = struct.unpack_from("<IBBHQQ", library, at)
            name = text(sections[link][4] + name)
            if kind == 11:
                values[number] = value
            elif name in names and where:
                symbols += struct.pack("<HHH", names.index(name), value, length)
    for _, kind, _, _, offset, size, *_ in sections:
        for at in range(offset, offset + size, 24) if kind == 4 else ():
            place, info, addend = struct.unpack_from("<QQQ", library, at)
            # R_X86_64_RELATIVE; R_X86_64_64 and R_X86_64_GLOB_DAT of what is in it.
            value = addend if info == 8 else values[info >> 32] + addend if info & 0xFFFFFFFF in (1, 6) else 0
            if value and place < len(whole) > value:
                pointers += struct.pack("<HH", place, value)
    initializers = parts[".init_array"][3] if ".init_array" in parts else len(whole)
    numbers = [len(symbols) // 6, len(pointers) // 4, ends[".text"], ends[".rodata"], initializers]
    return struct.pack("<5H", *numbers) + symbols + pointers + whole


def listed_in(target):
    """The names of a target's symbols, in its order."""
    source = (HERE / f"src/targets/{target}.rs").read_text()
    return re.findall(r'^ +"(\w+)",$', source, re.M) or re.findall(r'"(\w+)"', source)


def landings():
    """What is at the beginning of functions, with another beside it that calls or jumps there."""
    bodies = {
        "push": "endbr64; push %rbx; call other; pop %rbx; ret",
        "high": "mov %rsi, %rax; push %r12; pop %r12; ret",
        "test": "test %rdi, %rdi; je 1f; mov (%rdi), %rax; 1: ret",
        "sub": "sub $8, %rsp; jmp 1f; 1: add $8, %rsp; ret",
        "argument": "mov %rsi, %rdi; push %rbx; pop %rbx; ret",
        "loop": "xor %eax, %eax; 1: push %rbx; pop %rbx; dec %edx; jne 1b; ret",
        "switch": "endbr64; push %rbx; notrack jmp *%rax",
        "address": "endbr64; 1: push %rbx; lea 1b(%rip), %rax; pop %rbx; ret",
        "entered": "endbr64; into: push %rbx; pop %rbx; ret",
        "first": "push %rbp; mov %rsp, %rbp; pop %rbp; ret",
    }
    seeds = {}
    for name, body in bodies.items():
        jump = ".byte 0xe9; .long into - . - 4" if "into" in body else "ret"
        text = f"""
            .text
            .globl probed, other
            nop
            probed: {body}
            .size probed, .-probed
            other: {jump}
            .size other, .-other
            """
        for letter, looks_at in [("a", b"\x01"), ("s", b"\x7f")]:
            seeds[f"{name}-{letter}"] = looks_at + image(assembled(text), listed_in("landing"))
    write("landing", seeds)


def vulkans():
    """Three maps of names, and the tables that they describe, of as few names as are taken for one."""
    def hashed(name):
        number = 0
        for byte in name.encode():
            number = (number * 5024183 + byte) & 0xFFFFFFFF
        return number

    kinds = {
        "instance": (8, ["vkCreateInstance", "vkDestroyInstance", "vkGetInstanceProcAddr"]),
        "physical": (16, ["vkCreateDevice"]),
        "device": (100, ["vkAllocateMemory", "vkFreeMemory", "vkDestroyDevice", "vkCreateImage",
                         "vkCreateDescriptorPool"]),
    }
    constants, tables = "", {}
    for kind, (least, filled) in kinds.items():
        names = filled + [f"vk{kind[0]}{number}" for number in range(least - len(filled))]
        offset, entries, pool = 0, "", ""
        for index, name in enumerate(names):
            entries += f".long {offset}, {hashed(name)}, {min(index, len(filled))}\n"
            pool += f'.asciz "{name}"\n'
            offset += len(name) + 1
        constants += f"{pool}.balign 4\n{entries}"
        slots = "".join(f".quad f_{kind} + {number}\n" for number in range(len(filled)))
        tables[kind] = f"t_{kind}:\n{slots}.quad 0\n"
    code = "".join(f"f_{kind}: {'ret; ' * 8}\n" for kind in kinds)

    def text(order, hands_on):
        data = "".join(tables[kind] for kind in order)
        return f"""
            .text
            .globl vk_icdGetInstanceProcAddr
            nop
            vk_icdGetInstanceProcAddr: {hands_on}
            .size vk_icdGetInstanceProcAddr, .-vk_icdGetInstanceProcAddr
            1: lea t_instance(%rip), %rsi
            ret
            start: lea t_device(%rip), %rdi
            ret
            {code}
            .section .rodata
            {constants}
            .data
            .balign 8
            {data}
            """

    straight = "endbr64; test %rdi, %rdi; je 1f; lea t_instance(%rip), %rsi; ret"
    order = list(kinds)
    sources = {"down": text(order[::-1], straight), "up": text(order, straight), "jump": text(order, "jmp 1f")}
    loader = ".text\n.globl vkGetInstanceProcAddr\nnop\nvkGetInstanceProcAddr: ret\n"
    seeds = {name: image(assembled(source), listed_in("vulkan")) for name, source in sources.items()}
    write("vulkan", {**seeds, "loader": image(assembled(loader), listed_in("vulkan"))})
    write("elf", {"vulkan": shrunk(sources["down"])})


def opencls():
    """A platform with its table, by an export, through calls, by name; and a ladder of names."""
    table = "".join(f".quad f + {slot % 16}\n" for slot in range(152))
    take = "mov slot(%rip), %rax; ret"
    found = {"export": "lea platform(%rip), %rax; ret", "calls": "call 1f; ret\n1: jmp 2f\n2: " + take}
    equal = "je 1f; ret\n1: lea {0}(%rip), %rax; ret"
    other = "jne 1f; mov got_{0}(%rip), %rax; ret\n1: ret"
    step = "lea n_{0}(%rip), %rsi; mov %rbx, %rdi; call compare; test %eax, %eax; "

    def text(platforms, branch, exported):
        names = ["clIcdGetPlatformIDsKHR", "clMemFreeINTEL", "clSharedMemAllocINTEL"]
        ladder = "".join(step.format(name) + branch.format(name) + "\n" for name in names)
        symbols = ["clGetExtensionFunctionAddress", "clCreateBuffer"] + names[:1] * exported
        texts = "".join(f'n_{name}: .asciz "{name}"\n' for name in names)
        got = "".join(f"got_{name}: .quad {name}\n" for name in names)
        hidden = "" if exported else ".hidden clIcdGetPlatformIDsKHR\n"
        text = f"""
            .text
            nop
            .globl {", ".join(symbols)}
            {hidden}
            clGetExtensionFunctionAddress: {ladder}
            xor %eax, %eax; ret
            clIcdGetPlatformIDsKHR: {platforms}
            clMemFreeINTEL: ret
            clSharedMemAllocINTEL: ret
            clCreateBuffer: ret
            compare: ret
            f: {"ret; " * 16}
            .section .rodata
            {texts}
            .data
            .balign 8
            slot: .quad platform
            platform: .quad table, 0
            table: {table}
            {got}
            """
        names = [name for name in listed_in("opencl")]
        # Only what is exported has a symbol in a stripped library.
        return text, [name if name in symbols else f"({name})" for name in names]

    seeds = {}
    for name, arguments in {"export": (found["export"], equal, True), "calls": (found["calls"], equal, True),
                            "ladder": (found["export"], equal, False), "other": (found["calls"], other, False)}.items():
        source, names = text(*arguments)
        seeds[name] = image(assembled(source), names)
    write("opencl", seeds)
    write("elf", {"opencl": shrunk(text(found["export"], equal, False)[0])})


def level_zeros():
    """The unit tests' driver, as compilers make it."""
    source = (HERE / "../../memmon-user/src/runtimes/level_zero/driver.c").read_text()
    # Nothing of the C library's headers is needed, and nothing may be at address 0.
    source = '__asm__("nop");\n' + source.replace("#include <stdlib.h>", "char *getenv(const char *);")
    seeds = {}
    for level in ["-O0", "-O2", "-O3 -mavx2", "-Os"]:
        for way in ["", "-DTRACING", "-DOBJECT", "-DHELPER", "-DJUMPS", "-DCOPY", "-DSWITCH"]:
            if way in ("", "-DOBJECT", "-DHELPER") or level == "-O2":
                name = re.sub(r"\W+", "", level + way.lower().replace("-d", "_"))
                seeds[name] = image(assembled(source, *level.split(), *way.split()), listed_in("level_zero"))
    write("level_zero", seeds)
    write("elf", {"level_zero": shrunk(source, "-O2")})


def shrunk(text, *flags):
    """The same as a file, small enough to be read as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "a.s" if text.lstrip().startswith(".text") else "a.c")
        library = pathlib.Path(folder, "a.so")
        source.write_text(text)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-nostdlib", "-w", "-fno-asynchronous-unwind-tables", "-fno-ident", "-s", *flags,
             "-Wl,-z,separate-code", "-Wl,-z,max-page-size=64", "-Wl,-z,pack-relative-relocs", "-Wl,--build-id=none",
             "-Wl,--hash-style=gnu", "-o", library, source],
            check=True,
        )
        return library.read_bytes()


if __name__ == "__main__":
    elf()
    recordings()
    journals()
    walks()
    caches()
    manifests()
    landings()
    vulkans()
    opencls()
    level_zeros()
    code(sys.argv[1:])
