"""Creates buffers with wgpu, destroys most of them, and writes down what it holds; ends with its input."""

import json
import sys

import wgpu

COUNT = 100
LARGE = 128 << 20

adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
device = adapter.request_device_sync()
usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST
buffers = []
for number in range(COUNT):
    buffers.append(device.create_buffer(size=1024 * (number + 1), usage=usage))
for number, buffer in enumerate(buffers):
    if number % 5:
        buffer.destroy()
# More than is left of the block that the device began with.
large = device.create_buffer(size=LARGE, usage=usage)
live = [large] + [buffer for number, buffer in enumerate(buffers) if number % 5 == 0]
print(
    json.dumps(
        {
            "adapter": adapter.info["device"],
            "created": COUNT + 1,
            "destroyed": COUNT + 1 - len(live),
            "large": LARGE,
            "live_bytes": sum(buffer.size for buffer in live),
        }
    ),
    flush=True,
)
sys.stdin.read()
