// Allocates and frees by the CUDA driver's API in every way that the profile knows, and writes down what it has after each step: one
// line of JSON, then it waits for a line. Runs on the double of the driver and on a genuine one.
//
//   workload          linked with libcuda.so.1, or (built with -DDRIVER_LOADED) loading it
//   workload --double  what only the double can do, too: two devices, contexts of every version, imports
#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DRIVER_LOADED
#define POINTER(name, arguments) static CUresult(*name) arguments;
DRIVER_FUNCTIONS(POINTER)
static void load(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    if (!driver) {
        fprintf(stderr, "%s\n", dlerror());
        exit(77);
    }
#define FIND(name, arguments) name = (CUresult(*) arguments)dlsym(driver, #name);
    DRIVER_FUNCTIONS(FIND)
}
#else
static void load(void) {}
#endif

enum { MOST = 4096, NO_DEVICE = -1 };

static struct entry {
    CUdeviceptr key;
    size_t bytes;
    const char *pool, *api;
    int device;
    CUcontext context; // whose end ends it
} live[MOST];
static int count;

static struct {
    const char *api, *pool;
    size_t bytes;
    int code, device;
} failures[MOST];
static int failed, failed_frees, allocations, frees;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int devices = 1;
static CUcontext primary[2];

// The current one of this thread, as it itself knows.
static _Thread_local CUcontext current;
static _Thread_local int device = NO_DEVICE;

static void must(const char *what, CUresult result) {
    if (result == CUDA_SUCCESS) return;
    fprintf(stderr, "%s: error %d\n", what, result);
    exit(1);
}

static void has(const char *what, CUresult result, CUdeviceptr key, size_t bytes, const char *pool, int on, CUcontext context) {
    pthread_mutex_lock(&lock);
    if (result == CUDA_SUCCESS) {
        live[count++] = (struct entry){key, bytes, pool, what, on, context};
        allocations++;
    } else {
        failures[failed].api = what;
        failures[failed].pool = pool;
        failures[failed].bytes = bytes;
        failures[failed].code = result;
        failures[failed++].device = on;
    }
    pthread_mutex_unlock(&lock);
}

static struct entry gone(CUdeviceptr key) {
    struct entry one = {0};
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++)
        if (live[i].key == key) {
            one = live[i];
            live[i] = live[--count];
            frees++;
            break;
        }
    pthread_mutex_unlock(&lock);
    return one;
}

static void gone_with(CUcontext context) {
    for (int i = 0; i < count;) {
        if (live[i].context == context)
            live[i] = live[--count];
        else
            i++;
    }
}

static void work_on(int which) {
    must("cuCtxSetCurrent", cuCtxSetCurrent(primary[which]));
    current = primary[which];
    device = which;
}

// Taken out before: another thread may be given the same address before this is back.
#define FREE(function, ...)                                                                                            \
    ({                                                                                                                 \
        struct entry entry_ = gone(FIRST(__VA_ARGS__, 0));                                                             \
        freed(function(__VA_ARGS__), entry_);                                                                          \
    })
#define FIRST(one, ...) ((CUdeviceptr)(one))
static void freed(CUresult result, struct entry entry) {
    if (result == CUDA_SUCCESS) return;
    pthread_mutex_lock(&lock);
    failed_frees++;
    if (entry.key) {
        live[count++] = entry;
        frees--;
    }
    pthread_mutex_unlock(&lock);
}

static CUdeviceptr allocate(size_t bytes) {
    CUdeviceptr at = 0;
    CUresult result = cuMemAlloc_v2(&at, bytes);
    has("cuMemAlloc_v2", result, at, bytes, "DEVICE", device, current);
    return at;
}

static CUdeviceptr allocate_pitch(size_t width, size_t height) {
    CUdeviceptr at = 0;
    size_t pitch = width;
    CUresult result = cuMemAllocPitch_v2(&at, &pitch, width, height, 4);
    has("cuMemAllocPitch_v2", result, at, pitch * height, "DEVICE", device, current);
    return at;
}

static CUdeviceptr allocate_managed(size_t bytes) {
    CUdeviceptr at = 0;
    CUresult result = cuMemAllocManaged(&at, bytes, 1);
    has("cuMemAllocManaged", result, at, bytes, "MANAGED", device, current);
    return at;
}

