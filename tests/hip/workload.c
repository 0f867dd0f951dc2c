// Allocates and frees by HIP, or (built with -DHSA) by HSA alone, and writes down what it has after each step: one line of JSON, then
// it waits for a line.
#include "hsa.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 4096, NO_DEVICE = -1 };
static struct entry {
    uint64_t key;
    size_t bytes;
    const char *pool, *api;
    int device, of_device; // with whose reset it ends
} live[MOST], failures[MOST];
static int codes[MOST], count, failed, failed_frees, allocations;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int has(const char *api, int code, void *key, size_t bytes, const char *pool, int device, int of_device) {
    struct entry entry = {(uint64_t)key, bytes, pool, api, device, of_device};
    pthread_mutex_lock(&lock);
    if (code == 0) {
        live[count++] = entry;
        allocations++;
    } else {
        codes[failed] = code;
        failures[failed++] = entry;
    }
    pthread_mutex_unlock(&lock);
    return code == 0;
}

// Taken out before: another thread may be given the same address before this is back.
static struct entry gone(void *key) {
    struct entry one = {0};
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++)
        if (live[i].key == (uint64_t)key) {
            one = live[i];
            live[i] = live[--count];
            break;
        }
    pthread_mutex_unlock(&lock);
    return one;
}

static void freed(int code, struct entry entry) {
    if (code == 0) return;
    pthread_mutex_lock(&lock);
    failed_frees++;
    if (entry.key) live[count++] = entry;
    pthread_mutex_unlock(&lock);
}

#define FREE(call, key)                                                                                                \
    ({                                                                                                                 \
        struct entry entry_ = gone(key);                                                                               \
        freed(call, entry_);                                                                                           \
    })

