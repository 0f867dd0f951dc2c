// A stand-in for libcudart on the driver's double: what it takes, it takes from there. Nothing here is of NVIDIA's code.
#include "driver.h"

static int ready(void) {
    static _Thread_local CUcontext context;
    if (context) return 0;
    int code = cuInit(0);
    if (code == 0) code = cuDevicePrimaryCtxRetain(&context, 0);
    return code ? code : cuCtxSetCurrent(context);
}

#define FIRST(call)                                                                                                    \
    int code = ready();                                                                                                \
    return code ? code : (call)

int cudaGetDeviceCount(int *count) { return cuDeviceGetCount(count); }
int cudaGetLastError(void) { return 0; }
int cudaMalloc(void **to, size_t bytes) { FIRST(cuMemAlloc_v2((CUdeviceptr *)to, bytes)); }
int cudaMallocManaged(void **to, size_t bytes, unsigned flags) { FIRST(cuMemAllocManaged((CUdeviceptr *)to, bytes, flags)); }
int cudaMallocHost(void **to, size_t bytes) { FIRST(cuMemHostAlloc(to, bytes, 0)); }
int cudaHostAlloc(void **to, size_t bytes, unsigned flags) { FIRST(cuMemHostAlloc(to, bytes, flags)); }
int cudaMallocPitch(void **to, size_t *pitch, size_t width, size_t height) {
    FIRST(cuMemAllocPitch_v2((CUdeviceptr *)to, pitch, width, height, 4));
}
int cudaMallocAsync(void **to, size_t bytes, void *stream) { FIRST(cuMemAllocAsync((CUdeviceptr *)to, bytes, stream)); }
int cudaFree(void *at) { FIRST(cuMemFree_v2((CUdeviceptr)at)); }
int cudaFreeHost(void *at) { FIRST(cuMemFreeHost(at)); }
int cudaFreeAsync(void *at, void *stream) { FIRST(cuMemFreeAsync((CUdeviceptr)at, stream)); }
