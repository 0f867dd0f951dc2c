/* A library on top of the driver. */
#include <stddef.h>

int low_alloc(void **out, size_t bytes);
int low_free(void *memory);

int up_alloc(void **out, size_t bytes) {
    if (bytes == 0)
        return 35; /* the driver is not asked */
    return low_alloc(out, bytes) ? 36 : 0;
}
int up_free(void *memory) {
    return low_free(memory);
}