static void *allocate_host(size_t bytes, int by_flags) {
    void *at = NULL;
    CUresult result = by_flags ? cuMemHostAlloc(&at, bytes, 0) : cuMemAllocHost_v2(&at, bytes);
    has(by_flags ? "cuMemHostAlloc" : "cuMemAllocHost_v2", result, (CUdeviceptr)at, bytes, "HOST", device, current);
    return at;
}

#define IN_ORDER(function, bytes, on, ...)                                                                             \
    ({                                                                                                                 \
        CUdeviceptr at_ = 0;                                                                                           \
        CUresult result_ = function(&at_, bytes, __VA_ARGS__);                                                         \
        has(#function, result_, at_, bytes, "POOL", on, NULL);                                                         \
        at_;                                                                                                           \
    })

// -- the steps

static void memory_of_contexts(void) {
    CUdeviceptr kept[60];
    for (int i = 0; i < 60; i++) {
        work_on(i % devices);
        kept[i] = allocate(1000 * (size_t)i + 1);
    }
    // From the other device's point of view, too.
    for (int i = 0; i < 40; i++) FREE(cuMemFree_v2, kept[i]);
    FREE(cuMemFree_v2, 0);
    for (int i = 0; i < 10; i++) {
        work_on(i % devices);
        CUdeviceptr pitched = allocate_pitch(100 + 300 * (size_t)i, 7);
        CUdeviceptr managed = allocate_managed(4096 * (size_t)(i + 1));
        void *host = allocate_host(8192 * (size_t)(i + 1), i % 2);
        if (i % 3 == 0) {
            FREE(cuMemFree_v2, pitched);
            FREE(cuMemFree_v2, managed);
            FREE(cuMemFreeHost, host);
        }
    }
}

static void contexts(void) {
    const int last = devices - 1;
    work_on(0);
    CUcontext below = primary[0];
    int device_below = 0;
    for (int version = 2; version <= 4; version++) {
        const int on = version == 3 ? 0 : last;
        CUcontext context;
        if (version == 2)
            must("cuCtxCreate", cuCtxCreate_v2(&context, 0, on));
        else if (version == 3 && devices > 1)
            must("cuCtxCreate", cuCtxCreate_v3(&context, NULL, 0, 0, on));
        else if (version == 4 && devices > 1)
            must("cuCtxCreate", cuCtxCreate_v4(&context, NULL, 0, on));
        else
            continue;
        current = context, device = on;
        for (int i = 0; i < 5; i++) allocate(500 * (size_t)(i + 1));
        allocate_managed(12345);
        allocate_host(12345, 0);
        must("cuCtxPushCurrent", cuCtxPushCurrent_v2(primary[0]));
        current = primary[0], device = 0;
        allocate(77);
        CUcontext popped;
        must("cuCtxPopCurrent", cuCtxPopCurrent_v2(&popped));
        current = context, device = on;
        CUdeviceptr one = allocate(78);
        FREE(cuMemFree_v2, one);
        allocate(79);
        if (version == 3) { // Stays, and stays current.
            below = context, device_below = on;
            continue;
        }
        must("cuCtxDestroy", cuCtxDestroy_v2(context));
        gone_with(context);
        current = below, device = device_below;
        allocate(80);
    }
    if (devices > 1) {
        // What stayed is no longer current.
        must("cuCtxSetCurrent", cuCtxSetCurrent(NULL));
        current = primary[0], device = 0;
        allocate(81);
    }
}

static void in_order(void) {
    const int last = devices - 1;
    CUstream stream, other;
    CUmemoryPool standard, own;
    work_on(last);
    must("cuStreamCreate", cuStreamCreate(&other, 0));
    work_on(0);
    must("cuStreamCreate", cuStreamCreate(&stream, 0));
    must("cuDeviceGetDefaultMemPool", cuDeviceGetDefaultMemPool(&standard, last));
    CUmemPoolProps properties = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                 .location = {CU_MEM_LOCATION_TYPE_DEVICE, last}};
    must("cuMemPoolCreate", cuMemPoolCreate(&own, &properties));
    for (size_t i = 1; i <= 10; i++) {
        CUdeviceptr a = IN_ORDER(cuMemAllocAsync, 1111 * i, 0, stream);
        CUdeviceptr b = IN_ORDER(cuMemAllocAsync_ptsz, 2222 * i, 0, NULL);
        CUdeviceptr c = IN_ORDER(cuMemAllocFromPoolAsync, 3333 * i, last, own, other);
        CUdeviceptr d = IN_ORDER(cuMemAllocFromPoolAsync_ptsz, 4444 * i, last, standard, other);
        if (devices > 1) IN_ORDER(cuMemAllocAsync, 5555 * i, last, other); // of the other device
        if (i % 2 == 0) {
            FREE(cuMemFreeAsync, a, stream);
            FREE(cuMemFreeAsync_ptsz, b, NULL);
            FREE(cuMemFree_v2, c);
            FREE(cuMemFreeAsync, d, other);
        }
    }
}

