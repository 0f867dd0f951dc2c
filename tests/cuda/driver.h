// What of the CUDA driver's API the tests here call, as cuda.h of CUDA 12 and 13 has it.
#pragma once
#include <stddef.h>

typedef int CUresult;
enum {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
};

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUmemPool_st *CUmemoryPool;
typedef struct {
    char reserved[64];
} CUipcMemHandle;

enum { CU_MEM_LOCATION_TYPE_DEVICE = 1, CU_MEM_LOCATION_TYPE_HOST = 2 };
typedef struct {
    int type, id;
} CUmemLocation;

enum { CU_MEM_ALLOCATION_TYPE_PINNED = 1 };
typedef struct {
    int type, requestedHandleTypes;
    CUmemLocation location;
    void *win32HandleMetaData;
    struct {
        unsigned char compressionType, gpuDirectRDMACapable;
        unsigned short usage;
        unsigned char reserved[4];
    } allocFlags;
} CUmemAllocationProp;

typedef struct {
    int allocType, handleTypes;
    CUmemLocation location;
    void *win32SecurityAttributes;
    size_t maxSize;
    unsigned short usage;
    unsigned char reserved[54];
} CUmemPoolProps;

// X(function, arguments)
#define DRIVER_FUNCTIONS(X)                                                                                            \
    X(cuInit, (unsigned))                                                                                              \
    X(cuDeviceGetCount, (int *))                                                                                       \
    X(cuDeviceGet, (CUdevice *, int))                                                                                  \
    X(cuCtxCreate_v2, (CUcontext *, unsigned, CUdevice))                                                               \
    X(cuCtxCreate_v3, (CUcontext *, void *, int, unsigned, CUdevice))                                                  \
    X(cuCtxCreate_v4, (CUcontext *, void *, unsigned, CUdevice))                                                       \
    X(cuCtxDestroy_v2, (CUcontext))                                                                                    \
    X(cuCtxSetCurrent, (CUcontext))                                                                                    \
    X(cuCtxPushCurrent_v2, (CUcontext))                                                                                \
    X(cuCtxPopCurrent_v2, (CUcontext *))                                                                               \
    X(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice))                                                               \
    X(cuDevicePrimaryCtxRelease_v2, (CUdevice))                                                                        \
    X(cuDevicePrimaryCtxReset_v2, (CUdevice))                                                                          \
    X(cuMemAlloc_v2, (CUdeviceptr *, size_t))                                                                          \
    X(cuMemAllocPitch_v2, (CUdeviceptr *, size_t *, size_t, size_t, unsigned))                                         \
    X(cuMemAllocManaged, (CUdeviceptr *, size_t, unsigned))                                                            \
    X(cuMemAllocHost_v2, (void **, size_t))                                                                            \
    X(cuMemHostAlloc, (void **, size_t, unsigned))                                                                     \
    X(cuMemFree_v2, (CUdeviceptr))                                                                                     \
    X(cuMemFreeHost, (void *))                                                                                         \
    X(cuStreamCreate, (CUstream *, unsigned))                                                                          \
    X(cuMemPoolCreate, (CUmemoryPool *, const CUmemPoolProps *))                                                       \
    X(cuDeviceGetDefaultMemPool, (CUmemoryPool *, CUdevice))                                                           \
    X(cuMemAllocAsync, (CUdeviceptr *, size_t, CUstream))                                                              \
    X(cuMemAllocAsync_ptsz, (CUdeviceptr *, size_t, CUstream))                                                         \
    X(cuMemAllocFromPoolAsync, (CUdeviceptr *, size_t, CUmemoryPool, CUstream))                                        \
    X(cuMemAllocFromPoolAsync_ptsz, (CUdeviceptr *, size_t, CUmemoryPool, CUstream))                                   \
    X(cuMemFreeAsync, (CUdeviceptr, CUstream))                                                                         \
    X(cuMemFreeAsync_ptsz, (CUdeviceptr, CUstream))                                                                    \
    X(cuMemCreate, (CUmemGenericAllocationHandle *, size_t, const CUmemAllocationProp *, unsigned long long))          \
    X(cuMemGetAllocationGranularity, (size_t *, const CUmemAllocationProp *, int))                                     \
    X(cuMemAddressReserve, (CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long))                           \
    X(cuMemMap, (CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long))                       \
    X(cuMemUnmap, (CUdeviceptr, size_t))                                                                               \
    X(cuMemRelease, (CUmemGenericAllocationHandle))                                                                    \
    X(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle *, void *))                                           \
    X(cuMemImportFromShareableHandle, (CUmemGenericAllocationHandle *, void *, int))                                   \
    X(cuIpcOpenMemHandle_v2, (CUdeviceptr *, CUipcMemHandle, unsigned))                                                \
    X(cuIpcCloseMemHandle, (CUdeviceptr))

#define DECLARE(name, arguments) CUresult name arguments;
#ifndef DRIVER_LOADED
DRIVER_FUNCTIONS(DECLARE)
#endif
