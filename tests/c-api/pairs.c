/* Allocates and frees as often as it is told: `pair COUNT`. */
#include <stddef.h>
#include <stdio.h>

int dev_alloc(void **out, size_t bytes);
int dev_free(void *memory);

int main(void) {
    unsigned long count;
    while (scanf(" pair %lu", &count) == 1) {
        for (unsigned long i = 0; i < count; i++) {
            void *memory;
            if (dev_alloc(&memory, 4096) || dev_free(memory))
                return 1;
        }
        printf("{\"ok\": true, \"pairs\": %lu}\n", count);
        fflush(stdout);
    }
    return 0;
}
