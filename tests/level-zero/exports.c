/* Calls the double of a driver by what it exports, by its table, and by its other interface; writes down what of it is
 * Level Zero's. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef uint32_t result;

int main(void) {
    void *driver = dlopen("./libze_intel_gpu.so.1", RTLD_NOW);
    if (!driver)
        return 1;
    result (*table_of)(uint32_t, void **) = dlsym(driver, "zeGetMemProcAddrTable");
    result (*devices_of)(void *, uint32_t *, void **) = dlsym(driver, "zeDeviceGet");
    void *(*buffer)(size_t) = dlsym(driver, "buffer");
    int (*release)(void *) = dlsym(driver, "release");
    void *table[32] = {0}, *devices[2], *out = NULL;
    uint32_t count = 2;
    if (table_of(0x10003, table) || devices_of(&count, &count, devices))
        return 1;
    result (*alloc[2])(void *, void *, size_t, size_t, void *, void **) = {
        (result(*)(void *, void *, size_t, size_t, void *, void **))dlsym(driver, "zeMemAllocDevice"),
        (result(*)(void *, void *, size_t, size_t, void *, void **))table[1]};
    result (*free_[2])(void *, void *) = {(result(*)(void *, void *))dlsym(driver, "zeMemFree"),
                                          (result(*)(void *, void *))table[3]};
    printf("{\"step\": \"loaded\", \"pid\": %d}\n", getpid());
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    uint64_t desc[4] = {0x15};
    unsigned long long bytes[2] = {0};
    for (int i = 0; i < 120; i++) {
        void *mine = NULL, *other = buffer(7777);
        if (alloc[i % 2](&count, desc, 1000 + i, 64, devices[i / 2 % 2], &mine) || !other)
            return 1;
        if (i < 100 && free_[i / 2 % 2](&count, mine))
            return 1;
        if (i >= 100)
            bytes[i / 2 % 2] += 1000 + i;
        if (i % 2 && release(other))
            return 1;
    }
    /* One each that fails. */
    result no[2];
    for (int way = 0; way < 2; way++)
        no[way] = alloc[way](&count, desc, (size_t)1 << 50, 64, devices[way], &out);
    buffer((size_t)1 << 50);
    printf("{\"step\": \"allocated\", \"pid\": %d, \"rows\": [[\"DEVICE\", 0, 60, 50, 1], [\"DEVICE\", 1, 60, 50, 1]],"
           " \"bytes\": [%llu, %llu], \"errors\": [%u, %u]}\n",
           getpid(), bytes[0], bytes[1], no[0], no[1]);
    fflush(stdout);
    getchar();
    return 0;
}
