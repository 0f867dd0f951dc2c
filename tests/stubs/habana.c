/* 150 blocks on two devices and in host memory, of which 120 are freed; two that cannot be had, and a free that is
 * refused. */
#include "libSynapse.h"
#include "record.h"

int main(void) {
    for (int i = 0; i < 150; i++) {
        uint64_t bytes = 1000 + 4096 * (uint64_t)i, device_block = 0;
        uint32_t device = i % 2;
        void *host_block = 0;
        if (i == 77) {
            /* So UCX maps what belongs to another process. */
            if (synDeviceMalloc(device, 0, 0x1001700000000000, 0, &device_block))
                return 1;
            note_block(device_block, 0, "IMPORTED", device);
        } else if (i % 3 == 1) {
            if (synHostMalloc(device, bytes, 0, &host_block))
                return 1;
            note_block((uint64_t)host_block, bytes, "HOST", device);
        } else {
            if (synDeviceMalloc(device, bytes, 0, 0, &device_block))
                return 1;
            note_block(device_block, bytes, "DEVICE", device);
        }
    }
    uint64_t none;
    void *nothing;
    uint64_t bytes = (uint64_t)1 << 40;
    note_failure(bytes, "DEVICE", synDeviceMalloc(1, bytes, 0, 0, &none));
    note_failure(bytes + 1, "HOST", synHostMalloc(0, bytes + 1, 0, &nothing));
    for (int i = 0; i < 150; i++) {
        if (i % 5 == 2)
            continue;
        struct block *block = &blocks[i];
        if (block->pool[0] == 'H' ? synHostFree(i % 2, (void *)block->key, 0) : synDeviceFree(i % 2, block->key, 0))
            return 1;
        note_free(block);
    }
    /* No such device: the block stays. */
    if (!synDeviceFree(9, blocks[2].key, 0))
        return 1;
    say_and_wait();
    return 0;
}
