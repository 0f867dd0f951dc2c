/* Host memory in every way that glibc has, and what of it is held in the end. glibc is asked, too: its own count of
 * what is in use must be that of the blocks written down here. */
#define _GNU_SOURCE
#include "record.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The streams allocate nothing, so that all there is is written down. */
static char out[1 << 16], in[64];

static void *volatile kept; /* The compiler leaves no call out. */

static struct block *heap(void *memory, size_t bytes) {
    if (!memory)
        exit(1);
    kept = memory;
    return note_block((uint64_t)memory, bytes, "HEAP", -1);
}

static struct block *mapping(void *memory, size_t bytes) {
    if (memory == MAP_FAILED)
        exit(1);
    return note_block((uint64_t)memory, bytes, "MMAP", -1);
}

static void *at(struct block *block) { return (void *)block->key; }

static void give(struct block *block) {
    free(at(block));
    note_free(block);
}

/* What glibc says is in use: of its arenas, and mapped one by one. */
static size_t in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

int main(void) {
    setvbuf(stdout, out, _IOFBF, sizeof out);
    setvbuf(stdin, in, _IOFBF, sizeof in);
    /* With the first block come glibc's own, which stay. */
    give(heap(malloc(1), 1));
    size_t before = in_use();

    struct block *block[100];
    for (int i = 0; i < 100; i++) {
        /* Every tenth is so large that malloc maps it. */
        size_t bytes = i % 10 ? 24 + 40 * (size_t)i : ((size_t)1 << 18) + (size_t)i;
        block[i] = heap(malloc(bytes), bytes);
    }
    for (int i = 0; i < 10; i++)
        heap(calloc(3 + (size_t)i, 100), (3 + (size_t)i) * 100);
    for (int i = 0; i < 5; i++) {
        void *memory;
        heap(aligned_alloc(256, 1000), 1000);
        heap(memalign(64, 500 + (size_t)i), 500 + (size_t)i);
        if (posix_memalign(&memory, 4096, 700))
            return 1;
        heap(memory, 700);
    }
    heap(valloc(300), 300);

    /* Larger: in place, elsewhere, or mapped anew; then smaller. */
    for (int i = 0; i < 30; i++) {
        size_t bytes = i < 20 ? (size_t)block[i]->bytes * 3 : 16;
        struct block *old = block[i];
        kept = realloc(at(old), bytes);
        note_free(old);
        block[i] = heap(kept, bytes);
    }
    heap(realloc(NULL, 123), 123);
    struct block *gone = heap(malloc(99), 99);
    if (realloc(at(gone), 0)) /* a free */
        return 1;
    note_free(gone);
    /* Cannot be had: the block stays what it is. */
    size_t huge = (size_t)1 << 50;
    if ((kept = realloc(at(block[40]), huge)) || (kept = malloc(huge + 1)))
        return 1;
    note_failure(huge, "HEAP", -1);
    note_failure(huge + 1, "HEAP", -1);
    void *none;
    if (posix_memalign(&none, 64, huge + 2) != ENOMEM)
        return 1;
    note_failure(huge + 2, "HEAP", ENOMEM);
    for (int i = 0; i < 100; i += 3)
        give(block[i]);
    free(NULL);

    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    struct block *map[10];
    for (int i = 0; i < 10; i++) {
        size_t bytes = 10000 + 4096 * (size_t)i;
        map[i] = mapping(mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0), bytes);
    }
    for (int i = 0; i < 5; i++) {
        if (munmap(at(map[i]), map[i]->bytes))
            return 1;
        note_free(map[i]);
    }
    kept = mremap(at(map[5]), map[5]->bytes, 1 << 20, MREMAP_MAYMOVE);
    note_free(map[5]);
    mapping(kept, 1 << 20);
    /* A part of one: all of it counts until all of it is gone. */
    if (munmap(at(map[6]), 4096))
        return 1;
    /* Not possible: the mapping stays. */
    if (mremap(at(map[7]), map[7]->bytes, huge, MREMAP_MAYMOVE) != MAP_FAILED)
        return 1;
    note_failure(huge, "MMAP", -1);
    if (mmap(NULL, huge + 3, PROT_READ, flags, -1, 0) != MAP_FAILED)
        return 1;
    note_failure(huge + 3, "MMAP", -1);
    /* A file's pages are the file's. */
    int file = open("/proc/self/exe", O_RDONLY);
    void *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED || munmap(mapped, 4096) || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED)
        return 1;

    /* By glibc: no block is smaller than was asked for, and nothing else is in use. */
    size_t chunks = 0;
    for (int i = 0; i < block_count; i++) {
        struct block *one = &blocks[i];
        if (!one->live || one->pool[0] != 'H')
            continue;
        if (malloc_usable_size(at(one)) < one->bytes)
            return 1;
        chunks += ((size_t *)at(one))[-1] & ~(size_t)7;
    }
    snprintf(more_to_say, sizeof more_to_say, ", \"chunks\": %zu, \"in_use\": %zu", chunks, in_use() - before);
    say_and_wait();
    return 0;
}
