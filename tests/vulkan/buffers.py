"""Creates buffers with wgpu, destroys most of them, and writes down what it holds; ends with its input."""

import json
import sys

import wgpu

COUNT = 100

adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
device = adapter.request_device_sync()
buffers = []
for number in range(COUNT):
    size = 1024 * (number + 1)
    buffers.append(device.create_buffer(size=size, usage=wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_DST))
for number, buffer in enumerate(buffers):
    if number % 5:
        buffer.destroy()
live = [buffer for number, buffer in enumerate(buffers) if number % 5 == 0]
print(
    json.dumps(
        {
            "adapter": adapter.info["device"],
            "created": COUNT,
            "destroyed": COUNT - len(live),
            "live_bytes": sum(buffer.size for buffer in live),
        }
    ),
    flush=True,
)
sys.stdin.read()
