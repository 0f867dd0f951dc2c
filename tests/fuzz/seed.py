#!/usr/bin/env python3
"""Makes the seeds that are not text: of the C compiler's libraries, and of the tests' double of libtt_metal.so.

    python3 tests/fuzz/seed.py FIXTURE_LIBRARY...

Writes tests/fuzz/corpus/elf, code, recording and journal. What `cargo xtask fuzz --keep` finds comes beside them.
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


if __name__ == "__main__":
    elf()
    recordings()
    journals()
    code(sys.argv[1:])
