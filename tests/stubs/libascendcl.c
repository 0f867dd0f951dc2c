/* A stand-in for Ascend's library: its interface, and no device. */
#include "libascendcl.h"
#include <stdlib.h>

#define MEMORY_ALLOCATION 207001 /* ACL_ERROR_RT_MEMORY_ALLOCATION */
#define PARAM_INVALID 107000     /* ACL_ERROR_RT_PARAM_INVALID */

static char defaults[8];
static __thread aclrtContext current;

int aclrtSetDevice(int32_t device) {
    if (device < 0 || device > 7)
        return PARAM_INVALID;
    current = &defaults[device];
    return 0;
}

int aclrtCreateContext(aclrtContext *out, int32_t device) {
    if (device < 0 || device > 7)
        return PARAM_INVALID;
    *out = current = malloc(1);
    return 0;
}

int aclrtGetCurrentContext(aclrtContext *out) {
    *out = current;
    return current ? 0 : PARAM_INVALID;
}

int aclrtSetCurrentContext(aclrtContext context) {
    current = context;
    return context ? 0 : PARAM_INVALID;
}

static int take(void **out, size_t bytes) {
    if (!bytes)
        return PARAM_INVALID;
    if (bytes > (size_t)1 << 36)
        return MEMORY_ALLOCATION;
    *out = malloc((bytes + 31) / 32 * 32);
    return 0;
}

static int give(void *memory) {
    if ((uintptr_t)memory < 4096)
        return PARAM_INVALID;
    free(memory);
    return 0;
}

int aclrtMalloc(void **out, size_t bytes, int policy) { return (void)policy, current ? take(out, bytes) : PARAM_INVALID; }
int aclrtMallocAlign32(void **out, size_t bytes, int policy) { return (void)policy, take(out, bytes); }
int aclrtFree(void *memory) { return give(memory); }
int aclrtMallocHost(void **out, size_t bytes) { return take(out, bytes); }
int aclrtFreeHost(void *memory) { return give(memory); }
int acldvppMalloc(void **out, size_t bytes) { return take(out, bytes); }
int acldvppFree(void *memory) { return give(memory); }
