// Allocates and frees by the CUDA runtime, linked statically or not, and writes down what it has after each step: as workload.c does.
// For a machine with a GPU.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int cudaMalloc(void **, size_t);
int cudaMallocManaged(void **, size_t, unsigned);
int cudaMallocHost(void **, size_t);
int cudaHostAlloc(void **, size_t, unsigned);
int cudaMallocPitch(void **, size_t *, size_t, size_t);
int cudaMallocAsync(void **, size_t, void *);
int cudaFree(void *);
int cudaFreeHost(void *);
int cudaFreeAsync(void *, void *);
int cudaGetDeviceCount(int *);
int cudaGetLastError(void);

enum { MOST = 4096 };
static struct {
    uint64_t key;
    size_t bytes;
    const char *pool, *api;
    int code;
} live[MOST], failures[MOST];
static int count, failed, allocations, failed_frees;

static void *has(const char *api, int code, void *key, size_t bytes, const char *pool) {
    int *number = code ? &failed : &count;
    int i = (*number)++;
    (code ? failures : live)[i].key = (uint64_t)key;
    (code ? failures : live)[i].bytes = bytes;
    (code ? failures : live)[i].pool = pool;
    (code ? failures : live)[i].api = api;
    (code ? failures : live)[i].code = code;
    if (!code) allocations++;
    return key;
}

static void freed(int code, void *key) {
    if (code) {
        failed_frees++;
        cudaGetLastError();
        return;
    }
    for (int i = 0; i < count; i++)
        if (live[i].key == (uint64_t)key) {
            live[i] = live[--count];
            return;
        }
}

static void tell(const char *step) {
    printf("{\"step\":\"%s\",\"allocations\":%d,\"failed_frees\":%d,\"live\":[", step, allocations, failed_frees);
    for (int list = 0; list < 2; list++) {
        for (int i = 0; i < (list ? failed : count); i++)
            printf("%s{\"key\":%lu,\"bytes\":%zu,\"pool\":\"%s\",\"api\":\"%s\",\"code\":%d,\"device\":0}", i ? "," : "",
                   (list ? failures : live)[i].key, (list ? failures : live)[i].bytes, (list ? failures : live)[i].pool,
                   (list ? failures : live)[i].api, (list ? failures : live)[i].code);
        printf(list ? "]}\n" : "],\"failures\":[");
    }
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

#define TAKE(function, pool, bytes, ...)                                                                               \
    ({                                                                                                                 \
        void *at_ = NULL;                                                                                              \
        int code_ = function(&at_, bytes __VA_OPT__(, ) __VA_ARGS__);                                                  \
        if (code_) cudaGetLastError();                                                                                 \
        has(#function, code_, at_, bytes, pool);                                                                       \
    })

int main(void) {
    int devices;
    int code = cudaGetDeviceCount(&devices);
    if (code) {
        fprintf(stderr, "cudaGetDeviceCount: error %d\n", code);
        return 77;
    }
    tell("nothing");
    for (size_t i = 1; i <= 100; i++) {
        void *one = TAKE(cudaMalloc, "DEVICE", 10007 * i);
        if (i % 5) freed(cudaFree(one), one);
    }
    tell("cudaMalloc");
    for (size_t i = 1; i <= 10; i++) {
        void *managed = TAKE(cudaMallocManaged, "MANAGED", 4096 * i, 1);
        void *host = TAKE(cudaMallocHost, "HOST", 8192 * i);
        TAKE(cudaHostAlloc, "HOST", 4096 * i, 0);
        void *ordered = TAKE(cudaMallocAsync, "POOL", 5000 * i, NULL);
        void *pitched = NULL;
        size_t pitch = 100 * i;
        code = cudaMallocPitch(&pitched, &pitch, 100 * i, 7);
        has("cudaMallocPitch", code, pitched, pitch * 7, "DEVICE");
        if (i % 2) continue;
        freed(cudaFree(managed), managed);
        freed(cudaFreeHost(host), host);
        freed(cudaFreeAsync(ordered, NULL), ordered);
        freed(cudaFree(pitched), pitched);
    }
    tell("other memory");
    TAKE(cudaMalloc, "DEVICE", 1UL << 50);
    tell("failures");
    return 0;
}