static CUmemGenericAllocationHandle create(int on, size_t bytes) {
    CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                      .location = {on == NO_DEVICE ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_DEVICE,
                                                   on == NO_DEVICE ? 0 : on}};
    CUmemGenericAllocationHandle handle = 0;
    CUresult result = cuMemCreate(&handle, bytes, &properties, 0);
    has("cuMemCreate", result, handle, bytes, on == NO_DEVICE ? "HOST" : "DEVICE", on, NULL);
    return handle;
}

static void virtual_memory(int with_imports) {
    const int last = devices - 1;
    CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    size_t unit;
    CUdeviceptr base;
    must("cuMemGetAllocationGranularity", cuMemGetAllocationGranularity(&unit, &properties, 0));
    must("cuMemAddressReserve", cuMemAddressReserve(&base, 64 * unit, 0, 0, 0));
    work_on(0);
    CUmemGenericAllocationHandle handles[12];
    for (int i = 0; i < 12; i++) {
        CUdeviceptr at = base + 4 * unit * (size_t)i;
        handles[i] = create(i % 2 ? last : 0, unit * (size_t)(1 + i % 3));
        if (i < 9) must("cuMemMap", cuMemMap(at, unit * (size_t)(1 + i % 3), 0, handles[i], 0));
    }
    // 0 to 3: the mapping keeps it. Of these, 2 and 3 go with that.
    for (int i = 0; i < 4; i++) must("cuMemRelease", cuMemRelease(handles[i]));
    for (int i = 2; i < 4; i++) {
        must("cuMemUnmap", cuMemUnmap(base + 4 * unit * (size_t)i, unit * (size_t)(1 + i % 3)));
        gone(handles[i]);
    }
    // 4: the handle keeps it. 5: so does the other handle of it. 6: neither does.
    must("cuMemUnmap", cuMemUnmap(base + 4 * unit * 4, unit * 2));
    CUmemGenericAllocationHandle again, twice;
    must("cuMemRetainAllocationHandle", cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(base + 4 * unit * 5)));
    must("cuMemRetainAllocationHandle", cuMemRetainAllocationHandle(&twice, (void *)(uintptr_t)(base + 4 * unit * 6)));
    for (int i = 5; i < 7; i++) {
        must("cuMemRelease", cuMemRelease(handles[i]));
        must("cuMemUnmap", cuMemUnmap(base + 4 * unit * (size_t)i, unit * (size_t)(1 + i % 3)));
    }
    must("cuMemRelease", cuMemRelease(twice));
    gone(handles[6]);
    // 9 was never mapped.
    must("cuMemRelease", cuMemRelease(handles[9]));
    gone(handles[9]);
    // Four in a row, unmapped at one time.
    CUdeviceptr row = base + 52 * unit;
    CUmemGenericAllocationHandle parts[4];
    for (int i = 0; i < 4; i++) {
        parts[i] = create(i % 2 ? last : 0, unit * 2);
        must("cuMemMap", cuMemMap(row + 2 * unit * (size_t)i, unit * 2, 0, parts[i], 0));
        if (i < 3) must("cuMemRelease", cuMemRelease(parts[i]));
    }
    must("cuMemUnmap", cuMemUnmap(row, 8 * unit));
    for (int i = 0; i < 3; i++) gone(parts[i]);
    if (!with_imports) return;
    create(NO_DEVICE, unit);
    CUmemGenericAllocationHandle foreign;
    must("cuMemImportFromShareableHandle", cuMemImportFromShareableHandle(&foreign, NULL, 1));
    must("cuMemMap", cuMemMap(base + 62 * unit, 2 * unit, 0, foreign, 0));
    must("cuMemUnmap", cuMemUnmap(base + 62 * unit, 2 * unit));
    must("cuMemRelease", cuMemRelease(foreign));
    CUdeviceptr shared;
    CUipcMemHandle from = {{0}};
    must("cuIpcOpenMemHandle", cuIpcOpenMemHandle_v2(&shared, from, 1));
    must("cuIpcCloseMemHandle", cuIpcCloseMemHandle(shared));
}

