/* A stand-in for AWS Neuron's library: its interface, and no device. */
#include "libnrt.h"
#include <stdlib.h>

struct nrt_tensor {
    size_t bytes;
};

int nrt_tensor_allocate(int placement, int core, size_t bytes, const char *name, nrt_tensor_t **out) {
    (void)name;
    if (placement < 0 || placement > 2 || (placement == 0 && core < 0))
        return 2; /* NRT_INVALID */
    if (bytes > (size_t)1 << 34)
        return 4; /* NRT_RESOURCE */
    *out = malloc(sizeof **out);
    (*out)->bytes = bytes;
    return 0;
}

int nrt_tensor_allocate_slice(const nrt_tensor_t *of, size_t offset, size_t bytes, const char *name, nrt_tensor_t **out) {
    (void)name;
    if (offset + bytes > of->bytes)
        return 2;
    *out = malloc(sizeof **out);
    (*out)->bytes = bytes;
    return 0;
}

void nrt_tensor_free(nrt_tensor_t **tensor) {
    if (!tensor)
        return;
    free(*tensor);
    *tensor = NULL;
}
