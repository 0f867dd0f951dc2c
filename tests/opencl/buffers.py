"""PyOpenCL, which brings a loader of its own: buffers and SVM.

buffers.py PLATFORM
"""

import sys

import numpy
import pyopencl as cl
from account import Account

platform = next(each for each in cl.get_platforms() if sys.argv[1] in each.name)
context = cl.Context(platform.get_devices()[:1])
queue = cl.CommandQueue(context)
flags = cl.mem_flags
account = Account()
account.say("loaded")

kept = []
for i in range(100):
    size = 640 * i + 64
    buffer = cl.Buffer(context, flags.READ_WRITE, size)
    account.allocated("DEVICE", buffer.int_ptr, size)
    if i % 5 == 0:
        kept.append(buffer)
        # One more reference, which goes with its object.
        again = cl.MemoryObject.from_int_ptr(buffer.int_ptr, True)
        del again
    else:
        key = buffer.int_ptr
        buffer.release()
        account.freed(key)

# From the program's data: a buffer like any other, or the data itself.
data = numpy.zeros(4096, numpy.float32)
copy = cl.Buffer(context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=data)
account.allocated("DEVICE", copy.int_ptr, data.nbytes)
used = cl.Buffer(context, flags.READ_ONLY | flags.USE_HOST_PTR, hostbuf=data)
account.allocated("HOST_PTR", used.int_ptr, data.nbytes)
# A part, which outlives its whole.
whole = cl.Buffer(context, flags.READ_WRITE, 65536)
account.allocated("DEVICE", whole.int_ptr, 65536)
part = whole.get_sub_region(0, 4096)
whole.release()

pixel = cl.ImageFormat(cl.channel_order.RGBA, cl.channel_type.UNORM_INT8)
image = cl.create_image(context, flags.READ_ONLY, pixel, shape=(64, 32))
account.allocated("DEVICE", image.int_ptr, 64 * 32 * 4)

for i in range(20):
    memory = cl.SVMAllocation(context, 4096, 0, cl.svm_mem_flags.READ_WRITE)
    account.allocated("SHARED", memory.svm_ptr, 4096)
    if i % 2:
        kept.append(memory)
    else:
        key = memory.svm_ptr
        memory.release()
        account.freed(key)

try:
    cl.Buffer(context, flags.READ_WRITE, 1 << 60)
except cl.Error as error:
    account.failed("DEVICE", error.code)
account.say("allocated")
