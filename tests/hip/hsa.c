// A stand-in for libhsa-runtime64: one processor and two GPUs, each with one pool of 1 GiB.
#include "hsa.h"

#include <stdlib.h>

enum { AGENTS = 3 };
static struct pool {
    size_t taken;
} pools[AGENTS];
static struct agent {
    int type;
    struct pool *pool;
} agents[AGENTS] = {
    {HSA_DEVICE_TYPE_CPU, &pools[0]}, {HSA_DEVICE_TYPE_GPU, &pools[1]}, {HSA_DEVICE_TYPE_GPU, &pools[2]}};

struct block {
    size_t bytes;
    struct pool *of;
};

hsa_status_t hsa_iterate_agents(hsa_status_t (*see)(hsa_agent_t, void *), void *data) {
    for (int i = 0; i < AGENTS; i++) see((hsa_agent_t){(uint64_t)&agents[i]}, data);
    return 0;
}

hsa_status_t hsa_agent_get_info(hsa_agent_t agent, int what, void *out) {
    if (what != HSA_AGENT_INFO_DEVICE) return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    *(uint32_t *)out = (uint32_t)((struct agent *)agent.handle)->type;
    return 0;
}

hsa_status_t hsa_amd_agent_iterate_memory_pools(hsa_agent_t agent, hsa_status_t (*see)(hsa_amd_memory_pool_t, void *),
                                                void *data) {
    return see((hsa_amd_memory_pool_t){(uint64_t)((struct agent *)agent.handle)->pool}, data);
}

hsa_status_t hsa_amd_memory_pool_get_info(hsa_amd_memory_pool_t pool, int what, void *out) {
    (void)pool, (void)what;
    *(uint32_t *)out = 0;
    return 0;
}

hsa_status_t hsa_amd_memory_pool_allocate(hsa_amd_memory_pool_t pool, size_t bytes, uint32_t flags, void **out) {
    struct pool *of = (struct pool *)pool.handle;
    (void)flags;
    if (bytes == 0) return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    if (bytes > (1UL << 30) - of->taken) return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    of->taken += bytes;
    struct block *block = malloc(sizeof *block);
    *block = (struct block){bytes, of};
    *out = block;
    return 0;
}

hsa_status_t hsa_amd_memory_pool_free(void *at) {
    struct block *block = at;
    if (!block || !block->of) return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    block->of->taken -= block->bytes;
    free(block);
    return 0;
}