static void *without_a_context(void *nothing) {
    allocate(31337);
    return nothing;
}

static void failing(void) {
    const size_t too_much = 1UL << 50;
    const int last = devices - 1;
    work_on(last);
    allocate(too_much);
    allocate(0);
    allocate_managed(0);
    allocate_pitch(too_much / 1024, 1024);
    IN_ORDER(cuMemAllocAsync, too_much, last, NULL);
    create(0, too_much);
    pthread_t thread;
    pthread_create(&thread, NULL, without_a_context, NULL);
    pthread_join(thread, NULL);
    // Neither is freed by these, and both are still there.
    CUdeviceptr on_device = allocate(4321);
    void *on_host = allocate_host(1234, 1);
    FREE(cuMemFreeHost, (void *)(uintptr_t)on_device);
    FREE(cuMemFree_v2, (CUdeviceptr)(uintptr_t)on_host);
    FREE(cuMemFreeAsync, 0x1234560000, NULL); // of nothing
}

static void *in_a_thread(void *which) {
    work_on((int)(intptr_t)which);
    CUdeviceptr last = 0;
    for (int i = 0; i < 200; i++) {
        CUdeviceptr one = allocate(64 + (size_t)i);
        if (last && i % 10) FREE(cuMemFree_v2, last);
        last = one;
    }
    return NULL;
}

static void threads(void) {
    pthread_t both[2];
    for (int i = 0; i < 2; i++) pthread_create(&both[i], NULL, in_a_thread, (void *)(intptr_t)(i % devices));
    for (int i = 0; i < 2; i++) pthread_join(both[i], NULL);
}

static void reset(void) {
    const int last = devices - 1;
    must("cuDevicePrimaryCtxReset", cuDevicePrimaryCtxReset_v2(last));
    gone_with(primary[last]);
}

// What a primary context has ends with whoever retains it last.
static void release(void) {
    CUcontext again;
    work_on(0);
    must("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain(&again, 0));
    allocate(2718);
    must("cuDevicePrimaryCtxRelease", cuDevicePrimaryCtxRelease_v2(0));
    allocate(2719);
    must("cuDevicePrimaryCtxRelease", cuDevicePrimaryCtxRelease_v2(0));
    gone_with(primary[0]);
}

static void tell(const char *step) {
    printf("{\"step\":\"%s\",\"allocations\":%d,\"frees\":%d,\"failed_frees\":%d,\"live\":[", step, allocations, frees,
           failed_frees);
    for (int i = 0; i < count; i++) {
        struct entry *one = &live[i];
        printf("%s{\"key\":%llu,\"bytes\":%zu,\"pool\":\"%s\",\"api\":\"%s\",\"device\":", i ? "," : "", one->key, one->bytes,
               one->pool, one->api);
        printf(one->device == NO_DEVICE ? "null}" : "%d}", one->device);
    }
    printf("],\"failures\":[");
    for (int i = 0; i < failed; i++) {
        printf("%s{\"bytes\":%zu,\"code\":%d,\"pool\":\"%s\",\"api\":\"%s\",\"device\":", i ? "," : "", failures[i].bytes,
               failures[i].code, failures[i].pool, failures[i].api);
        printf(failures[i].device == NO_DEVICE ? "null}" : "%d}", failures[i].device);
    }
    printf("]}\n");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

int main(int argc, char **argv) {
    const int on_double = argc > 1 && strcmp(argv[1], "--double") == 0;
    load();
    CUresult result = cuInit(0);
    if (result) {
        fprintf(stderr, "cuInit: error %d\n", result);
        return 77;
    }
    if (on_double) devices = 2;
    for (int i = 0; i < devices; i++) must("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain(&primary[i], i));
    tell("nothing");
    memory_of_contexts();
    tell("memory of contexts");
    contexts();
    tell("contexts");
    in_order();
    tell("in a stream's order");
    virtual_memory(on_double);
    tell("virtual memory");
    failing();
    tell("failures");
    threads();
    tell("threads");
    reset();
    tell("reset");
    release();
    tell("release");
    return 0;
}
