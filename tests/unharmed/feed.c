/* Preloaded, it makes every program use the runtime that is observed: for its own memory. */
#include <stddef.h>

void *__libc_malloc(size_t bytes);
void __libc_free(void *memory);

__attribute__((noinline)) void *malloc(size_t bytes) { return __libc_malloc(bytes); }
__attribute__((noinline)) void free(void *memory) { __libc_free(memory); }
