/* Allocates by Level Zero in a known pattern and writes down what it holds: `workload loader|table|both|apart`.
 *
 * `loader`: the functions that libze_loader.so exports. `table`: the driver is opened by itself, and what is called is
 * what stands in the tables that it hands out, as the loader would. `both`: by turns, in one process. `apart`: the same,
 * where the loader has another driver.
 *
 * Steps are lines of JSON; it waits for a line after each. No header is needed: what is declared here is the API's
 * promise (ze_api.h, ze_ddi.h). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef uint32_t result;
typedef void *handle;

enum { CONTEXT_DESC = 0xd, DEVICE_MEM_DESC = 0x15, HOST_MEM_DESC = 0x16, IMPORT_FD = 0x19, PHYSICAL_MEM_DESC = 0x20,
       FREE_EXT_DESC = 0x30 };

struct context_desc { uint32_t type; const void *next; uint32_t flags; };
struct device_desc { uint32_t type; const void *next; uint32_t flags, ordinal; };
struct host_desc { uint32_t type; const void *next; uint32_t flags; };
struct import_fd { uint32_t type; const void *next; uint32_t flags; int fd; };
struct free_ext_desc { uint32_t type; const void *next; uint32_t policy; };
struct physical_desc { uint32_t type; const void *next; uint32_t flags; size_t size; };

/* ze_mem_dditable_t, as far as it is called. */
struct mem_table {
    result (*alloc_shared)(handle, struct device_desc *, struct host_desc *, size_t, size_t, handle, void **);
    result (*alloc_device)(handle, struct device_desc *, size_t, size_t, handle, void **);
    result (*alloc_host)(handle, struct host_desc *, size_t, size_t, void **);
    result (*free)(handle, void *);
    void *properties, *range, *ipc_get, *ipc_open, *ipc_close;
    result (*free_ext)(handle, struct free_ext_desc *, void *);
    void *later[32];
};

struct physical_table {
    result (*create)(handle, handle, struct physical_desc *, handle *);
    result (*destroy)(handle, handle);
    void *later[32];
};

struct device_table {
    result (*get)(handle, uint32_t *, handle *);
    result (*get_sub_devices)(handle, uint32_t *, handle *);
    void *later[64];
};

/* One way of calling. */
struct api {
    struct mem_table mem;
    struct physical_table physical;
    struct device_table device;
    handle context, devices[8];
    uint32_t count;
};

enum pool { DEVICE, SHARED, HOST, IMPORTED, POOLS };
static const char *const NAMES[POOLS] = {"DEVICE", "SHARED", "HOST", "IMPORTED"};

/* The program's own books. Host memory is no device's: there `device` is -1. */
static struct { int allocations, frees, failed; } books[POOLS][3];
static struct { enum pool pool; int device, live; void *key; size_t size; } all[1000];
static int many;
static uint32_t errors[100];
static int failures;

static void die(const char *what, unsigned code) {
    fprintf(stderr, "%s: %#x\n", what, code);
    exit(1);
}

static void check(const char *what, result code) {
    if (code)
        die(what, code);
}

static void *need(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found)
        die(name, 0);
    return found;
}

static void *opened(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die(dlerror(), 0);
    return library;
}

/* What is exported under the API's names. */
static void exported(struct api *api, void *library) {
    api->mem.alloc_shared = need(library, "zeMemAllocShared");
    api->mem.alloc_device = need(library, "zeMemAllocDevice");
    api->mem.alloc_host = need(library, "zeMemAllocHost");
    api->mem.free = need(library, "zeMemFree");
    api->mem.free_ext = dlsym(library, "zeMemFreeExt");
    api->physical.create = dlsym(library, "zePhysicalMemCreate");
    api->device.get = need(library, "zeDeviceGet");
    api->device.get_sub_devices = need(library, "zeDeviceGetSubDevices");
}

static void of_table(struct api *api, void *library) {
    const uint32_t version = 0x10003;
    result (*get)(uint32_t, void *) = need(library, "zeGetMemProcAddrTable");
    check("zeGetMemProcAddrTable", get(version, &api->mem));
    get = need(library, "zeGetPhysicalMemProcAddrTable");
    check("zeGetPhysicalMemProcAddrTable", get(version, &api->physical));
    get = need(library, "zeGetDeviceProcAddrTable");
    check("zeGetDeviceProcAddrTable", get(version, &api->device));
}

static void start(struct api *api, void *library) {
    result (*init)(uint32_t) = need(library, "zeInit");
    result (*drivers)(uint32_t *, handle *) = need(library, "zeDriverGet");
    result (*create)(handle, struct context_desc *, handle *) = need(library, "zeContextCreate");
    check("zeInit", init(0));
    uint32_t count = 1;
    handle driver;
    check("zeDriverGet", drivers(&count, &driver));
    check("zeDeviceGet", api->device.get(driver, &api->count, NULL));
    /* More than there are: the rest of the array says nothing. */
    uint32_t room = 8;
    check("zeDeviceGet", api->device.get(driver, &room, api->devices));
    struct context_desc desc = {CONTEXT_DESC, NULL, 0};
    check("zeContextCreate", create(driver, &desc, &api->context));
}

static void failed(enum pool pool, int device, result code) {
    if (!code)
        die("what must fail did not", pool);
    books[pool][device + 1].failed++;
    errors[failures++] = code;
}

