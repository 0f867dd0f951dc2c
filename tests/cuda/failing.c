// Calls what allocates in genuine libraries on a machine without a GPU, where all of it fails, and writes down why.
//
//   failing LIBRARY…      each is a libcuda.so.1, a libcudart.so.N or a libamdhip64.so.N
//
// Its second step is called by how many failed. Code 77: one did not, so this machine has a GPU.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count;
static char told[1 << 16];

// As the profiles have them: what is asked for is 1000 bytes a call more each time.
static void failed(const char *api, const char *pool, size_t bytes, int code) {
    if (code == 0) {
        fprintf(stderr, "%s did not fail: this machine has a GPU\n", api);
        exit(77);
    }
    char *end = told + strlen(told);
    // HIP's threads begin with the first device; CUDA's have none until there is a context.
    const char *device = strncmp(api, "hip", 3) ? "null" : "0";
    snprintf(end, sizeof told - (size_t)(end - told), "%s{\"bytes\":%zu,\"code\":%d,\"pool\":\"%s\",\"api\":\"%s\",\"device\":%s}",
             count++ ? "," : "", bytes, code, pool, api, device);
}

static void step(const char *name) {
    printf("{\"step\":\"%s\",\"allocations\":0,\"failed_frees\":0,\"live\":[],\"failures\":[%s]}\n", name, told);
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

static void lacks(const char *api) {
    fprintf(stderr, "no library has %s\n", api);
    exit(1);
}

typedef int allocate_fn(void **, size_t, ...);
typedef int pitch_fn(void **, size_t *, size_t, size_t, unsigned);

static void try(void *library, const char *api, const char *pool, size_t bytes) {
    allocate_fn *allocate = (allocate_fn *)dlsym(library, api);
    if (!allocate) lacks(api);
    void *out = NULL;
    failed(api, pool, bytes, allocate(&out, bytes, (void *)0, (void *)0));
}

static void try_pitch(void *library, const char *api, size_t width, size_t height) {
    pitch_fn *allocate = (pitch_fn *)dlsym(library, api);
    if (!allocate) lacks(api);
    void *out = NULL;
    size_t pitch = 0;
    failed(api, "DEVICE", width * height, allocate(&out, &pitch, width, height, 4));
}

int main(int argc, char **argv) {
    void *libraries[8];
    for (int i = 1; i < argc; i++) {
        libraries[i] = dlopen(argv[i], RTLD_NOW | RTLD_GLOBAL);
        if (!libraries[i]) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
    }
    step("loaded");
    for (int i = 1; i < argc; i++) {
        void *library = libraries[i];
        if (strstr(argv[i], "libcuda.so")) {
            for (size_t n = 1; n <= 10; n++) try(library, "cuMemAlloc_v2", "DEVICE", 1000 * n);
            try_pitch(library, "cuMemAllocPitch_v2", 300, 7);
            try(library, "cuMemAllocManaged", "MANAGED", 11000);
            try(library, "cuMemAllocHost_v2", "HOST", 12000);
            try(library, "cuMemHostAlloc", "HOST", 13000);
            try(library, "cuMemAllocAsync", "POOL", 14000);
        } else if (strstr(argv[i], "libcudart.so")) {
            for (size_t n = 1; n <= 10; n++) try(library, "cudaMalloc", "DEVICE", 1000 * n);
            try_pitch(library, "cudaMallocPitch", 300, 7);
            try(library, "cudaMallocHost", "HOST", 12000);
            try(library, "cudaHostAlloc", "HOST", 13000);
            try(library, "cudaMallocAsync", "POOL", 14000);
        } else {
            for (size_t n = 1; n <= 10; n++) try(library, "hipMalloc", "DEVICE", 1000 * n);
            try_pitch(library, "hipMallocPitch", 300, 7);
            try(library, "hipHostMalloc", "HOST", 12000);
            try(library, "hipMallocAsync", "POOL", 14000);
        }
    }
    char name[32];
    snprintf(name, sizeof name, "%d failed", count);
    step(name);
    return 0;
}
