/* Of Ascend's public interface what the test needs. */
#include <stddef.h>
#include <stdint.h>
typedef void *aclrtContext;
int aclrtSetDevice(int32_t device);
int aclrtCreateContext(aclrtContext *out, int32_t device);
int aclrtGetCurrentContext(aclrtContext *out);
int aclrtSetCurrentContext(aclrtContext context);
int aclrtMalloc(void **out, size_t bytes, int policy);
int aclrtMallocAlign32(void **out, size_t bytes, int policy);
int aclrtFree(void *memory);
int aclrtMallocHost(void **out, size_t bytes);
int aclrtFreeHost(void *memory);
int acldvppMalloc(void **out, size_t bytes);
int acldvppFree(void *memory);