static result allocate(struct api *api, enum pool pool, int device, size_t size, void *import, void **out) {
    struct device_desc on_device = {DEVICE_MEM_DESC, import, 0, 0};
    struct host_desc on_host = {HOST_MEM_DESC, NULL, 0};
    switch (pool) {
    case SHARED:
        return api->mem.alloc_shared(api->context, &on_device, &on_host, size, 64, api->devices[device], out);
    case HOST:
        return api->mem.alloc_host(api->context, &on_host, size, 64, out);
    default:
        return api->mem.alloc_device(api->context, &on_device, size, 64, api->devices[device], out);
    }
}

static void keep(struct api *api, enum pool pool, size_t size, int device) {
    void *memory = NULL;
    check(NAMES[pool], allocate(api, pool, device, size, NULL, &memory));
    if (pool == HOST)
        device = -1;
    books[pool][device + 1].allocations++;
    all[many].pool = pool;
    all[many].device = device;
    all[many].key = memory;
    all[many].size = size;
    all[many++].live = 1;
}

static void give_back(struct api *api, int which) {
    struct free_ext_desc desc = {FREE_EXT_DESC, NULL, 1 /* blocking */};
    void *memory = all[which].key;
    int extended = api->mem.free_ext && which % 4 == 3;
    check("free", extended ? api->mem.free_ext(api->context, &desc, memory) : api->mem.free(api->context, memory));
    all[which].live = 0;
    books[all[which].pool][all[which].device + 1].frees++;
}

static void step(const char *name) {
    printf("{\"step\": \"%s\", \"pid\": %d, \"rows\": [", name, getpid());
    const char *comma = "";
    for (int pool = 0; pool < POOLS; pool++)
        for (int device = -1; device < 2; device++) {
            int a = books[pool][device + 1].allocations, f = books[pool][device + 1].frees;
            int failed = books[pool][device + 1].failed;
            if (a || f || failed) {
                printf("%s[\"%s\", %d, %d, %d, %d]", comma, NAMES[pool], device, a, f, failed);
                comma = ", ";
            }
        }
    printf("], \"live\": [");
    comma = "";
    for (int i = 0; i < many; i++)
        if (all[i].live) {
            printf("%s[\"%s\", %d, %llu, %zu]", comma, NAMES[all[i].pool], all[i].device,
                   (unsigned long long)(uintptr_t)all[i].key, all[i].size);
            comma = ", ";
        }
    printf("], \"errors\": [");
    comma = "";
    for (int i = 0; i < failures; i++) {
        printf("%s%u", comma, errors[i]);
        comma = ", ";
    }
    printf("]}\n");
    fflush(stdout);
    int c;
    while ((c = getchar()) != '\n')
        if (c == EOF)
            exit(0);
}

int main(int count, char **words) {
    static struct api apis[2];
    int ways = 0;
    const char *mode = count > 1 ? words[1] : "loader";
    if (strcmp(mode, "table")) {
        void *loader = opened("libze_loader.so.1");
        exported(&apis[ways], loader);
        start(&apis[ways++], loader);
    }
    if (strcmp(mode, "loader")) {
        void *driver = opened("libze_intel_gpu.so.1");
        of_table(&apis[ways], driver);
        start(&apis[ways++], driver);
    }
    const int devices = (int)apis[0].count;
    if (devices < 1 || devices > 2)
        die("one device or two are wanted", apis[0].count);
    step("loaded");

    for (int i = 0; i < 150; i++)
        keep(&apis[i / 3 % ways], i % 3, 1000 + 4099 * (size_t)i, i / 3 % devices);
    /* Four of five, and by turns: what one way gave, the other takes back, if it can. */
    const int apart = !strcmp(mode, "apart");
    for (int i = 0; i < 150; i++)
        if (i % 5)
            give_back(&apis[(apart ? i / 3 : i) % ways], i);

    void *nothing = NULL;
    for (int way = 0; way < ways; way++) {
        struct api *api = &apis[way];
        const int last = devices - 1;
        /* More than a device has in one piece. */
        failed(DEVICE, last, allocate(api, DEVICE, last, (size_t)1 << 50, NULL, &nothing));
        /* The process may have no more memory: the emulated device's is the host's. */
        struct rlimit before, none;
        getrlimit(RLIMIT_AS, &before);
        none = before;
        none.rlim_cur = 4096;
        setrlimit(RLIMIT_AS, &none);
        result shared = allocate(api, SHARED, 0, (size_t)1 << 30, NULL, &nothing);
        result host = allocate(api, HOST, 0, (size_t)1 << 30, NULL, &nothing);
        setrlimit(RLIMIT_AS, &before);
        failed(SHARED, 0, shared);
        failed(HOST, -1, host);
        /* Memory of somebody else's, which is not there. */
        struct import_fd import = {IMPORT_FD, NULL, 2 /* dma_buf */, -1};
        failed(IMPORTED, 0, allocate(api, DEVICE, 0, 65536, &import, &nothing));
        /* An emulated device has no virtual memory to be managed. */
        if (api->physical.create) {
            struct physical_desc desc = {PHYSICAL_MEM_DESC, NULL, 0, 2 << 20};
            failed(DEVICE, 0, api->physical.create(api->context, api->devices[0], &desc, &nothing));
        }
        /* Frees that fail: of what was never allocated, and of what is free already. */
        if (!api->mem.free(api->context, &many) || !api->mem.free(api->context, all[1].key))
            die("a free that must fail did not", 0);
    }
    step("allocated");
    return 0;
}
