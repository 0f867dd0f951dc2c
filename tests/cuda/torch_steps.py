"""PyTorch at work; a line of its own statistics a step. For a machine with a GPU."""

import json
import sys

import torch


def tell(step):
    torch.cuda.synchronize()
    stats = torch.cuda.memory_stats(0)
    names = ("num_device_alloc", "num_device_free", "reserved_bytes.all.current", "allocated_bytes.all.current")
    print(json.dumps({"step": step, **{name: stats.get(name, 0) for name in names}}), flush=True)
    if not sys.stdin.readline():
        sys.exit()


torch.cuda.init()
tell("nothing")
kept = [torch.empty(1 << bits, dtype=torch.uint8, device="cuda") for bits in range(9, 28)]
tell("tensors of 512 B to 128 MiB")
for _ in range(20):
    a = torch.randn(1024, 1024, device="cuda")
    kept[0] = a @ a
tell("matrices")
del a, kept[::2]
tell("half of them gone")
torch.cuda.empty_cache()
tell("cache emptied")
try:
    torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
except torch.cuda.OutOfMemoryError:
    tell("out of memory")
