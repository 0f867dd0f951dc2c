/* Allocates by a known pattern and says what it holds, then waits for its input to end. */
#include <stdio.h>
#include <stddef.h>

int dev_alloc(void **out, size_t bytes);
int dev_alloc_array(void **out, size_t count, size_t bytes);
void *dev_alloc_host(size_t bytes);
int dev_free(void *memory);

int main(void) {
    void *device[100], *host[20], *array;
    unsigned long long device_bytes = 0, host_bytes = 0;
    int live = 0, hosts = 0, frees = 0, failed = 0;
    for (int i = 0; i < 100; i++) {
        size_t bytes = 1000 + 17 * (size_t)i;
        if (dev_alloc(&device[i], bytes))
            return 1;
        device_bytes += bytes;
        live++;
    }
    for (int i = 0; i < 10; i++) {
        if (dev_alloc_array(&array, 3 + (size_t)i, 1000))
            return 1;
        device_bytes += (3 + (size_t)i) * 1000;
        live++;
    }
    for (int i = 0; i < 20; i++) {
        host[i] = dev_alloc_host(4096 + i);
        host_bytes += 4096 + i;
        hosts++;
    }
    for (int i = 0; i < 100; i += 2) {
        dev_free(device[i]);
        device_bytes -= 1000 + 17 * (size_t)i;
        live--;
        frees++;
    }
    dev_free(host[3]);
    host_bytes -= 4099;
    hosts--;
    dev_free(NULL);
    void *nothing;
    failed += dev_alloc(&nothing, (size_t)1 << 40) != 0;
    printf("%llu %d %d %d %llu %d\n", device_bytes, live, frees, failed, host_bytes, hosts);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
