"""Creates buffers with wgpu, destroys most of them, and writes down what it holds; ends with its input.

buffers.py [--refused]    with it, one buffer more for which the driver has no memory
"""

import json
import resource
import sys

import wgpu

COUNT = 100
LARGE = 128 << 20
REFUSED = 1 << 30

adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
limits = {"max-buffer-size": adapter.limits["max-buffer-size"]}
device = adapter.request_device_sync(required_limits=limits)
usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST
buffers = []
for number in range(COUNT):
    buffers.append(device.create_buffer(size=1024 * (number + 1), usage=usage))
for number, buffer in enumerate(buffers):
    if number % 5:
        buffer.destroy()
# More than is left of the block that the device began with.
large = device.create_buffer(size=LARGE, usage=usage)
refused = []
if "--refused" in sys.argv:
    # wgpu itself has nothing against it: what is too large by its limits does not get to the driver.
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + REFUSED // 2, resource.RLIM_INFINITY))
    try:
        device.create_buffer(size=REFUSED, usage=usage)
    except wgpu.GPUError:
        refused.append(REFUSED)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
live = [large] + [buffer for number, buffer in enumerate(buffers) if number % 5 == 0]
print(
    json.dumps(
        {
            "adapter": adapter.info["device"],
            "created": COUNT + 1,
            "destroyed": COUNT + 1 - len(live),
            "large": LARGE,
            "refused": refused,
            "live_bytes": sum(buffer.size for buffer in live),
        }
    ),
    flush=True,
)
sys.stdin.read()
