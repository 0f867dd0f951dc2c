/* Of Habana's interface what the test needs. */
#include <stdint.h>
int synDeviceMalloc(uint32_t device, uint64_t bytes, uint64_t wanted, uint32_t flags, uint64_t *out);
int synDeviceFree(uint32_t device, uint64_t address, uint32_t flags);
int synHostMalloc(uint32_t device, uint64_t bytes, uint32_t flags, void **out);
int synHostFree(uint32_t device, const void *address, uint32_t flags);
