#!/usr/bin/env python3
"""CUDA on a real GPU: what memmon-ebpf tells of each workload against what the workload says of itself.

    gpu.py --build FOLDER             with a compiler: builds the workloads into FOLDER, to be carried to where there is none; those of
                                      the runtime with nvcc, or where there is none with cc and a libcudart
    gpu.py --built FOLDER MEMMON      runs them, as root, without a network; MEMMON is the program
    gpu.py --built FOLDER --double LIBCUDA MEMMON
                                      only the driver's workload, on the tests' double: to check this script

Each workload runs by itself and then observed. Exit 0: all that ran was equal. 1: something was not, or did not run to its end. 77: nothing
could be run, and why. At its end stands what was not run.
"""

import argparse
import ctypes
import glob
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NOT_RUN = 77
KINDS = {"shared": [], "static": ["-lcudart_static", "-lpthread", "-ldl", "-lrt"]}


def nvcc():
    roots = [root for root in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if root]
    return next((found for found in [*(shutil.which(f"{root}/bin/nvcc") for root in roots), shutil.which("nvcc")] if found), None)


def libraries(compiler):
    """The folder of libcudart: nvcc's own; else a toolkit's, or that of NVIDIA's Python packages."""
    roots = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    if compiler:
        roots = [pathlib.Path(compiler).resolve().parent.parent]
    places = [f"{root}/{lib}" for root in roots if root for lib in ("lib64", "lib", "targets/x86_64-linux/lib")]
    if compiler:
        places.append("/usr/lib/x86_64-linux-gnu")
    else:
        places += [os.path.dirname(path) for root in [*sys.path, os.environ.get("CUDART", "")]
                   for path in sorted(glob.glob(f"{root}/nvidia/*/lib/libcudart_static.a"), reverse=True)]
    return next((place for place in places if glob.glob(f"{place}/libcudart_static.a")), None)


def build(folder):
    """The driver's workload needs only cc."""
    folder.mkdir(parents=True, exist_ok=True)
    run = lambda *words: subprocess.run([str(word) for word in words], check=True)
    run("cc", "-O2", "-DDRIVER_LOADED", HERE / "workload.c", "-o", folder / "driver", "-lpthread", "-ldl")
    compiler = nvcc()
    place = libraries(compiler)
    if not place:
        print("not built: cudart, shared and static: there is no libcudart (CUDA_HOME, or CUDART=…/site-packages)")
        return
    for kind, words in KINDS.items():
        target = ["-O2", HERE / "runtime.c", "-o", folder / f"cudart-{kind}", f"-L{place}"]
        if kind == "shared":
            file = sorted(glob.glob(f"{place}/libcudart.so.*"), key=len)[0]
            shutil.copy(file, folder)
            words = [f"-l:{os.path.basename(file)}", "-Wl,-rpath,$ORIGIN"]
        if compiler:
            # Python's package of it has no libcudart.so beside the file that is named by its release.
            with tempfile.TemporaryDirectory() as links:
                if kind == "shared":
                    os.symlink(file, f"{links}/libcudart.so")
                    target += [f"-L{links}", "-Xlinker", "-rpath=$ORIGIN"]
                run(compiler, "-cudart", kind, *target)
        else:
            run("cc", *target, *words)
        print(f"built: cudart, {kind}, by {compiler or 'cc'}")


def why_no_gpu():
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA GPU ({error})"
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        return f"no NVIDIA GPU (the driver's error {code})"
    return None if os.geteuid() == 0 else "probes need root"


class Daemon:
    def __init__(self, memmon):
        self.folder = tempfile.TemporaryDirectory()
        self.socket = f"{self.folder.name}/socket"
        self.child = subprocess.Popen([memmon, "serve", "--socket", self.socket], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while not os.path.exists(self.socket):
            if self.child.poll() is not None or time.monotonic() > until:
                sys.exit(f"{memmon} serve does not get ready")
            time.sleep(0.02)
        time.sleep(0.05)

    def ask(self, wish):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.socket)
            message = json.dumps({"protocol": 1, "wish": wish}).encode()
            connection.sendall(struct.pack(">I", len(message)) + message)
            answers = connection.makefile("rb")
            (length,) = struct.unpack(">I", answers.read(4))
            return json.loads(answers.read(length))

    def end(self):
        self.child.terminate()
        self.child.wait()


def start(command, environment):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes)


def steps(child):
    for line in child.stdout:
        yield json.loads(line)
        child.stdin.write("\n")
        child.stdin.flush()
    child.stdin.close()


