/* A driver that is no driver: two devices, each with memory of its own and of the host's, and no tables that tell where
 * its functions are. It keeps nothing in the memory that it gives. */
#include <stdlib.h>
#include <string.h>

#include "vulkan.h"

#define EXPORT __attribute__((visibility("default")))
/* What the loader wants every handle to begin with. */
#define MAGIC 0x01CDC0DE
#define OUT_OF_DEVICE_MEMORY (-2)

struct object {
    uintptr_t loader;
};

static struct object instance = {MAGIC}, devices[2] = {{MAGIC}, {MAGIC}};

static VkResult create_instance(const VkInstanceCreateInfo *info, const void *callbacks, VkInstance *made) {
    *made = (VkInstance)&instance;
    return VK_SUCCESS;
}

static VkResult enumerate_devices(VkInstance of, uint32_t *count, VkPhysicalDevice *out) {
    if (out)
        for (uint32_t i = 0; i < 2 && i < *count; i++)
            out[i] = (VkPhysicalDevice)&devices[i];
    *count = 2;
    return VK_SUCCESS;
}

/* VkPhysicalDeviceProperties: versions, ids and the kind before the name; a discrete one comes first. */
static void get_properties(VkPhysicalDevice device, void *out) {
    uint32_t head[5] = {(1u << 22) | (1u << 12), 1, 0xffff, (struct object *)device - devices, 2};
    memset(out, 0, 820);
    memcpy(out, head, sizeof head);
    strcpy((char *)out + sizeof head, "driver double");
}

static void get_memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *out) {
    memset(out, 0, sizeof *out);
    out->memoryTypeCount = 2;
    out->memoryTypes[0].propertyFlags = 1;
    out->memoryTypes[1].propertyFlags = 2 | 4;
    out->memoryTypes[1].heapIndex = 1;
    out->memoryHeapCount = 2;
    out->memoryHeaps[0].size = out->memoryHeaps[1].size = 1ull << 34;
    out->memoryHeaps[0].flags = 1;
}

static void get_queues(VkPhysicalDevice device, uint32_t *count, uint32_t *out) {
    if (out && *count) {
        memset(out, 0, 24);
        out[0] = 7;
        out[1] = 1;
    }
    *count = 1;
}

static VkResult no_extensions(VkPhysicalDevice device, const char *layer, uint32_t *count, void *out) {
    *count = 0;
    return VK_SUCCESS;
}

static VkResult no_instance_extensions(const char *layer, uint32_t *count, void *out) {
    *count = 0;
    return VK_SUCCESS;
}

static VkResult create_device(VkPhysicalDevice of, const VkDeviceCreateInfo *info, const void *callbacks, VkDevice *out) {
    if (info->enabledExtensionCount)
        return -7; /* VK_ERROR_EXTENSION_NOT_PRESENT */
    struct object *device = malloc(sizeof *device);
    device->loader = MAGIC;
    *out = (VkDevice)device;
    return VK_SUCCESS;
}

static VkResult allocate(VkDevice device, const VkMemoryAllocateInfo *info, const void *callbacks, VkDeviceMemory *out) {
    if (info->allocationSize > 1ull << 40)
        return OUT_OF_DEVICE_MEMORY;
    *out = (VkDeviceMemory)(uintptr_t)malloc(16);
    return VK_SUCCESS;
}

static void release(VkDevice device, VkDeviceMemory memory, const void *callbacks) { free((void *)(uintptr_t)memory); }

static void nothing(void) {}

static PFN_vkVoidFunction look_up(const void *of, const char *name) {
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } functions[] = {
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkDestroyInstance", nothing},
        {"vkEnumerateInstanceExtensionProperties", (PFN_vkVoidFunction)no_instance_extensions},
        {"vkEnumeratePhysicalDevices", (PFN_vkVoidFunction)enumerate_devices},
        {"vkEnumerateDeviceExtensionProperties", (PFN_vkVoidFunction)no_extensions},
        {"vkGetPhysicalDeviceProperties", (PFN_vkVoidFunction)get_properties},
        {"vkGetPhysicalDeviceMemoryProperties", (PFN_vkVoidFunction)get_memory},
        {"vkGetPhysicalDeviceQueueFamilyProperties", (PFN_vkVoidFunction)get_queues},
        {"vkGetPhysicalDeviceFeatures", nothing},
        {"vkGetPhysicalDeviceFormatProperties", nothing},
        {"vkGetPhysicalDeviceImageFormatProperties", nothing},
        {"vkGetPhysicalDeviceSparseImageFormatProperties", nothing},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkDestroyDevice", nothing},
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)look_up},
        {"vkAllocateMemory", (PFN_vkVoidFunction)allocate},
        {"vkFreeMemory", (PFN_vkVoidFunction)release},
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(functions[i].name, name))
            return functions[i].function;
    return NULL;
}

EXPORT VkResult vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    *version = 5;
    return VK_SUCCESS;
}

EXPORT PFN_vkVoidFunction vk_icdGetInstanceProcAddr(VkInstance of, const char *name) { return look_up(of, name); }
