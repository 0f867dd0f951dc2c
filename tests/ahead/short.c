/* Allocates at once, says what it did, and ends: before anybody can look at it. */
#include <stdio.h>
#include <stddef.h>
#include <unistd.h>

int dev_alloc(void **out, size_t bytes);
void *dev_alloc_host(size_t bytes);
int dev_free(void *memory);

int main(void) {
    void *device[100], *nothing;
    unsigned long long bytes = 0;
    int frees = 0, failed = 0;
    char said[128];
    for (int i = 0; i < 100; i++) {
        if (dev_alloc(&device[i], 1000 + 17 * (size_t)i))
            return 1;
        bytes += 1000 + 17 * (size_t)i;
    }
    for (int i = 0; i < 100; i += 3) {
        dev_free(device[i]);
        bytes -= 1000 + 17 * (size_t)i;
        frees++;
    }
    failed += dev_alloc(&nothing, (size_t)1 << 40) != 0;
    int length = snprintf(said, sizeof said, "%d %d 100 %d %d %llu\n", getpid(), 100 - frees, frees, failed, bytes);
    return write(1, said, length) != length;
}
