// Holds memory of two runtimes at one time, CUDA's and HIP's, on two devices of each that have the same ids, in pools of the same
// names and in blocks of the same sizes. Writes down what it has after each step: one line of JSON, then it waits for a line.
#include "../cuda/driver.h"
#include "../hip/hsa.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 256, DEVICES = 2 };
static struct entry {
    const char *runtime, *pool;
    uint64_t key;
    size_t bytes;
    int device, code;
} live[MOST], failures[MOST];
static int count, failed;

static void has(const char *runtime, int code, uint64_t key, size_t bytes, const char *pool, int device) {
    struct entry entry = {runtime, pool, key, bytes, device, code};
    if (code)
        failures[failed++] = entry;
    else
        live[count++] = entry;
}

static void must(int code) {
    if (code == 0) return;
    fprintf(stderr, "error %d\n", code);
    exit(1);
}

static void list(struct entry *all, int many) {
    for (int i = 0; i < many; i++)
        printf("%s{\"runtime\":\"%s\",\"pool\":\"%s\",\"key\":%llu,\"bytes\":%zu,\"device\":%d,\"code\":%d}", i ? "," : "",
               all[i].runtime, all[i].pool, (unsigned long long)all[i].key, all[i].bytes, all[i].device, all[i].code);
}

static void tell(const char *step) {
    printf("{\"step\":\"%s\",\"live\":[", step);
    list(live, count);
    printf("],\"failures\":[");
    list(failures, failed);
    printf("]}\n");
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

static CUcontext contexts[DEVICES];

static void work_on(int device) {
    must(cuCtxSetCurrent(contexts[device]));
    must(hipSetDevice(device));
}

static void take(int device, size_t bytes) {
    CUdeviceptr of_cuda = 0;
    void *at = NULL;
    int code = cuMemAlloc_v2(&of_cuda, bytes);
    has("cuda", code, of_cuda, bytes, "DEVICE", device);
    code = hipMalloc(&at, bytes);
    has("hip", code, (uint64_t)at, bytes, "DEVICE", device);
}

int main(void) {
    must(cuInit(0));
    for (int device = 0; device < DEVICES; device++) must(cuDevicePrimaryCtxRetain(&contexts[device], device));
    tell("nothing");

    // As much as they have in common, and something that tells them apart.
    for (int device = 0; device < DEVICES; device++) {
        work_on(device);
        for (size_t i = 1; i <= 10; i++) take(device, 4096 * i * (size_t)(device + 1));
    }
    work_on(0);
    CUdeviceptr managed = 0;
    void *at = NULL;
    must(cuMemAllocManaged(&managed, 11111, 1));
    has("cuda", 0, managed, 11111, "MANAGED", 0);
    must(cuMemAllocHost_v2(&at, 7777));
    has("cuda", 0, (uint64_t)at, 7777, "HOST", 0);
    must(cuMemAlloc_v2(&managed, 54321));
    has("cuda", 0, managed, 54321, "DEVICE", 0);
    must(hipHostMalloc(&at, 3333, 0));
    has("hip", 0, (uint64_t)at, 3333, "HOST", 0);
    tell("both");

    // Of HIP's blocks half go, of CUDA's none; and each of them refuses.
    for (int i = 0; i < count; i++)
        if (live[i].runtime[0] == 'h' && live[i].pool[0] == 'D' && live[i].bytes % 8192 == 0) {
            must(hipFree((void *)live[i].key));
            live[i--] = live[--count];
        }
    work_on(1);
    take(1, 1UL << 40);
    tell("less");
    return 0;
}
