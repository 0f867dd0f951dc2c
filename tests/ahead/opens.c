/* Uses what it is linked with, and then a library that it opens by a path that nobody else can know: at once. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

int dev_alloc(void **out, size_t bytes);

int main(void) {
    void *memory;
    for (int i = 0; i < 10; i++)
        if (dev_alloc(&memory, 1000))
            return 1;
    const char *path = getenv("LATE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    int (*alloc)(void **, size_t) = library ? (int (*)(void **, size_t))dlsym(library, "dev_alloc") : NULL;
    if (!alloc)
        return 2;
    for (int i = 0; i < 10; i++)
        if (alloc(&memory, 500))
            return 3;
    return 0;
}
