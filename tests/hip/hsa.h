// What of HSA and HIP the tests here call, as their headers have it.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int hsa_status_t;
enum { HSA_STATUS_ERROR_INVALID_ARGUMENT = 0x1001, HSA_STATUS_ERROR_OUT_OF_RESOURCES = 0x1008 };
typedef struct {
    uint64_t handle;
} hsa_agent_t, hsa_amd_memory_pool_t;
enum { HSA_AGENT_INFO_DEVICE = 17, HSA_DEVICE_TYPE_CPU = 0, HSA_DEVICE_TYPE_GPU = 1 };

hsa_status_t hsa_iterate_agents(hsa_status_t (*)(hsa_agent_t, void *), void *);
hsa_status_t hsa_agent_get_info(hsa_agent_t, int, void *);
hsa_status_t hsa_amd_agent_iterate_memory_pools(hsa_agent_t, hsa_status_t (*)(hsa_amd_memory_pool_t, void *), void *);
hsa_status_t hsa_amd_memory_pool_get_info(hsa_amd_memory_pool_t, int, void *);
hsa_status_t hsa_amd_memory_pool_allocate(hsa_amd_memory_pool_t, size_t, uint32_t, void **);
hsa_status_t hsa_amd_memory_pool_free(void *);

typedef int hipError_t;
enum { hipErrorInvalidValue = 1, hipErrorOutOfMemory = 2 };
typedef struct {
    void *ptr;
    size_t pitch, xsize, ysize;
} hipPitchedPtr;
typedef struct {
    size_t width, height, depth;
} hipExtent;
typedef struct {
    int type, requestedHandleType;
    struct {
        int type, id;
    } location;
    void *win32HandleMetaData;
    unsigned char flags[8];
} hipMemAllocationProp;
typedef struct handle *hipMemGenericAllocationHandle_t;

hipError_t hipSetDevice(int);
hipError_t hipDeviceReset(void);
hipError_t hipMalloc(void **, size_t);
hipError_t hipExtMallocWithFlags(void **, size_t, unsigned);
hipError_t hipMallocManaged(void **, size_t, unsigned);
hipError_t hipHostMalloc(void **, size_t, unsigned);
hipError_t hipMallocAsync(void **, size_t, void *);
hipError_t hipMallocFromPoolAsync(void **, size_t, void *, void *);
hipError_t hipMallocPitch(void **, size_t *, size_t, size_t);
hipError_t hipMalloc3D(hipPitchedPtr *, hipExtent);
hipError_t hipFree(void *);
hipError_t hipFreeAsync(void *, void *);
hipError_t hipHostFree(void *);
hipError_t hipMemCreate(hipMemGenericAllocationHandle_t *, size_t, const hipMemAllocationProp *, unsigned long long);
hipError_t hipMemMap(void *, size_t, size_t, hipMemGenericAllocationHandle_t, unsigned long long);
hipError_t hipMemUnmap(void *, size_t);
hipError_t hipMemRetainAllocationHandle(hipMemGenericAllocationHandle_t *, void *);
hipError_t hipMemImportFromShareableHandle(hipMemGenericAllocationHandle_t *, void *, int);
hipError_t hipMemRelease(hipMemGenericAllocationHandle_t);
