"""What every workload here shares: a mock device of its own, the allocator's own figures, and the protocol.

Protocol: one JSON object per line on standard output for each step, then one line is awaited on standard input
(its end means: run on without waiting). Whatever the runtime prints goes to standard error.

    {"step": "name", "pid": 1, "failed": 0,
     "truth":    {"<chip>": {"DRAM": bytes, "L1": bytes, "L1_SMALL": bytes, "TRACE": bytes}},
     "capacity": {"<chip>": {...}}}

`truth` is what the runtime's allocators have reserved, over all banks of the chip; `failed` counts the allocations
that were refused. A module that imports this one finds `ttnn` imported and set up.
"""

import argparse
import atexit
import glob
import importlib.metadata
import json
import os
import re
import shutil
import sys
import tempfile

POOLS = ("DRAM", "L1", "L1_SMALL", "TRACE")
BOARDS = ("n150", "n300", "t3k")
VERSION = tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version("ttnn"))[:3])
# Before 0.75 a mock device takes no fast dispatch, and no kernels.
SLOW_DISPATCH = VERSION < (0, 75)

# Chip ids made here, from the top: this mark, the kind of board (the runtime reads it there), the process, the chip.
# No two processes share a chip id, or they would share what the runtime keeps per chip in /dev/shm.
_MARK = 0x6D
_KINDS = {"n150": 0x18, "n300": 0x14}

_devices = []
_failed = 0
_chips_seen = set()


def _unique_id(kind, chip, pid):
    return _MARK << 56 | _KINDS[kind] << 36 | pid << 8 | chip


def _sweep_shared_memory():
    """The runtime leaves its shared memory behind when it is killed: remove what was made here."""
    for path in glob.glob("/dev/shm/tt_device_*_memory"):
        number = int(re.search(r"tt_device_(\d+)_memory", path).group(1))
        pid = (number & 0xF_FFFF_FFFF) >> 8
        if number >> 56 == _MARK and pid and (pid == os.getpid() or not os.path.exists(f"/proc/{pid}")):
            try:
                os.unlink(path)
            except OSError:
                pass


def descriptor(board, pid):
    """The cluster descriptor of a mock `board` for that process (0: for any), as YAML."""
    def ethernet(pairs):
        lines = [f"  - [{{chip: {a}, chan: {x}}}, {{chip: {b}, chan: {y}}}]" for a, x, b, y in pairs]
        return "ethernet_connections:\n" + "\n".join(lines) if lines else "ethernet_connections: []"

    if board == "n150":
        boards = [("n150", [0])]
        places, links, harvested = {0: (0, 0)}, [], {0: 32}
    elif board == "n300":
        boards = [("n300", [0, 1])]
        places = {0: (0, 0), 1: (1, 0)}
        links = [(0, 8, 1, 0), (0, 9, 1, 1)]
        harvested = {0: 65, 1: 5}
    elif board == "t3k":
        # Four N300 in a ring of two rows: chips 0 to 3 are the local ones, 4 to 7 behind them.
        boards = [("n300", [chip, chip + 4]) for chip in range(4)]
        places = {0: (1, 0), 1: (1, 1), 2: (2, 1), 3: (2, 0), 4: (0, 0), 5: (0, 1), 6: (3, 1), 7: (3, 0)}
        links = [(chip, 8 + lane, chip + 4, lane) for chip in range(4) for lane in range(2)]
        links += [(0, 0, 1, 0), (0, 1, 1, 1), (1, 6, 2, 6), (1, 7, 2, 7), (2, 0, 3, 0), (2, 1, 3, 1)]
        links += [(0, 6, 3, 6), (0, 7, 3, 7), (4, 6, 5, 6), (4, 7, 5, 7), (6, 6, 7, 6), (6, 7, 7, 7)]
        harvested = {chip: 65 if chip < 4 else 5 for chip in range(8)}
    else:
        raise ValueError(f"no such board: {board} (there are {', '.join(BOARDS)})")
    ids = {chip: _unique_id(kind, chip, pid) for kind, members in boards for chip in members}
    chips = sorted(places)
    local = [members[0] for _, members in boards]
    return "\n".join(
        ["arch:"]
        + [f"  {chip}: Wormhole" for chip in chips]
        + ["chips:"]
        + [f"  {chip}: [{x}, {y}, 0, 0]" for chip, (x, y) in sorted(places.items())]
        + ["chip_unique_ids:"]
        + [f"  {chip}: {ids[chip]}" for chip in chips]
        + [ethernet(links), "chips_with_mmio:"]
        + [f"  - {chip}: {index}" for index, chip in enumerate(local)]
        + ["harvesting:"]
        + [f"  {chip}: {{noc_translation: true, harvest_mask: {mask}}}" for chip, mask in sorted(harvested.items())]
        + ["boards:"]
        + [
            f"  - [{{board_id: {ids[members[0]]}}}, {{board_type: {kind}}}, {{chips: {members}}}]"
            for kind, members in boards
        ]
        + [""]
    )


