"""Blocks and holes, and allocations that are refused; with what the runtime's own tables and messages say of them.

At each step `tensors` is what this program knows of its own: [pool, address, bytes asked for], and `pools` what
`get_memory_view` says of each pool, per bank. `refused` is what the latest message said, per bank.
"""

import re
import time

import lab

MESSAGE = re.compile(
    r"allocate (?P<asked>\d+) B (?P<pool>\w+) buffer across (?P<banks>\d+) banks, where each bank needs to store "
    r"(?P<needed>\d+) B, but bank size is (?P<size>\d+) B \(allocated: (?P<allocated>\d+) B, free: (?P<free>\d+) B, "
    r"largest free block: (?P<largest>\d+) B\)"
)


def refused(mesh, count, pool="DRAM"):
    try:
        lab.megabytes(mesh, count, pool)
    except RuntimeError as error:
        said = MESSAGE.search(str(error)).groupdict()
        return {key: value if key == "pool" else int(value) for key, value in said.items()}
    raise SystemExit(f"{count} MiB of {pool} were not refused")


def pools(mesh):
    found = {}
    for pool in lab.POOLS:
        view = lab._view(mesh, pool)
        try:
            table = view.block_table
        except TypeError:  # 0.70.1 binds no type for it.
            table = []
        taken = [block for block in table if block["allocated"] == "yes"]
        found[pool] = {
            "banks": view.num_banks,
            "size": view.total_bytes_per_bank,
            "free": view.total_bytes_free_per_bank,
            "largest": view.largest_contiguous_bytes_free_per_bank,
            "blocks": sorted([int(block["address"]), int(block["size"])] for block in taken),
        }
    return found


def main():
    args = lab.arguments()
    mesh = lab.open_mesh(args.shape, l1_small_size=32768, trace_region_size=1 << 20)
    held = []

    def hold(count, pool="DRAM"):
        held.append((pool, count << 20, lab.megabytes(mesh, count, pool)))

    def step(name, said=None):
        tensors = [[pool, tensor.buffer_address(), size] for pool, size, tensor in held]
        lab.step(name, tensors=tensors, pools=pools(mesh), refused=said)

    for count in (64, 1, 32, 3, 16, 8):
        hold(count)
    for count in (1, 2, 3):
        hold(count, "L1")
    step("held")
    del held[2], held[4], held[5]
    step("holes")
    step("too large", refused(mesh, 200, "L1"))

    for _ in range(11):
        hold(1024)
    step("no room", refused(mesh, 1024))

    # Every other block free: much room, and none of it large.
    del held[-11:]
    pieces = [lab.megabytes(mesh, 256) for _ in range(47)]
    del pieces[::2]
    said = refused(mesh, 1024)
    step("fragmented", said)

    # Whoever looks a moment later finds other blocks, and then none at all.
    said = refused(mesh, 1024)
    pieces.append(lab.megabytes(mesh, 100))
    del pieces[:10]
    hold(2)
    time.sleep(0.2)
    step("failed, then freed", said)
    said = refused(mesh, 10240)
    del pieces
    held.clear()
    lab.close_mesh(mesh)
    lab.step("failed, then closed", refused=said)


main()
