/* Allocates by a known pattern through Vulkan and writes down what it holds, then waits for its input to end.
 *
 *   program linked|instance|device [DEVICE [TYPE]]
 *
 * The first is where it has vkAllocateMemory and vkFreeMemory from; the others count from 0.
 * Its line is JSON. `driver` is where the pointers of vkGetDeviceProcAddr lead to. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan.h"

#define COUNT 100

static int fail(const char *what) {
    printf("{\"error\": \"%s\"}\n", what);
    return 1;
}

/* Tells `"name": {"file": …, "offset": …}` of a function: the offset from where its file is loaded. */
static void place(const char *name, void *function, const char *after) {
    Dl_info info;
    if (dladdr(function, &info))
        printf("\"%s\": {\"file\": \"%s\", \"offset\": %lu}%s", name, info.dli_fname,
               (unsigned long)((char *)function - (char *)info.dli_fbase), after);
}

static void *refuse(void *data, size_t size, size_t alignment, int scope) { return NULL; }
static void *refuse_again(void *data, void *old, size_t size, size_t alignment, int scope) { return NULL; }
static void ignore(void *data, void *memory) {}

int main(int argc, char **argv) {
    const char *from = argc > 1 ? argv[1] : "linked";
    VkInstanceCreateInfo instance_info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
    VkInstance instance;
    if (vkCreateInstance(&instance_info, NULL, &instance))
        return fail("vkCreateInstance");
    VkPhysicalDevice devices[8];
    uint32_t count = 8;
    if (vkEnumeratePhysicalDevices(instance, &count, devices) || !count)
        return fail("no device");
    uint32_t number = argc > 2 ? (uint32_t)atoi(argv[2]) : 0, type = argc > 3 ? (uint32_t)atoi(argv[3]) : 0;
    if (number >= count)
        return fail("no such device");
    VkPhysicalDevice physical = devices[number];
    char properties[4096];
    vkGetPhysicalDeviceProperties(physical, properties);
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(physical, &memory);

    float priority = 1;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
    const char *host = "VK_EXT_external_memory_host";
    VkDeviceCreateInfo device_info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                      .queueCreateInfoCount = 1,
                                      .pQueueCreateInfos = &queue,
                                      .enabledExtensionCount = 1,
                                      .ppEnabledExtensionNames = &host};
    VkDevice device;
    int imports = !vkCreateDevice(physical, &device_info, NULL, &device);
    if (!imports) {
        device_info.enabledExtensionCount = 0;
        if (vkCreateDevice(physical, &device_info, NULL, &device))
            return fail("vkCreateDevice");
    }

    PFN_vkAllocateMemory allocate = vkAllocateMemory;
    PFN_vkFreeMemory release = vkFreeMemory;
    void *own_allocate = (void *)vkGetDeviceProcAddr(device, "vkAllocateMemory");
    void *own_release = (void *)vkGetDeviceProcAddr(device, "vkFreeMemory");
    if (!strcmp(from, "instance")) {
        allocate = (PFN_vkAllocateMemory)vkGetInstanceProcAddr(instance, "vkAllocateMemory");
        release = (PFN_vkFreeMemory)vkGetInstanceProcAddr(instance, "vkFreeMemory");
    } else if (!strcmp(from, "device")) {
        allocate = (PFN_vkAllocateMemory)own_allocate;
        release = (PFN_vkFreeMemory)own_release;
    }

    /* Legal companions of an allocation, which say nothing of its size. */
    VkLink second = {.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO};
    VkLink first = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, .pNext = &second};
    VkDeviceMemory made[COUNT];
    uint64_t sizes[COUNT];
    int allocations = COUNT, frees = 0;
    for (int i = 0; i < COUNT; i++) {
        sizes[i] = 4096 * (uint64_t)(i + 1) + 64;
        VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .pNext = i % 3 ? (i % 3 == 1 ? &first : &second) : NULL,
                                     .allocationSize = sizes[i],
                                     .memoryTypeIndex = type};
        if (allocate(device, &info, NULL, &made[i]))
            return fail("vkAllocateMemory");
    }
    for (int i = 0; i < COUNT; i++)
        if (i % 5) {
            release(device, made[i], NULL);
            frees++;
        }
    /* Legal, and frees nothing. */
    release(device, 0, NULL);

    VkMemoryAllocateInfo huge = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .allocationSize = 1ull << 62, .memoryTypeIndex = type};
    VkDeviceMemory nothing = 0;
    VkResult error = allocate(device, &huge, NULL, &nothing);
    if (error == VK_SUCCESS) {
        /* Address space is all that newer releases of lavapipe take. Without a structure of its own none gives memory. */
        release(device, nothing, NULL);
        allocations++;
        frees++;
        VkAllocationCallbacks callbacks = {.pfnAllocation = refuse, .pfnReallocation = refuse_again, .pfnFree = ignore};
        error = allocate(device, &huge, &callbacks, &nothing);
    }

    /* Memory that is there already, behind companions. */
    VkDeviceMemory imported = 0;
    VkResult import = -1;
    uint64_t import_size = 1 << 20;
    if (imports) {
        VkImportMemoryHostPointerInfoEXT pointer = {
            .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
            .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
            .pHostPointer = aligned_alloc(4096, import_size)};
        second.pNext = &pointer;
        VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = &first, .allocationSize = import_size};
        import = allocate(device, &info, NULL, &imported);
    }

    printf("{\"name\": \"%s\", \"device\": %u, \"device_local\": %s, \"driver\": {", properties + 20, number,
           !memory.memoryTypeCount || memory.memoryTypes[type].propertyFlags & 1 ? "true" : "false");
    place("vkAllocateMemory", own_allocate, ", ");
    place("vkFreeMemory", own_release, "");
    printf("}, \"allocations\": %d, \"frees\": %d, \"failed\": %d, \"error\": %d, \"imported\": ", allocations, frees,
           error != VK_SUCCESS, error);
    if (import == VK_SUCCESS)
        printf("[%lu, %lu]", imported, import_size);
    else
        printf("null");
    printf(", \"live\": [");
    int first_one = 1;
    for (int i = 0; i < COUNT; i += 5) {
        printf("%s[%lu, %lu]", first_one ? "" : ", ", made[i], sizes[i]);
        first_one = 0;
    }
    printf("]}\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