def nvml(pid):
    """What NVIDIA says of the process: more, by its context and modules."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    return next((line.split(",")[1].strip() for line in lines if line.split(",")[0].strip() == str(pid)), "?")


def seen(daemon, pid):
    snapshot = daemon.ask("snapshot")["snapshot"]
    process = next((one for one in snapshot["processes"] if one["pid"] == pid), {})
    live = daemon.ask({"live": {"pids": [pid]}})["live"]["allocations"]
    failures = [one for one in snapshot["failures"] if one["pid"] == pid]
    return process.get("usage") or [], live, failures


def as_written(said, rows, live, failures, with_api):
    """The program's own list."""
    api = lambda one: one["api"] if with_api else None
    found = sorted((one["key"], one["requested_bytes"], one["pool"], api(one), one["devices"][0]["device"]) for one in live)
    wanted = sorted((one["key"], one["bytes"], one["pool"], api(one), one["device"]) for one in said["live"])
    told = sorted((one["requested_bytes"], one["error_code"], one["pool"]) for one in failures)
    failed = sorted((one["bytes"], one["code"], one["pool"]) for one in said["failures"])
    total = lambda name: sum(row[name] or 0 for row in rows)
    ended = said["allocations"] - len(wanted)
    checks = {
        "live": (found, wanted),
        "failures": (told, failed),
        "allocations": (total("allocations"), said["allocations"]),
        "frees": (total("frees"), ended),
    }
    different = []
    for name, (ours, theirs) in checks.items():
        if ours == theirs:
            continue
        if isinstance(ours, list):
            ours, theirs = [one for one in ours if one not in theirs], [one for one in theirs if one not in ours]
        different.append(f"{name}: memmon {str(ours)[:300]}, program {str(theirs)[:300]}")
    return f"{len(wanted)} live, {said['allocations']} allocations, {len(failed)} failures", different


def as_torch_says(said, rows, pool):
    """Its segments; of a pool, what is handed out, for nobody is told of a pool's own growth."""
    ours = [row for row in rows if row["pool"] == pool]
    total = lambda name: sum(row[name] or 0 for row in ours)
    if pool == "POOL":
        checks = {"bytes": (total("requested_bytes"), said["allocated_bytes.all.current"])}
    else:
        checks = {
            "bytes": (total("requested_bytes"), said["reserved_bytes.all.current"]),
            "allocations": (total("allocations"), said["num_device_alloc"]),
            "frees": (total("frees"), said["num_device_free"]),
        }
    told = ", ".join(f"{name} {ours}" for name, (ours, _) in checks.items())
    return told, [f"{name}: memmon {a}, PyTorch {b}" for name, (a, b) in checks.items() if a != b]


def workloads(built, double):
    """Name, command, environment, how it is compared; or a reason."""
    yield "driver", [built / "driver"] + (["--double"] if double else []), {}, lambda *seen: as_written(*seen, True)
    if double:
        return
    for kind in KINDS:
        file = built / f"cudart-{kind}"
        # Of a static one, memmon sees the driver's functions alone.
        compare = lambda *seen, named=kind == "shared": as_written(*seen, named)
        yield f"cudart, {kind}", [file] if file.exists() else "was not built", {}, compare
    having = "import torch; assert torch.version.cuda, 'this PyTorch is without CUDA'"
    torch = subprocess.run([sys.executable, "-c", having], capture_output=True, text=True)
    reason = (torch.stderr.strip().splitlines() or ["?"])[-1] if torch.returncode else None
    for name, setting, pool in [
        ("native", "backend:native", "DEVICE"),
        ("expandable segments", "expandable_segments:True", "DEVICE"),
        ("cudaMallocAsync", "backend:cudaMallocAsync", "POOL"),
    ]:
        # Both names of it: releases differ.
        environment = {"PYTORCH_CUDA_ALLOC_CONF": setting, "PYTORCH_ALLOC_CONF": setting}
        compare = lambda said, rows, *_, pool=pool: as_torch_says(said, rows, pool)
        yield f"PyTorch, {name}", reason or [sys.executable, HERE / "torch_steps.py"], environment, compare


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--build", type=pathlib.Path, metavar="FOLDER")
    options.add_argument("--built", type=pathlib.Path, metavar="FOLDER")
    options.add_argument("--double", type=pathlib.Path, metavar="LIBCUDA")
    options.add_argument("memmon", nargs="?")
    given = options.parse_args()
    if given.build:
        return build(given.build)
    if not given.built or not given.memmon:
        options.error("what is built, and memmon-ebpf, are needed")
    beside = {}
    if given.double:
        beside = {"LD_LIBRARY_PATH": str(given.double.absolute().parent)}
    elif reason := why_no_gpu():
        print(f"not run: {reason}")
        return NOT_RUN
    not_run, ran, worst = [], 0, 0
    for name, command, environment, compare in workloads(given.built.resolve(), given.double):
        if isinstance(command, str):
            not_run.append(f"{name}: not run: {command}")
            continue
        ran += 1
        environment = {**environment, **beside}
        # By itself: it works, and its libraries are known afterwards. It stays for so long.
        bare = start(command, environment)
        bare_steps = list(steps(bare))
        if bare.wait() or not bare_steps:
            worst = 1
            print(f"{name}: FAILED: by itself it ends with {bare.returncode} after {len(bare_steps)} steps")
            continue
        waiting = start(command, environment)
        waiting.stdout.readline()
        daemon = Daemon(given.memmon)
        child = start(command, environment)
        observed = 0
        try:
            for said in steps(child):
                observed += 1
                told, different = compare(said, *seen(daemon, child.pid))
                print(f"{name}: {said['step']}: {told}; nvidia-smi: {nvml(child.pid)}: {'DIFFERS' if different else 'equal'}")
                for line in different:
                    worst = 1
                    print(f"    {line}")
        finally:
            daemon.end()
            waiting.kill()
        if child.wait() or observed != len(bare_steps):
            worst = 1
            print(f"{name}: HARMED: {observed} steps of {len(bare_steps)}, it ended with {child.returncode}")
    for line in not_run:
        print(line)
    return worst if ran else NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
