/* A runtime of another kind: a C API that returns a status. See tests/profiles/c-api.toml. */
#include <stdlib.h>
#include <string.h>

int dev_alloc(void **out, size_t bytes) {
    if (bytes > (1u << 30))
        return 2;
    *out = malloc(bytes);
    return *out ? 0 : 2;
}

int dev_alloc_pitch(void **out, size_t *pitch, size_t width, size_t height) {
    *pitch = (width + 255) / 256 * 256;
    return dev_alloc(out, *pitch * height);
}

int dev_alloc_array(void **out, size_t count, size_t bytes) {
    /* The product takes an argument's register: whoever looks later than at the entry sees another argument. */
    bytes *= count;
    if (bytes > (1u << 30))
        return 2;
    *out = malloc(bytes);
    return *out ? 0 : 2;
}

void *dev_alloc_host(size_t bytes) { return bytes > (1u << 30) ? NULL : malloc(bytes); }

int dev_free(void *memory) {
    free(memory);
    return 0;
}
