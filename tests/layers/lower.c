/* A driver: what takes the memory. Its handles are counted references to; it frees what is not in use. */
#include <stddef.h>
#include <stdlib.h>

static _Thread_local void *context;
static void *busy;

int low_open(void **out, int device) {
    *out = malloc(64 + (size_t)device);
    return 0;
}
int low_set(void *opened) {
    context = opened;
    return 0;
}
int low_push(void *opened, void **before) {
    *before = context;
    context = opened;
    return 0;
}
int low_pop(void *before) {
    context = before;
    return 0;
}
int low_alloc(void **out, size_t bytes) {
    if (!context)
        return -3;
    if (bytes > ((size_t)1 << 30))
        return 2;
    *out = malloc(16);
    return 0;
}
int low_free(void *memory) {
    if (memory == busy)
        return 7;
    free(memory);
    return 0;
}
int low_busy(void *memory) {
    busy = memory;
    return 0;
}
/* References are the caller's affair here: what matters is that they are told. */
int low_retain(void *memory) {
    return memory == NULL;
}
int low_release(void *memory) {
    return memory == busy ? 7 : 0;
}
