/* Allocates through both libraries, and says what it holds; then waits for its input to end. */
#include <stddef.h>
#include <stdio.h>

int low_open(void **out, int device);
int low_set(void *opened);
int low_push(void *opened, void **before);
int low_pop(void *before);
int low_alloc(void **out, size_t bytes);
int low_free(void *memory);
int low_busy(void *memory);
int low_retain(void *memory);
int low_release(void *memory);
int up_alloc(void **out, size_t bytes);
int up_free(void *memory);

static void say(void *memory, size_t bytes, int device, const char *api) {
    printf("live %llu %zu %d %s\n", (unsigned long long)memory, bytes, device, api);
}

int main(void) {
    void *contexts[2], *before, *up[60], *low[60], *counted, *mapped, *nothing;
    for (int device = 0; device < 2; device++)
        low_open(&contexts[device], device);
    low_set(contexts[0]);
    for (int i = 0; i < 60; i++)
        if (up_alloc(&up[i], 1000 + (size_t)i))
            return 1;
    low_push(contexts[1], &before);
    for (int i = 0; i < 60; i++)
        if (low_alloc(&low[i], 5000 + (size_t)i))
            return 1;
    low_pop(before);
    for (int i = 0; i < 60; i += 2) {
        up_free(up[i]);
        low_free(low[i]);
    }
    for (int i = 1; i < 60; i += 2) {
        say(up[i], 1000 + (size_t)i, 0, "up_alloc");
        say(low[i], 5000 + (size_t)i, 1, "low_alloc");
    }
    /* Back in the first context. Two references, of which one goes; one that is let go of altogether. */
    low_alloc(&counted, 777);
    low_retain(counted);
    low_release(counted);
    say(counted, 777, 0, "low_alloc");
    low_alloc(&mapped, 888);
    low_retain(mapped);
    low_release(mapped);
    low_release(mapped);
    /* Busy: neither freed nor released. */
    low_busy(counted);
    int refused = low_free(counted) == 7;
    refused += low_release(counted) == 7;
    int failed = up_alloc(&nothing, 0) == 35;
    failed += up_alloc(&nothing, (size_t)1 << 40) == 36;
    failed += low_alloc(&nothing, (size_t)1 << 41) == 2;
    low_set(NULL);
    failed += low_alloc(&nothing, 4) == -3;
    printf("end %d %d\n", refused, failed);
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