static void tell(const char *step) {
    printf("{\"step\":\"%s\",\"allocations\":%d,\"failed_frees\":%d,\"live\":[", step, allocations, failed_frees);
    for (int list = 0; list < 2; list++) {
        for (int i = 0; i < (list ? failed : count); i++) {
            struct entry *one = list ? &failures[i] : &live[i];
            printf("%s{\"key\":%lu,\"bytes\":%zu,\"pool\":\"%s\",\"api\":\"%s\",\"code\":%d,\"device\":", i ? "," : "", one->key,
                   one->bytes, one->pool, one->api, list ? codes[i] : 0);
            printf(one->device == NO_DEVICE ? "null}" : "%d}", one->device);
        }
        printf(list ? "]}\n" : "],\"failures\":[");
    }
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

#ifdef HSA

static hsa_amd_memory_pool_t pools[3];
static int found;

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

static void *take(int pool, size_t bytes) {
    void *at = NULL;
    int code = hsa_amd_memory_pool_allocate(pools[pool], bytes, 0, &at);
    has("hsa_amd_memory_pool_allocate", code, at, bytes, pool ? "DEVICE" : "HOST", NO_DEVICE, NO_DEVICE);
    return at;
}

int main(void) {
    tell("nothing");
    hsa_iterate_agents(see_agent, NULL);
    // None of an agent any more: the pool stays the one's that it is.
    uint32_t segment;
    hsa_amd_memory_pool_get_info(pools[0], 0, &segment);
    void *kept[120];
    for (int i = 0; i < 120; i++) kept[i] = take(i % 3, 100 * (size_t)(i + 1));
    for (int i = 0; i < 120; i++)
        if (i % 4) FREE(hsa_amd_memory_pool_free(kept[i]), kept[i]);
    tell("memory");
    take(1, 1UL << 40);
    take(0, 0);
    FREE(hsa_amd_memory_pool_free(kept[0] + 8), kept[0] + 8); // of nothing
    tell("failures");
    return 0;
}

#else

static _Thread_local int device = NO_DEVICE;

static void set(int which) {
    hipSetDevice(which);
    device = which;
}

#define TAKE(function, pool, bytes, ...)                                                                               \
    ({                                                                                                                 \
        void *at_ = NULL;                                                                                              \
        int code_ = function(&at_, bytes __VA_OPT__(, ) __VA_ARGS__);                                                  \
        has(#function, code_, at_, bytes, pool, device, device);                                                       \
        at_;                                                                                                           \
    })

// Every thread begins with the first device.
static void *without_a_word(void *nothing) {
    device = 0;
    TAKE(hipMalloc, "DEVICE", 321);
    void *one = TAKE(hipHostMalloc, "HOST", 4321, 0);
    FREE(hipHostFree(one), one);
    return nothing;
}

static void memory(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, without_a_word, NULL);
    pthread_join(thread, NULL);
    without_a_word(NULL);
    for (size_t i = 1; i <= 40; i++) {
        set((int)i % 2);
        void *a = TAKE(hipMalloc, "DEVICE", 1000 * i);
        void *b = TAKE(hipExtMallocWithFlags, "DEVICE", 900 * i, 0);
        void *c = TAKE(hipMallocManaged, "MANAGED", 800 * i, 1);
        void *d = TAKE(hipHostMalloc, "HOST", 700 * i, 0);
        void *e = TAKE(hipMallocAsync, "POOL", 600 * i, NULL);
        void *h = TAKE(hipMallocFromPoolAsync, "POOL", 500 * i, NULL, NULL);
        void *f = NULL;
        size_t pitch;
        int code = hipMallocPitch(&f, &pitch, 100 * i, 3);
        has("hipMallocPitch", code, f, pitch * 3, "DEVICE", device, device);
        hipPitchedPtr g;
        code = hipMalloc3D(&g, (hipExtent){50 * i, 3, 2});
        has("hipMalloc3D", code, g.ptr, g.pitch * 6, "DEVICE", device, device);
        if (i % 3 == 0) continue;
        FREE(hipFree(a), a);
        FREE(hipFree(b), b);
        FREE(hipFree(c), c);
        FREE(hipHostFree(d), d);
        FREE(hipFreeAsync(e, NULL), e);
        FREE(hipFreeAsync(h, NULL), h);
        FREE(hipFree(f), f);
        FREE(hipFree(g.ptr), g.ptr);
    }
    hipFree(NULL);
}

static void virtual_memory(void) {
    const size_t unit = 2 << 20;
    char *base = (char *)0x7c0000000000;
    for (int i = 0; i < 6; i++) {
        hipMemAllocationProp properties = {.type = 1, .location = {1, i % 2}};
        hipMemGenericAllocationHandle_t handle;
        int code = hipMemCreate(&handle, unit, &properties, 0);
        if (!has("hipMemCreate", code, handle, unit, "DEVICE", i % 2, NO_DEVICE)) continue;
        hipMemMap(base + (size_t)i * unit, unit, 0, handle, 0);
        if (i == 5) continue; // The handle keeps it.
        if (i == 4) { // And here another one does.
            hipMemGenericAllocationHandle_t again;
            hipMemRetainAllocationHandle(&again, base + 4 * unit);
            hipMemRelease(handle);
            continue;
        }
        hipMemRelease(handle);
        if (i >= 2) gone(handle);
    }
    hipMemUnmap(base + 2 * unit, 4 * unit);
    // Another process's memory: one is given back, one is kept, and neither is told of.
    for (int i = 0; i < 2; i++) {
        hipMemGenericAllocationHandle_t foreign;
        hipMemImportFromShareableHandle(&foreign, NULL, 1);
        hipMemMap(base + (size_t)(8 + i) * unit, unit, 0, foreign, 0);
        if (i) continue;
        hipMemUnmap(base + 8 * unit, unit);
        hipMemRelease(foreign);
    }
}

static void failing(void) {
    set(1);
    TAKE(hipMalloc, "DEVICE", 1UL << 40);
    TAKE(hipMalloc, "DEVICE", 0);
    TAKE(hipHostMalloc, "HOST", 1UL << 40, 0);
    TAKE(hipMallocFromPoolAsync, "POOL", 1UL << 40, NULL, NULL);
    void *on_device = TAKE(hipMalloc, "DEVICE", 4242);
    FREE(hipHostFree(on_device), on_device);
    FREE(hipFree((void *)0x123456000), (void *)0x123456000);
}

static void *in_a_thread(void *which) {
    set((int)(intptr_t)which);
    void *last = NULL;
    for (size_t i = 0; i < 200; i++) {
        void *one = TAKE(hipMalloc, "DEVICE", 64 + i);
        if (last && i % 10) FREE(hipFree(last), last);
        last = one;
    }
    return NULL;
}

int main(void) {
    tell("nothing");
    memory();
    tell("memory");
    virtual_memory();
    tell("virtual memory");
    failing();
    tell("failures");
    pthread_t both[2];
    for (int i = 0; i < 2; i++) pthread_create(&both[i], NULL, in_a_thread, (void *)(intptr_t)i);
    for (int i = 0; i < 2; i++) pthread_join(both[i], NULL);
    tell("threads");
    set(1);
    hipDeviceReset();
    for (int i = 0; i < count;) {
        if (live[i].of_device == 1)
            live[i] = live[--count];
        else
            i++;
    }
    tell("reset");
    return 0;
}

#endif
