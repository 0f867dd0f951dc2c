/* 150 tensors on two cores and in host memory, of which 120 are freed; two that cannot be had. */
#include "libnrt.h"
#include "record.h"

static const char *const POOLS[] = {"DEVICE", "HOST", "VIRTUAL"};

int main(void) {
    nrt_tensor_t *tensors[150], *slice, *none;
    for (int i = 0; i < 150; i++) {
        int placement = i % 5 < 3 ? 0 : i % 5 - 2, core = placement ? -1 : i % 2;
        size_t bytes = 1000 + 4096 * (size_t)i;
        if (nrt_tensor_allocate(placement, core, bytes, "a tensor", &tensors[i]))
            return 1;
        note_block((uint64_t)tensors[i], bytes, POOLS[placement], core);
    }
    /* A part of another takes nothing, before and after. */
    if (nrt_tensor_allocate_slice(tensors[0], 0, 100, "a part", &slice))
        return 1;
    nrt_tensor_free(&slice);
    for (int i = 0; i < 2; i++) {
        size_t bytes = ((size_t)1 << 40) + i;
        int core = i ? -7 : 1;
        note_failure(bytes, "DEVICE", nrt_tensor_allocate(0, core, bytes, "too much", &none));
    }
    for (int i = 0; i < 150; i++)
        if (i % 5 != 2) {
            nrt_tensor_free(&tensors[i]);
            note_free(&blocks[i]);
        }
    nrt_tensor_free(&tensors[1]); /* again: nothing is there */
    nrt_tensor_free(NULL);
    say_and_wait();
    return 0;
}
