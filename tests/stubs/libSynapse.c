/* A stand-in for Habana's library: its interface, and no device. */
#include "libSynapse.h"
#include <stdlib.h>

static uint64_t next = 0x1001000000000000;

int synDeviceMalloc(uint32_t device, uint64_t bytes, uint64_t wanted, uint32_t flags, uint64_t *out) {
    (void)flags;
    if (device > 7)
        return 1; /* synInvalidArgument */
    if (bytes > (uint64_t)1 << 36)
        return 4; /* synOutOfDeviceMemory */
    *out = wanted ? wanted : next;
    next += (bytes + 127) / 128 * 128;
    return 0;
}

int synDeviceFree(uint32_t device, uint64_t address, uint32_t flags) {
    (void)address, (void)flags;
    return device > 7; /* synInvalidArgument */
}

int synHostMalloc(uint32_t device, uint64_t bytes, uint32_t flags, void **out) {
    (void)device, (void)flags;
    if (bytes > (uint64_t)1 << 36)
        return 3; /* synOutOfHostMemory */
    *out = malloc(bytes);
    return 0;
}

int synHostFree(uint32_t device, const void *address, uint32_t flags) {
    (void)device, (void)flags;
    free((void *)address);
    return 0;
}
