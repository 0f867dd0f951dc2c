// A stand-in for the CUDA driver's API, for tests on machines without a GPU: the functions that allocate and free, with two devices of
// 1 GiB each, contexts and their stack, page-locked and managed memory, streams and pools, and virtual memory management. It hands
// out addresses that nobody may touch, reuses them as soon as it can, and fails as the driver does. Nothing here is of NVIDIA's code,
// and the CUDA runtime does not take it for a driver; it is not meant to.
#include "driver.h"

#include <pthread.h>
#include <stdlib.h>

enum { DEVICES = 2, STACK = 16 };
static const size_t CAPACITY = 1UL << 30;

struct context {
    CUdevice device;
    struct context *next;
};

enum kind { OF_CONTEXT, PINNED, IN_ORDER };

struct block {
    CUdeviceptr at;
    size_t bytes;
    enum kind kind;
    CUdevice device;
    struct context *context;
    struct block *next;
};

struct handle {
    size_t bytes;
    CUdevice device; // -1: the host, or another process
    int handles, mappings;
};

struct mapping {
    CUdeviceptr at;
    size_t bytes;
    struct handle *of;
    struct mapping *next;
};

struct CUstream_st {
    struct context *context;
};

struct CUmemPool_st {
    CUdevice device;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct context *contexts, *primary[DEVICES];
static int retained[DEVICES];
static struct block *blocks, *unused;
static struct mapping *mappings;
static size_t taken[DEVICES];
static CUdeviceptr end = 0x7e0000000000;
static struct CUmemPool_st default_pools[DEVICES] = {{0}, {1}};
static _Thread_local struct context *stack[STACK];
static _Thread_local int depth;

static struct context *current(void) { return depth == 0 ? NULL : stack[depth - 1]; }

static int known(struct context *which) {
    for (struct context *one = contexts; one; one = one->next)
        if (one == which) return 1;
    return 0;
}

static CUresult out(CUresult result) {
    pthread_mutex_unlock(&lock);
    return result;
}

// Under the lock.
static CUresult take(CUdeviceptr *to, size_t bytes, enum kind kind, CUdevice device, struct context *context) {
    if (bytes == 0 || !to) return CUDA_ERROR_INVALID_VALUE;
    if (kind != PINNED) {
        if (bytes > CAPACITY - taken[device]) return CUDA_ERROR_OUT_OF_MEMORY;
        taken[device] += bytes;
    }
    struct block **link = &unused;
    while (*link && (*link)->bytes != bytes) link = &(*link)->next;
    struct block *block = *link;
    if (block) {
        *link = block->next;
    } else {
        block = malloc(sizeof *block);
        block->at = end;
        end += (bytes + 511) / 512 * 512;
    }
    CUdeviceptr at = block->at;
    *block = (struct block){at, bytes, kind, device, context, blocks};
    blocks = block;
    *to = at;
    return CUDA_SUCCESS;
}

static void give_back(struct block **link) {
    struct block *block = *link;
    if (block->kind != PINNED) taken[block->device] -= block->bytes;
    *link = block->next;
    block->next = unused;
    unused = block;
}

static CUresult give(CUdeviceptr at, int pinned) {
    if (at == 0) return CUDA_SUCCESS;
    pthread_mutex_lock(&lock);
    for (struct block **link = &blocks; *link; link = &(*link)->next)
        if ((*link)->at == at && ((*link)->kind == PINNED) == pinned) {
            give_back(link);
            return out(CUDA_SUCCESS);
        }
    return out(CUDA_ERROR_INVALID_VALUE);
}

static CUresult take_for_current(CUdeviceptr *to, size_t bytes, enum kind kind) {
    struct context *context = current();
    if (!context) return CUDA_ERROR_INVALID_CONTEXT;
    pthread_mutex_lock(&lock);
    return out(take(to, bytes, kind, context->device, context));
}

static void end_all_of(struct context *context) {
    for (struct block **link = &blocks; *link;) {
        if ((*link)->context == context && (*link)->kind != IN_ORDER)
            give_back(link);
        else
            link = &(*link)->next;
    }
}

// -- contexts

CUresult cuInit(unsigned flags) { return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }

CUresult cuDeviceGetCount(int *count) {
    *count = DEVICES;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    if (ordinal < 0 || ordinal >= DEVICES) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

static struct context *new_context(CUdevice device) {
    struct context *context = malloc(sizeof *context);
    *context = (struct context){device, contexts};
    contexts = context;
    return context;
}

static CUresult create(CUcontext *to, CUdevice device) {
    if (device < 0 || device >= DEVICES) return CUDA_ERROR_INVALID_DEVICE;
    if (depth == STACK) return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct context *context = new_context(device);
    *to = (CUcontext)context;
    stack[depth++] = context;
    return out(CUDA_SUCCESS);
}

CUresult cuCtxCreate_v2(CUcontext *to, unsigned flags, CUdevice device) {
    (void)flags;
    return create(to, device);
}

CUresult cuCtxCreate_v3(CUcontext *to, void *affinity, int count, unsigned flags, CUdevice device) {
    (void)affinity, (void)count, (void)flags;
    return create(to, device);
}

CUresult cuCtxCreate_v4(CUcontext *to, void *parameters, unsigned flags, CUdevice device) {
    (void)parameters, (void)flags;
    return create(to, device);
}

CUresult cuCtxDestroy_v2(CUcontext which) {
    struct context *context = (struct context *)which;
    pthread_mutex_lock(&lock);
    for (struct context **link = &contexts; *link; link = &(*link)->next)
        if (*link == context) {
            end_all_of(context);
            *link = context->next;
            if (current() == context) depth--;
            free(context);
            return out(CUDA_SUCCESS);
        }
    return out(CUDA_ERROR_INVALID_CONTEXT);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *to, CUdevice device) {
    if (device < 0 || device >= DEVICES) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    if (!primary[device]) primary[device] = new_context(device);
    *to = (CUcontext)primary[device];
    retained[device]++;
    return out(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    if (device < 0 || device >= DEVICES) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    if (retained[device] == 0) return out(CUDA_ERROR_INVALID_CONTEXT);
    if (--retained[device] == 0) end_all_of(primary[device]);
    return out(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    if (device < 0 || device >= DEVICES) return CUDA_ERROR_INVALID_DEVICE;
    pthread_mutex_lock(&lock);
    if (primary[device]) end_all_of(primary[device]);
    return out(CUDA_SUCCESS);
}

CUresult cuCtxSetCurrent(CUcontext which) {
    struct context *context = (struct context *)which;
    if (!context) {
        if (depth) depth--;
        return CUDA_SUCCESS;
    }
    pthread_mutex_lock(&lock);
    if (!known(context)) return out(CUDA_ERROR_INVALID_CONTEXT);
    if (depth == 0) depth = 1;
    stack[depth - 1] = context;
    return out(CUDA_SUCCESS);
}

CUresult cuCtxPushCurrent_v2(CUcontext which) {
    if (depth == STACK) return CUDA_ERROR_INVALID_VALUE;
    stack[depth++] = (struct context *)which;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *to) {
    if (depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
    *to = (CUcontext)stack[--depth];
    return CUDA_SUCCESS;
}

// -- memory of a context

CUresult cuMemAlloc_v2(CUdeviceptr *to, size_t bytes) { return take_for_current(to, bytes, OF_CONTEXT); }

CUresult cuMemAllocPitch_v2(CUdeviceptr *to, size_t *pitch, size_t width, size_t height, unsigned element) {
    (void)element;
    size_t row = (width + 511) / 512 * 512;
    CUresult result = take_for_current(to, row * height, OF_CONTEXT);
    if (result == CUDA_SUCCESS) *pitch = row;
    return result;
}

CUresult cuMemAllocManaged(CUdeviceptr *to, size_t bytes, unsigned flags) {
    (void)flags;
    return take_for_current(to, bytes, OF_CONTEXT);
}

CUresult cuMemAllocHost_v2(void **to, size_t bytes) { return take_for_current((CUdeviceptr *)to, bytes, PINNED); }

CUresult cuMemHostAlloc(void **to, size_t bytes, unsigned flags) {
    (void)flags;
    return take_for_current((CUdeviceptr *)to, bytes, PINNED);
}

CUresult cuMemFree_v2(CUdeviceptr at) { return give(at, 0); }
CUresult cuMemFreeHost(void *at) { return give((CUdeviceptr)at, 1); }

// -- in a stream's order

CUresult cuStreamCreate(CUstream *to, unsigned flags) {
    (void)flags;
    if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
    *to = malloc(sizeof **to);
    (*to)->context = current();
    return CUDA_SUCCESS;
}

static CUresult take_in_order(CUdeviceptr *to, size_t bytes, CUstream stream) {
    struct context *context = (size_t)stream > 2 ? stream->context : current();
    if (!context) return CUDA_ERROR_INVALID_CONTEXT;
    pthread_mutex_lock(&lock);
    return out(take(to, bytes, IN_ORDER, context->device, context));
}

static CUresult take_from_pool(CUdeviceptr *to, size_t bytes, CUmemoryPool pool, CUstream stream) {
    (void)stream;
    pthread_mutex_lock(&lock);
    return out(take(to, bytes, IN_ORDER, pool->device, NULL));
}

CUresult cuMemAllocAsync(CUdeviceptr *to, size_t bytes, CUstream stream) { return take_in_order(to, bytes, stream); }
CUresult cuMemAllocAsync_ptsz(CUdeviceptr *to, size_t bytes, CUstream stream) { return take_in_order(to, bytes, stream); }

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *to, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return take_from_pool(to, bytes, pool, stream);
}
CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *to, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return take_from_pool(to, bytes, pool, stream);
}

CUresult cuMemFreeAsync(CUdeviceptr at, CUstream stream) {
    (void)stream;
    return give(at, 0);
}
CUresult cuMemFreeAsync_ptsz(CUdeviceptr at, CUstream stream) {
    (void)stream;
    return give(at, 0);
}

CUresult cuMemPoolCreate(CUmemoryPool *to, const CUmemPoolProps *properties) {
    CUdevice device = properties->location.id;
    if (device < 0 || device >= DEVICES) return CUDA_ERROR_INVALID_DEVICE;
    *to = malloc(sizeof **to);
    (*to)->device = device;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *to, CUdevice device) {
    if (device < 0 || device >= DEVICES) return CUDA_ERROR_INVALID_DEVICE;
    *to = &default_pools[device];
    return CUDA_SUCCESS;
}

// -- virtual memory management

CUresult cuMemGetAllocationGranularity(size_t *to, const CUmemAllocationProp *properties, int which) {
    (void)properties, (void)which;
    *to = 2 << 20;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *to, size_t bytes, size_t alignment, CUdeviceptr wanted, unsigned long long flags) {
    static CUdeviceptr next = 0x7c0000000000;
    (void)alignment, (void)wanted, (void)flags;
    pthread_mutex_lock(&lock);
    *to = next;
    next += bytes;
    return out(CUDA_SUCCESS);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *to, size_t bytes, const CUmemAllocationProp *properties,
                     unsigned long long flags) {
    int on_device = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    CUdevice device = on_device ? properties->location.id : -1;
    if (flags || bytes == 0 || device >= DEVICES) return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    if (on_device) {
        if (bytes > CAPACITY - taken[device]) return out(CUDA_ERROR_OUT_OF_MEMORY);
        taken[device] += bytes;
    }
    struct handle *handle = malloc(sizeof *handle);
    *handle = (struct handle){bytes, device, 1, 0};
    *to = (CUmemGenericAllocationHandle)handle;
    return out(CUDA_SUCCESS);
}

static void end_if_last(struct handle *handle) {
    if (handle->handles || handle->mappings) return;
    if (handle->device >= 0) taken[handle->device] -= handle->bytes;
    free(handle);
}

CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t offset, CUmemGenericAllocationHandle of, unsigned long long flags) {
    struct handle *handle = (struct handle *)of;
    if (flags || offset || bytes != handle->bytes) return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct mapping *mapping = malloc(sizeof *mapping);
    *mapping = (struct mapping){at, bytes, handle, mappings};
    mappings = mapping;
    handle->mappings++;
    return out(CUDA_SUCCESS);
}

// Of everything that is mapped in there, which must fill it.
CUresult cuMemUnmap(CUdeviceptr at, size_t bytes) {
    pthread_mutex_lock(&lock);
    size_t found = 0;
    for (struct mapping *one = mappings; one; one = one->next)
        if (one->at >= at && one->at + one->bytes <= at + bytes) found += one->bytes;
    if (found != bytes || bytes == 0) return out(CUDA_ERROR_INVALID_VALUE);
    for (struct mapping **link = &mappings; *link;) {
        struct mapping *one = *link;
        if (one->at >= at && one->at + one->bytes <= at + bytes) {
            *link = one->next;
            one->of->mappings--;
            end_if_last(one->of);
            free(one);
        } else {
            link = &one->next;
        }
    }
    return out(CUDA_SUCCESS);
}

CUresult cuMemRelease(CUmemGenericAllocationHandle of) {
    struct handle *handle = (struct handle *)of;
    pthread_mutex_lock(&lock);
    handle->handles--;
    end_if_last(handle);
    return out(CUDA_SUCCESS);
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *to, void *address) {
    CUdeviceptr at = (CUdeviceptr)address;
    pthread_mutex_lock(&lock);
    for (struct mapping *one = mappings; one; one = one->next)
        if (one->at <= at && at < one->at + one->bytes) {
            one->of->handles++;
            *to = (CUmemGenericAllocationHandle)one->of;
            return out(CUDA_SUCCESS);
        }
    return out(CUDA_ERROR_INVALID_VALUE);
}

// As if another process had sent it: 4 MiB.
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *to, void *from, int type) {
    (void)from, (void)type;
    struct handle *handle = malloc(sizeof *handle);
    *handle = (struct handle){4 << 20, -1, 1, 0};
    *to = (CUmemGenericAllocationHandle)handle;
    return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *to, CUipcMemHandle from, unsigned flags) {
    (void)from, (void)flags;
    *to = 0x7d0000000000;
    return CUDA_SUCCESS;
}

CUresult cuIpcCloseMemHandle(CUdeviceptr at) { return at == 0x7d0000000000 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }
