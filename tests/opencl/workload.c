// Allocates by OpenCL whatever it can, and writes down what it holds: sizes, handles, frees, failures.
//
//   workload LIBRARY PLATFORM [dispatch]
//
// LIBRARY is a loader, or an implementation that is used without one: by its exported functions, or through its
// table, which is how a loader calls it (`dispatch`). PLATFORM is part of the platform's name.
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <CL/cl_icd.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *library;
static cl_icd_dispatch *table;
static cl_context context;
static cl_device_id device;
static cl_command_queue queue;

static void die(const char *what, long code)
{
    fprintf(stderr, "%s: %ld\n", what, code);
    exit(1);
}

#define FUNCTION(name) ((cl_api_##name)(table ? (void *)table->name : dlsym(library, #name)))
#define CHECK(what, code)                                                                                              \
    do {                                                                                                               \
        long checked = (code);                                                                                         \
        if (checked != CL_SUCCESS)                                                                                     \
            die(what, checked);                                                                                        \
    } while (0)

// What it holds, by its own account.
enum { DEVICE, HOST, SHARED, HOST_PTR, USM_DEVICE, USM_HOST, USM_SHARED, POOLS };
static const char *const names[] = {"DEVICE", "HOST",   "SHARED", "HOST_PTR",
                                    "USM_DEVICE", "USM_HOST", "USM_SHARED"};
static struct account {
    unsigned pool;
    uint64_t key, size;
    int live;
} accounts[4096];
static unsigned count;
static uint64_t allocated[POOLS], freed[POOLS], failed[POOLS];
static long errors[64];
static unsigned error_count;

static unsigned note(unsigned pool, const void *key, uint64_t size)
{
    if (!key)
        die("not allocated", (long)size);
    accounts[count] = (struct account){pool, (uint64_t)key, size, 1};
    allocated[pool]++;
    return count++;
}

static void ended(unsigned index)
{
    accounts[index].live = 0;
    freed[accounts[index].pool]++;
}

// That a call failed, which it must: with the code that it left, where it told one.
static cl_int error;
static void note_failed(unsigned pool, const void *result)
{
    if (result)
        die("should have failed", pool);
    failed[pool]++;
    errors[error_count++] = error;
    error = 0;
}

static void say(const char *step)
{
    printf("{\"step\": \"%s\", \"pid\": %d, \"live\": [", step, getpid());
    const char *comma = "";
    for (unsigned i = 0; i < count; i++)
        if (accounts[i].live) {
            printf("%s[\"%s\", %lu, %lu]", comma, names[accounts[i].pool], accounts[i].key, accounts[i].size);
            comma = ", ";
        }
    printf("], \"pools\": {");
    comma = "";
    for (unsigned pool = 0; pool < POOLS; pool++) {
        printf("%s\"%s\": {\"allocations\": %lu, \"frees\": %lu, \"failed\": %lu}", comma, names[pool],
               allocated[pool], freed[pool], failed[pool]);
        comma = ", ";
    }
    printf("}, \"errors\": [");
    for (unsigned i = 0; i < error_count; i++)
        printf("%s%ld", i ? ", " : "", errors[i]);
    printf("]}\n");
    fflush(stdout);
    while (getchar() != '\n')
        if (feof(stdin))
            exit(0);
}

static void choose(const char *wanted, int dispatch)
{
    cl_platform_id platforms[16];
    cl_uint number = 0;
    if (dispatch) {
        cl_api_clGetExtensionFunctionAddress address = dlsym(library, "clGetExtensionFunctionAddress");
        clIcdGetPlatformIDsKHR_fn get = address ? (clIcdGetPlatformIDsKHR_fn)address("clIcdGetPlatformIDsKHR") : 0;
        if (!get)
            die("not an implementation", 0);
        CHECK("clIcdGetPlatformIDsKHR", get(16, platforms, &number));
        // What a platform begins with, whoever made it.
        table = *(cl_icd_dispatch **)platforms[0];
    } else
        CHECK("clGetPlatformIDs", FUNCTION(clGetPlatformIDs)(16, platforms, &number));
    for (cl_uint i = 0; i < number && i < 16; i++) {
        char name[256] = "";
        CHECK("clGetPlatformInfo", FUNCTION(clGetPlatformInfo)(platforms[i], CL_PLATFORM_NAME, 255, name, NULL));
        if (!strstr(name, wanted))
            continue;
        CHECK("clGetDeviceIDs", FUNCTION(clGetDeviceIDs)(platforms[i], CL_DEVICE_TYPE_ALL, 1, &device, NULL));
        context = FUNCTION(clCreateContext)(NULL, 1, &device, NULL, NULL, &error);
        CHECK("clCreateContext", error);
        queue = FUNCTION(clCreateCommandQueue)(context, device, 0, &error);
        CHECK("clCreateCommandQueue", error);
        return;
    }
    die("no such platform", number);
}

static cl_mem buffer(cl_mem_flags flags, size_t size, void *host)
{
    cl_mem memory = FUNCTION(clCreateBuffer)(context, flags, size, host, &error);
    CHECK("clCreateBuffer", error);
    return memory;
}

static void release(cl_mem memory)
{
    CHECK("clReleaseMemObject", FUNCTION(clReleaseMemObject)(memory));
}

static char host_memory[1 << 16];

static void buffers(void)
{
    for (size_t i = 0; i < 100; i++) {
        // One in five is referred to twice: it needs two releases.
        size_t size = 1000 * i + 16;
        cl_mem memory = buffer(CL_MEM_READ_WRITE, size, NULL);
        unsigned index = note(DEVICE, memory, size);
        // A command holds its buffer until it is done; those are the implementation's own references.
        CHECK("clEnqueueWriteBuffer",
              FUNCTION(clEnqueueWriteBuffer)(queue, memory, CL_TRUE, 0, 16, host_memory, 0, NULL, NULL));
        if (i % 5 == 0)
            CHECK("clRetainMemObject", FUNCTION(clRetainMemObject)(memory));
        if (i % 4 != 0) {
            release(memory);
            if (i % 5 != 0)
                ended(index);
        }
    }
    for (size_t i = 1; i <= 20; i++) {
        cl_mem memory = buffer(CL_MEM_ALLOC_HOST_PTR, 4096 * i, NULL);
        unsigned index = note(HOST, memory, 4096 * i);
        if (i % 2) {
            release(memory);
            ended(index);
        }
        // The program's own memory.
        memory = buffer(CL_MEM_USE_HOST_PTR, sizeof host_memory, host_memory);
        index = note(HOST_PTR, memory, sizeof host_memory);
        if (i % 4) {
            release(memory);
            ended(index);
        }
    }
    if (!table && dlsym(library, "clCreateBufferWithProperties"))
        for (size_t i = 1; i <= 10; i++) {
            cl_mem memory =
                FUNCTION(clCreateBufferWithProperties)(context, NULL, CL_MEM_READ_ONLY, 777 * i, NULL, &error);
            CHECK("clCreateBufferWithProperties", error);
            unsigned index = note(DEVICE, memory, 777 * i);
            if (i % 2) {
                release(memory);
                ended(index);
            }
        }
    note_failed(DEVICE, FUNCTION(clCreateBuffer)(context, CL_MEM_READ_WRITE, 0, NULL, &error));
    note_failed(DEVICE, FUNCTION(clCreateBuffer)(context, CL_MEM_READ_WRITE, 1ul << 60, NULL, &error));
    // It need not say where it wants the code.
    note_failed(DEVICE, FUNCTION(clCreateBuffer)(context, CL_MEM_READ_WRITE, 1ul << 60, NULL, NULL));
}

// A part of a buffer takes no memory, but keeps the buffer.
static void parts(void)
{
    for (int i = 0; i < 8; i++) {
        cl_mem whole = buffer(CL_MEM_READ_WRITE, 65536, NULL);
        unsigned index = note(DEVICE, whole, 65536);
        cl_buffer_region region = {4096, 8192};
        cl_mem part = FUNCTION(clCreateSubBuffer)(whole, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region,
                                                  &error);
        CHECK("clCreateSubBuffer", error);
        release(whole);
        if (i % 2 == 0)
            continue;
        if (i % 4 == 1)
            CHECK("clRetainMemObject", FUNCTION(clRetainMemObject)(part));
        release(part);
        if (i % 4 == 1)
            release(part);
        ended(index);
        // Perhaps where the part was: one that is no part of anything.
        cl_mem other = buffer(CL_MEM_READ_WRITE, 512, NULL);
        index = note(DEVICE, other, 512);
        release(other);
        ended(index);
    }
}

static void images(void)
{
    static const struct {
        cl_channel_order order;
        cl_channel_type type;
        unsigned bytes;
    } formats[] = {
        {CL_RGBA, CL_UNORM_INT8, 4}, {CL_RGBA, CL_FLOAT, 16}, {CL_R, CL_HALF_FLOAT, 2}, {CL_BGRA, CL_UNORM_INT8, 4},
    };
    for (unsigned i = 0; i < sizeof formats / sizeof *formats; i++)
        for (int solid = 0; solid < 2; solid++) {
            cl_image_format format = {formats[i].order, formats[i].type};
            cl_image_desc shape = {0};
            shape.image_type = solid ? CL_MEM_OBJECT_IMAGE3D : CL_MEM_OBJECT_IMAGE2D;
            shape.image_width = 128;
            shape.image_height = 64;
            shape.image_depth = solid ? 4 : 0;
            cl_mem image = FUNCTION(clCreateImage)(context, CL_MEM_READ_WRITE, &format, &shape, NULL, &error);
            if (error == CL_IMAGE_FORMAT_NOT_SUPPORTED)
                continue;
            CHECK("clCreateImage", error);
            unsigned index = note(DEVICE, image, 128ul * 64 * (solid ? 4 : 1) * formats[i].bytes);
            if (solid) {
                release(image);
                ended(index);
            }
        }
}

static void shared(void)
{
    cl_device_svm_capabilities can = 0;
    if (FUNCTION(clGetDeviceInfo)(device, CL_DEVICE_SVM_CAPABILITIES, sizeof can, &can, NULL) != CL_SUCCESS || !can)
        return;
    for (size_t i = 1; i <= 40; i++) {
        void *memory = FUNCTION(clSVMAlloc)(context, CL_MEM_READ_WRITE, 256 * i, 64);
        unsigned index = note(SHARED, memory, 256 * i);
        if (i % 4 != 0) {
            FUNCTION(clSVMFree)(context, memory);
            ended(index);
        }
    }
    FUNCTION(clSVMFree)(context, NULL);
    void *several[5];
    for (int i = 0; i < 5; i++) {
        several[i] = FUNCTION(clSVMAlloc)(context, CL_MEM_READ_WRITE, 8192, 0);
        ended(note(SHARED, several[i], 8192));
    }
    CHECK("clEnqueueSVMFree", FUNCTION(clEnqueueSVMFree)(queue, 5, several, NULL, NULL, 0, NULL, NULL));
    CHECK("clFinish", FUNCTION(clFinish)(queue));
    note_failed(SHARED, FUNCTION(clSVMAlloc)(context, CL_MEM_READ_WRITE, 1ul << 60, 0));
}

static void *extension(const char *name)
{
    cl_platform_id platform;
    CHECK("clGetDeviceInfo",
          FUNCTION(clGetDeviceInfo)(device, CL_DEVICE_PLATFORM, sizeof platform, &platform, NULL));
    return FUNCTION(clGetExtensionFunctionAddressForPlatform)(platform, name);
}

static void unified(void)
{
    char extensions[8192] = "";
    FUNCTION(clGetDeviceInfo)(device, CL_DEVICE_EXTENSIONS, sizeof extensions - 1, extensions, NULL);
    if (!strstr(extensions, "cl_intel_unified_shared_memory"))
        return;
    clDeviceMemAllocINTEL_fn on_device = extension("clDeviceMemAllocINTEL");
    clSharedMemAllocINTEL_fn on_both = extension("clSharedMemAllocINTEL");
    clHostMemAllocINTEL_fn on_host = extension("clHostMemAllocINTEL");
    clMemFreeINTEL_fn free_it = extension("clMemFreeINTEL");
    clMemBlockingFreeINTEL_fn free_and_wait = extension("clMemBlockingFreeINTEL");
    if (!on_device || !on_both || !on_host || !free_it || !free_and_wait)
        die("no USM after all", 0);
    for (size_t i = 1; i <= 90; i++) {
        size_t size = 128 * i;
        unsigned pool = USM_DEVICE + i % 3;
        void *memory = pool == USM_HOST     ? on_host(context, NULL, size, 0, &error)
                       : pool == USM_SHARED ? on_both(context, device, NULL, size, 0, &error)
                                            : on_device(context, device, NULL, size, 0, &error);
        CHECK("USM", error);
        unsigned index = note(pool, memory, size);
        if (i % 5 == 0)
            continue;
        CHECK("free", (i % 2 ? free_it : free_and_wait)(context, memory));
        ended(index);
    }
    note_failed(USM_DEVICE, on_device(context, device, NULL, 1ul << 60, 0, &error));
    note_failed(USM_HOST, on_host(context, NULL, 0, 0, &error));
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("workload LIBRARY PLATFORM [dispatch]", argc);
    library = dlopen(argv[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    choose(argv[2], argc > 3);
    say("loaded");
    buffers();
    parts();
    images();
    shared();
    unified();
    say("allocated");
    return 0;
}