def _mock(board):
    _sweep_shared_memory()
    folder = tempfile.mkdtemp(prefix="memmon-lab-")
    owner = os.getpid()

    def clean():
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)
            _sweep_shared_memory()

    atexit.register(clean)
    path = os.path.join(folder, "cluster.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(descriptor(board, owner))
    # The runtime writes its logs where it stands.
    os.chdir(folder)
    os.environ["TT_METAL_MOCK_CLUSTER_DESC_PATH"] = path


def arguments(parser=None):
    """Parses the command line, sets the runtime up as it says, imports it, and keeps it off standard output."""
    global ttnn, _answers
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("--mesh", default="1x1", help="rows x columns of the mesh: 1x1, 1x2, 2x4")
    parser.add_argument("--board", choices=BOARDS, help="the mock board (default: the smallest that holds the mesh)")
    args = parser.parse_args()
    args.shape = tuple(int(part) for part in args.mesh.split("x"))
    chips = args.shape[0] * args.shape[1]
    args.board = args.board or {1: "n150", 2: "n300"}.get(chips, "t3k")

    _answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    if "TT_METAL_MOCK_CLUSTER_DESC_PATH" not in os.environ:
        _mock(args.board)
    os.environ.setdefault("TT_METAL_LOGGER_LEVEL", "off")
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")
    os.environ.setdefault("TT_METAL_CACHE", os.path.join(sys.prefix, "tt-metal-cache"))
    if SLOW_DISPATCH:
        os.environ.setdefault("TT_METAL_SLOW_DISPATCH_MODE", "1")
    import ttnn

    return args


def open_mesh(shape, **options):
    """Opens a mesh of that shape; `truth` counts what its allocator holds."""
    mesh = ttnn.open_mesh_device(ttnn.MeshShape(*shape), **options)
    return watch(mesh)


def watch(mesh):
    """Counts a mesh (a submesh, say) that came about otherwise."""
    _devices.append((mesh, list(mesh.get_device_ids())))
    _chips_seen.update(mesh.get_device_ids())
    return mesh


def close_mesh(mesh):
    forget(mesh)
    ttnn.close_mesh_device(mesh)


def forget(mesh):
    _devices[:] = [(device, chips) for device, chips in _devices if device is not mesh]


def _view(mesh, pool):
    return ttnn._ttnn.device.GetMemoryView(mesh, getattr(ttnn.BufferType, pool))


def figures():
    """(truth, capacity) now, by the runtime's own statistics."""
    truth = {str(chip): dict.fromkeys(POOLS, 0) for chip in sorted(_chips_seen)}
    capacity = {str(chip): dict.fromkeys(POOLS, 0) for chip in sorted(_chips_seen)}
    for mesh, chips in _devices:
        for pool in POOLS:
            view = _view(mesh, pool)
            for chip in map(str, chips):
                truth[chip][pool] += view.num_banks * view.total_bytes_allocated_per_bank
                capacity[chip][pool] = max(capacity[chip][pool], view.num_banks * view.total_bytes_per_bank)
    return truth, capacity


def say(**fields):
    _answers.write(json.dumps(fields) + "\n")
    _answers.flush()


def wait():
    """Until the observer sends a line; at once when it has gone or never was."""
    sys.stdin.readline()


def step(name, **more):
    """Reports what is true now, and waits."""
    truth, capacity = figures()
    say(step=name, pid=os.getpid(), failed=_failed, truth=truth, capacity=capacity, **more)
    wait()


def config(pool, layout="INTERLEAVED", shard=None):
    kinds = ttnn.TensorMemoryLayout, ttnn.BufferType
    return ttnn.MemoryConfig(getattr(kinds[0], layout), getattr(kinds[1], pool), *([shard] if shard else []))


def shard(cores, shape):
    """A shard spec over the first `cores` = (columns, rows)."""
    last = ttnn.CoreCoord(cores[0] - 1, cores[1] - 1)
    grid = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), last)})
    return ttnn.ShardSpec(grid, list(shape), ttnn.ShardOrientation.ROW_MAJOR)


def plain(operation):
    """The operation without ttnn's wrapper around it, which wants torch while a graph is captured."""
    return getattr(operation, "function", operation)


def tensor(mesh, shape, memory, dtype="bfloat16", layout="TILE_LAYOUT"):
    """A tensor on the device, its contents whatever was there."""
    allocate = plain(ttnn.allocate_tensor_on_device)
    return allocate(ttnn.Shape(list(shape)), getattr(ttnn, dtype), getattr(ttnn, layout), mesh, memory)


def free(tensor):
    plain(ttnn.deallocate)(tensor)


def megabytes(mesh, count, pool="DRAM"):
    """A tensor of that many MiB."""
    return tensor(mesh, (1, 1, count * 512, 1024), config(pool))


def refused(allocate):
    """Calls `allocate` until it raises Out of Memory, counts that, and returns what it got before."""
    global _failed
    held = []
    while True:
        try:
            held.append(allocate())
        except RuntimeError as error:
            if "ut of " not in str(error) or "emory" not in str(error):
                raise
            _failed += 1
            return held


if __name__ == "__main__":
    # lab.py FOLDER: descriptors for programs that know nothing of this module, one at a time.
    for name in BOARDS:
        with open(os.path.join(sys.argv[1], f"{name}.yaml"), "w", encoding="utf-8") as yaml:
            yaml.write(descriptor(name, 0))
