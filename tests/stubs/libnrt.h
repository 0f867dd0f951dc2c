/* Of AWS Neuron's public interface what the test needs. */
#include <stddef.h>
typedef struct nrt_tensor nrt_tensor_t;
int nrt_tensor_allocate(int placement, int core, size_t bytes, const char *name, nrt_tensor_t **out);
int nrt_tensor_allocate_slice(const nrt_tensor_t *of, size_t offset, size_t bytes, const char *name, nrt_tensor_t **out);
void nrt_tensor_free(nrt_tensor_t **tensor);
