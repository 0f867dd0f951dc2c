// Allocators that throw, in every way there is. Each is entered through a probe.
#include <cstdlib>
#include <new>
#include <stdexcept>

extern "C" void *thrower_alloc(unsigned long bytes) {
    if (bytes > 1000)
        throw std::bad_alloc();
    return std::malloc(bytes);
}

extern "C" void thrower_free(void *memory) {
    std::free(memory);
    if (memory == nullptr)
        throw std::invalid_argument("nothing");
}

// Through three frames that are all probed, caught and thrown again on the way.
extern "C" void *thrower_deep(unsigned depth, unsigned long bytes) {
    if (depth == 0)
        return thrower_alloc(bytes);
    try {
        return thrower_deep(depth - 1, bytes);
    } catch (const std::bad_alloc &) {
        if (depth % 2 == 0)
            throw;
        std::throw_with_nested(std::runtime_error("at a depth"));
    }
}

struct Undoes {
    ~Undoes() {
        try {
            thrower_alloc(2000);
        } catch (const std::bad_alloc &) {
            ++count;
        }
    }
    static thread_local int count;
};
thread_local int Undoes::count = 0;

// A destructor that throws and catches while another exception is on its way.
extern "C" int thrower_unwind(void) {
    try {
        Undoes undo;
        thrower_free(nullptr);
    } catch (const std::invalid_argument &) {
        return Undoes::count;
    }
    return -1;
}

extern "C" void thrower_never(void) noexcept {
    thrower_alloc(2000);
}
