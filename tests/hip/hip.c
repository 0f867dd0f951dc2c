// A stand-in for libamdhip64 on the one for HSA: each of its allocations is one of HSA's, but managed ones, which are not.
#include "hsa.h"

#include <pthread.h>
#include <stdlib.h>

enum { DEVICES = 2, MOST = 4096 };
static hsa_amd_memory_pool_t pools[DEVICES + 1]; // the host's first
static int found;
static _Thread_local int device;
static struct {
    void *at;
    int device, managed, host;
} blocks[MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct handle {
    void *memory;
    int handles, mappings;
};
static struct {
    char *at;
    size_t bytes;
    struct handle *of;
} mappings[MOST];

static hsa_status_t see_pool(hsa_amd_memory_pool_t pool, void *nothing) {
    (void)nothing;
    uint32_t segment;
    hsa_amd_memory_pool_get_info(pool, 0, &segment);
    pools[found++] = pool;
    return 0;
}

static hsa_status_t see_agent(hsa_agent_t agent, void *nothing) {
    uint32_t type;
    hsa_agent_get_info(agent, HSA_AGENT_INFO_DEVICE, &type);
    return hsa_amd_agent_iterate_memory_pools(agent, see_pool, nothing);
}

static void start(void) {
    void *queue;
    hsa_iterate_agents(see_agent, NULL);
    // What a runtime takes for itself.
    hsa_amd_memory_pool_allocate(pools[0], 65536, 0, &queue);
    hsa_amd_memory_pool_allocate(pools[1], 131072, 0, &queue);
}

static hipError_t take(void **out, size_t bytes, int host, int managed) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    if (bytes == 0) return hipErrorInvalidValue;
    pthread_mutex_lock(&lock);
    hipError_t result = 0;
    if (managed)
        *out = malloc(16);
    else if (hsa_amd_memory_pool_allocate(pools[host ? 0 : 1 + device], bytes, 0, out))
        result = hipErrorOutOfMemory;
    for (int i = 0; result == 0 && i < MOST; i++)
        if (!blocks[i].at) {
            blocks[i].at = *out, blocks[i].device = device, blocks[i].managed = managed, blocks[i].host = host;
            break;
        }
    pthread_mutex_unlock(&lock);
    return result;
}

static void give_back(int i) {
    void *at = blocks[i].at;
    blocks[i].at = NULL;
    if (blocks[i].managed)
        free(at);
    else
        hsa_amd_memory_pool_free(at);
}

static hipError_t give(void *at, int host) {
    if (!at) return 0;
    hipError_t result = hipErrorInvalidValue;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; i++)
        if (blocks[i].at == at && blocks[i].host == host) {
            give_back(i);
            result = 0;
            break;
        }
    pthread_mutex_unlock(&lock);
    return result;
}

hipError_t hipSetDevice(int which) {
    if (which < 0 || which >= DEVICES) return hipErrorInvalidValue;
    device = which;
    return 0;
}

hipError_t hipDeviceReset(void) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; i++)
        if (blocks[i].at && blocks[i].device == device) give_back(i);
    pthread_mutex_unlock(&lock);
    return 0;
}

hipError_t hipMalloc(void **out, size_t bytes) { return take(out, bytes, 0, 0); }
hipError_t hipExtMallocWithFlags(void **out, size_t bytes, unsigned flags) { return (void)flags, take(out, bytes, 0, 0); }
hipError_t hipMallocManaged(void **out, size_t bytes, unsigned flags) { return (void)flags, take(out, bytes, 0, 1); }
hipError_t hipHostMalloc(void **out, size_t bytes, unsigned flags) { return (void)flags, take(out, bytes, 1, 0); }
hipError_t hipMallocAsync(void **out, size_t bytes, void *stream) { return (void)stream, take(out, bytes, 0, 0); }

hipError_t hipMallocFromPoolAsync(void **out, size_t bytes, void *pool, void *stream) {
    return (void)pool, (void)stream, take(out, bytes, 0, 0);
}

hipError_t hipMallocPitch(void **out, size_t *pitch, size_t width, size_t height) {
    size_t row = (width + 255) / 256 * 256;
    hipError_t result = take(out, row * height, 0, 0);
    if (result == 0) *pitch = row;
    return result;
}

hipError_t hipMalloc3D(hipPitchedPtr *out, hipExtent extent) {
    size_t row = (extent.width + 255) / 256 * 256;
    hipError_t result = take(&out->ptr, row * extent.height * extent.depth, 0, 0);
    if (result == 0) out->pitch = row, out->xsize = extent.width, out->ysize = extent.height;
    return result;
}

hipError_t hipFree(void *at) { return give(at, 0); }
hipError_t hipFreeAsync(void *at, void *stream) { return (void)stream, give(at, 0); }
hipError_t hipHostFree(void *at) { return give(at, 1); }

hipError_t hipMemCreate(hipMemGenericAllocationHandle_t *out, size_t bytes, const hipMemAllocationProp *properties,
                        unsigned long long flags) {
    int before = device;
    void *memory;
    if (flags) return hipErrorInvalidValue;
    device = properties->location.id;
    hipError_t result = hsa_amd_memory_pool_allocate(pools[1 + device], bytes, 0, &memory) ? hipErrorOutOfMemory : 0;
    device = before;
    if (result) return result;
    *out = malloc(sizeof **out);
    **out = (struct handle){memory, 1, 0};
    return 0;
}

static void end_if_last(struct handle *handle) {
    if (handle->handles || handle->mappings) return;
    if (handle->memory) hsa_amd_memory_pool_free(handle->memory);
    free(handle);
}

hipError_t hipMemMap(void *at, size_t bytes, size_t offset, hipMemGenericAllocationHandle_t of, unsigned long long flags) {
    if (offset || flags) return hipErrorInvalidValue;
    for (int i = 0; i < MOST; i++)
        if (!mappings[i].at) {
            mappings[i].at = at, mappings[i].bytes = bytes, mappings[i].of = of;
            of->mappings++;
            return 0;
        }
    return hipErrorInvalidValue;
}

hipError_t hipMemUnmap(void *from, size_t bytes) {
    char *at = from;
    for (int i = 0; i < MOST; i++)
        if (mappings[i].at >= at && mappings[i].at < at + bytes) {
            mappings[i].at = NULL;
            mappings[i].of->mappings--;
            end_if_last(mappings[i].of);
        }
    return 0;
}

hipError_t hipMemRetainAllocationHandle(hipMemGenericAllocationHandle_t *out, void *at) {
    for (int i = 0; i < MOST; i++)
        if (mappings[i].at == at) {
            *out = mappings[i].of;
            (*out)->handles++;
            return 0;
        }
    return hipErrorInvalidValue;
}

// Another process's: nothing is taken for it here.
hipError_t hipMemImportFromShareableHandle(hipMemGenericAllocationHandle_t *out, void *from, int type) {
    (void)from, (void)type;
    *out = malloc(sizeof **out);
    **out = (struct handle){NULL, 1, 0};
    return 0;
}

hipError_t hipMemRelease(hipMemGenericAllocationHandle_t handle) {
    handle->handles--;
    end_if_last(handle);
    return 0;
}
