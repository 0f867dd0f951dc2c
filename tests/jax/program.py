"""A hundred arrays on the CPU, by both ways that JAX makes them; eighty are deleted, and one is too large.

Says what it holds as tests/stubs/record.h does, then waits for its input to end.
"""

import json
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
# Room for a hundred arrays, and not for one of a tebibyte.
import resource

resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36))

import jax
import jax.numpy as jnp
import numpy as np

make = jax.jit(lambda seed, width: jnp.zeros(width, jnp.float32) + seed, static_argnums=1)
WIDTHS = [1000 + 10 * i for i in range(10)]
# Everything that JAX itself keeps is there before the first array of the record.
for width in WIDTHS:
    make(1.0, width).block_until_ready()
jax.device_put(np.ones(18, np.float32)[1:], may_alias=False).block_until_ready()
seed = jax.device_put(np.float32(2.0), may_alias=False).block_until_ready()
print("ready", flush=True)
sys.stdin.readline()



def unaligned(count):
    """JAX uses memory of NumPy's as it is, with no block of its own, where that lies at a multiple of 64."""
    return np.ones(count + 1, np.float32)[1:]


arrays = []
for i in range(100):
    if i % 2:
        array = make(seed, WIDTHS[i // 2 % 10])
    else:
        array = jax.device_put(unaligned(500 + i), may_alias=False)
    arrays.append(array.block_until_ready())
record = [
    {"key": array.unsafe_buffer_pointer(), "bytes": array.nbytes, "pool": "HOST", "device": None}
    for array in arrays
]
for i, array in enumerate(arrays):
    if i % 5:
        array.delete()
failures = []
try:
    jax.device_put(np.broadcast_to(np.float32(1), (1 << 38,)), may_alias=False).block_until_ready()
except Exception as error:
    failures.append({"bytes": 1 << 40, "pool": "HOST", "error": None})
    print(error, file=sys.stderr)
live = [block for i, block in enumerate(record) if i % 5 == 0]
print(json.dumps({"allocations": 100, "frees": 80, "live": live, "failures": failures}), flush=True)
sys.stdin.read()
