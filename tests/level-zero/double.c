/* A driver as those of 2024 and later are: what it exports are functions of their own, beside those in its tables. And
 * it has an interface of another kind, which takes its memory by the exports. */
#include <stdint.h>
#include <stdlib.h>

typedef uint32_t result;
typedef void *handle;

enum { OUT_OF_DEVICE_MEMORY = 0x70000003, INVALID = 0x78000004 };

static result give(size_t size, void **out) {
    *out = size >> 40 ? NULL : malloc(size);
    return *out ? 0 : OUT_OF_DEVICE_MEMORY;
}

/* Each twice, and not as jumps from one to the other. */
#define FUNCTIONS(linkage, prefix)                                                                                     \
    linkage result prefix##AllocShared(handle context, void *on_device, void *on_host, size_t size, size_t alignment,  \
                                       handle device, void **out) {                                                    \
        return context && on_device && on_host && alignment && device ? give(size, out) : INVALID;                     \
    }                                                                                                                  \
    linkage result prefix##AllocDevice(handle context, void *desc, size_t size, size_t alignment, handle device,       \
                                       void **out) {                                                                   \
        return context && desc && alignment && device ? give(size, out) : INVALID;                                     \
    }                                                                                                                  \
    linkage result prefix##AllocHost(handle context, void *desc, size_t size, size_t alignment, void **out) {          \
        return context && desc && alignment ? give(size, out) : INVALID;                                               \
    }                                                                                                                  \
    linkage result prefix##Free(handle context, void *memory) {                                                        \
        if (!context || !memory)                                                                                       \
            return INVALID;                                                                                            \
        free(memory);                                                                                                  \
        return 0;                                                                                                      \
    }

FUNCTIONS(, zeMem)
FUNCTIONS(static, table)

static int devices[2];

#define GET(linkage, name)                                                                                             \
    linkage result name(handle driver, uint32_t *count, handle *out) {                                                 \
        if (!driver || !count)                                                                                         \
            return INVALID;                                                                                            \
        for (uint32_t i = 0; out && i < *count && i < 2; i++)                                                          \
            out[i] = &devices[i];                                                                                      \
        *count = 2;                                                                                                    \
        return 0;                                                                                                      \
    }

GET(, zeDeviceGet)
GET(static, table_devices)

result zeGetMemProcAddrTable(uint32_t version, void **table) {
    if (!table || version >> 16 != 1)
        return INVALID;
    table[0] = (void *)tableAllocShared;
    table[1] = (void *)tableAllocDevice;
    table[2] = (void *)tableAllocHost;
    table[3] = (void *)tableFree;
    return 0;
}

result zeGetDeviceProcAddrTable(uint32_t version, void **table) {
    if (!table || version >> 16 != 1)
        return INVALID;
    table[0] = (void *)table_devices;
    return 0;
}

/* The other interface. */
void *buffer(size_t size) {
    uint64_t desc[4] = {0x15};
    void *memory = NULL;
    return zeMemAllocDevice(&devices, desc, size, 64, &devices[1], &memory) ? NULL : memory;
}

int release(void *memory) { return (int)zeMemFree(&devices, memory); }
