"""SYCL's unified shared memory, by dpctl.

usm.py SELECTOR
"""

import sys

import dpctl
import dpctl.memory
from account import Account

queue = dpctl.SyclQueue(sys.argv[1])
KINDS = {
    "USM_DEVICE": dpctl.memory.MemoryUSMDevice,
    "USM_SHARED": dpctl.memory.MemoryUSMShared,
    "USM_HOST": dpctl.memory.MemoryUSMHost,
}
account = Account()
account.say("loaded")

kept = []
for i in range(100):
    for pool, kind in KINDS.items():
        size = 512 * i + 256
        memory = kind(size, queue=queue)
        account.allocated(pool, memory._pointer, size)
        if i % 5 == 0:
            kept.append(memory)
        else:
            key = memory._pointer
            del memory
            account.freed(key)
try:
    dpctl.memory.MemoryUSMDevice(1 << 60, queue=queue)
except Exception:
    # Which error it was, SYCL keeps for itself.
    account.failed("USM_DEVICE", None)
account.say("allocated")
