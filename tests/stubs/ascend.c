/* 150 blocks on three devices, chosen in all ways there are, and in host memory; 120 are freed, two cannot be had. */
#include "libascendcl.h"
#include "record.h"
#include <pthread.h>

static int take(int i, int device) {
    void *block;
    size_t bytes = 1001 + 4096 * (size_t)i;
    switch (i % 5) {
    case 0:
        if (aclrtMallocHost(&block, bytes))
            return 1;
        note_block((uint64_t)block, bytes, "HOST", -1);
        return 0;
    case 1:
        if (acldvppMalloc(&block, bytes))
            return 1;
        note_block((uint64_t)block, bytes, "DVPP", device);
        return 0;
    case 2:
        if (aclrtMallocAlign32(&block, bytes, 0))
            return 1;
        break;
    default:
        if (aclrtMalloc(&block, bytes, 0))
            return 1;
    }
    note_block((uint64_t)block, bytes, "DEVICE", device);
    return 0;
}

/* By a context that another thread made. */
static void *elsewhere(void *context) {
    if (aclrtSetCurrentContext(context))
        return context;
    for (int i = 100; i < 150; i++)
        if (take(i, 1))
            return context;
    return NULL;
}

int main(void) {
    aclrtContext own, first;
    if (aclrtSetDevice(1) || aclrtGetCurrentContext(&first))
        return 1;
    for (int i = 0; i < 50; i++)
        if (take(i, 1))
            return 1;
    if (!aclrtSetDevice(99)) /* refused: it stays with the other one */
        return 1;
    if (take(50, 1) || aclrtCreateContext(&own, 3))
        return 1;
    for (int i = 51; i < 75; i++)
        if (take(i, 3))
            return 1;
    if (aclrtSetDevice(0))
        return 1;
    for (int i = 75; i < 100; i++)
        if (take(i, 0))
            return 1;
    pthread_t thread;
    void *failed;
    if (pthread_create(&thread, NULL, elsewhere, first) || pthread_join(thread, &failed) || failed)
        return 1;
    void *none;
    size_t bytes = (size_t)1 << 40;
    note_failure(bytes, "DEVICE", aclrtMalloc(&none, bytes, 0));
    note_failure(bytes + 1, "HOST", aclrtMallocHost(&none, bytes + 1));
    for (int i = 0; i < 150; i++) {
        struct block *block = &blocks[i];
        if (i % 5 == i / 30)
            continue;
        int refused = block->pool[0] == 'H'   ? aclrtFreeHost((void *)block->key)
                      : block->pool[1] == 'V' ? acldvppFree((void *)block->key)
                                              : aclrtFree((void *)block->key);
        if (refused)
            return 1;
        note_free(block);
    }
    aclrtFree(NULL);
    say_and_wait();
    return 0;
}
