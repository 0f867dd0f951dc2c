/* What the program writes down of its own doings, as JSON on one line: the judge of the test. */
#ifndef RECORD_H
#define RECORD_H
#include <stdint.h>
#include <stdio.h>

#define MANY 256

/* Negative: on no device. */
struct block {
    uint64_t key, bytes;
    const char *pool;
    int device, live;
};

/* Negative: no error code is told. */
struct failure {
    uint64_t bytes;
    const char *pool;
    int error;
};

static struct block blocks[MANY];
static struct failure failures[MANY];
/* Further members of the record. */
static char more_to_say[256];
static int block_count, failure_count, frees;

static inline struct block *note_block(uint64_t key, uint64_t bytes, const char *pool, int device) {
    struct block *block = &blocks[block_count++];
    *block = (struct block){key, bytes, pool, device, 1};
    return block;
}

static inline void note_free(struct block *block) {
    block->live = 0;
    frees++;
}

static inline void note_failure(uint64_t bytes, const char *pool, int error) {
    failures[failure_count++] = (struct failure){bytes, pool, error};
}

static inline void say_and_wait(void) {
    printf("{\"allocations\": %d, \"frees\": %d, \"live\": [", block_count, frees);
    const char *comma = "";
    for (int i = 0; i < block_count; i++) {
        struct block *b = &blocks[i];
        if (!b->live)
            continue;
        printf("%s{\"key\": %llu, \"bytes\": %llu, \"pool\": \"%s\", \"device\": ", comma,
               (unsigned long long)b->key, (unsigned long long)b->bytes, b->pool);
        if (b->device < 0)
            printf("null}");
        else
            printf("%d}", b->device);
        comma = ", ";
    }
    printf("], \"failures\": [");
    comma = "";
    for (int i = 0; i < failure_count; i++) {
        printf("%s{\"bytes\": %llu, \"pool\": \"%s\", \"error\": ", comma,
               (unsigned long long)failures[i].bytes, failures[i].pool);
        if (failures[i].error < 0)
            printf("null}");
        else
            printf("%d}", failures[i].error);
        comma = ", ";
    }
    printf("]%s}\n", more_to_say);
    fflush(stdout);
    while (getchar() != EOF) {
    }
}
#endif
