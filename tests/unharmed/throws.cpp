// Has them throw, in several threads, and says what it caught; then ends as it is told.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

extern "C" {
void *thrower_alloc(unsigned long bytes);
void thrower_free(void *memory);
void *thrower_deep(unsigned depth, unsigned long bytes);
int thrower_unwind(void);
void thrower_never(void) noexcept;
}

static int nested(const std::exception &e) {
    try {
        std::rethrow_if_nested(e);
    } catch (const std::exception &inner) {
        return 1 + nested(inner);
    }
    return 1;
}

int main(int argc, char **argv) {
    std::atomic<long> caught{0}, depth{0}, undone{0}, foreign{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int i = 0; i < 500; ++i) {
                try {
                    thrower_free(thrower_alloc(i));
                    thrower_alloc(1001 + i);
                } catch (const std::bad_alloc &) {
                    ++caught;
                }
                try {
                    thrower_deep(1 + i % 9, 5000);
                } catch (const std::exception &e) {
                    depth += nested(e);
                }
                undone += thrower_unwind();
                // Thrown in one thread, caught in another.
                std::exception_ptr passed;
                std::thread([&] {
                    try {
                        thrower_free(nullptr);
                    } catch (...) {
                        passed = std::current_exception();
                    }
                }).join();
                try {
                    std::rethrow_exception(passed);
                } catch (const std::invalid_argument &e) {
                    foreign += std::strlen(e.what());
                }
            }
        });
    }
    for (std::thread &thread : threads)
        thread.join();
    std::printf("caught %ld depth %ld undone %ld foreign %ld\n", caught.load(), depth.load(), undone.load(), foreign.load());
    std::fflush(stdout);
    if (argc > 1 && std::strcmp(argv[1], "never") == 0)
        thrower_never();
    if (argc > 1 && std::strcmp(argv[1], "uncaught") == 0)
        thrower_deep(3, 5000);
    return 5;
}
