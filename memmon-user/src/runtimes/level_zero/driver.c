/* A driver as small as can be, which hands its functions out in the ways that compilers and drivers know. */
#include <stdlib.h>

#define FUNCTION(name, number)                                                                                         \
    static int name(void *context, long size) { return context ? (int)size * 3 + number : number; }

FUNCTION(alloc_shared, 1)
FUNCTION(alloc_device, 2)
FUNCTION(alloc_host, 3)
FUNCTION(give_back, 4)
FUNCTION(properties, 5)
FUNCTION(give_back_extended, 6)
FUNCTION(get_devices, 7)

struct mem {
    int (*f[12])(void *, long);
};
struct device {
    int (*f[12])(void *, long);
};

/* What programs that link to it call. */
#if defined JUMPS
int zeMemAllocDevice(void *context, long size) { return alloc_device(context, size); }
#elif defined COPY
int zeMemAllocDevice(void *context, long size) { return context ? (int)size * 5 : 9; }
#endif

#ifdef TRACING
int zeMemAllocDeviceTracing(void *context, long size) { return context ? (int)size * 7 : 11; }
#elif defined SECOND
static int another(void *context, long size) { return context ? (int)size * 7 : 11; }
#endif

#ifdef OBJECT
/* Filled as the library is loaded. */
static struct mem object;
__attribute__((constructor)) static void fill(void) {
    struct mem *volatile where = &object;
    (void)where;
    object.f[0] = alloc_shared;
    object.f[1] = alloc_device;
    object.f[2] = alloc_host;
    object.f[3] = give_back;
    object.f[9] = give_back_extended;
    getenv("after");
}
void change(int which) { object.f[which] = 0; }
#define alloc_shared object.f[0]
#define alloc_device object.f[1]
#define alloc_host object.f[2]
#define give_back object.f[3]
#define give_back_extended object.f[9]
#endif

#ifdef UNKNOWN
int (*chosen)(void *, long) = 0;
#define alloc_device chosen
#endif

static struct mem copy;

#ifdef HELPER
__attribute__((noinline)) static void put(struct mem *table, int slot, int (*function)(void *, long)) {
    __asm__ volatile("" : "+r"(table));
    table->f[slot] = function;
}
__attribute__((noinline)) static void put_device(struct mem *table) { table->f[1] = alloc_device; }
#endif

int zeGetMemProcAddrTable(unsigned version, struct mem *table) {
    if (!table)
        return 1;
    if (version >> 16 != 1)
        return 2;
    const char *tracing = getenv("ZET_ENABLE_API_TRACING_EXP");
    table->f[0] = alloc_shared;
#ifdef HELPER
    put_device(table);
#else
    table->f[1] = alloc_device;
#endif
    table->f[2] = alloc_host;
#ifdef SAME
    table->f[3] = alloc_host;
#elif defined DATA
    table->f[3] = (int (*)(void *, long))(void *)&copy;
#elif !defined LACKING
    table->f[3] = give_back;
#endif
    table->f[4] = properties;
    if (version >= 0x10003)
        table->f[9] = give_back_extended;
    copy = *table;
    if (tracing && *tracing == '1') {
#ifdef TRACING
        table->f[1] = zeMemAllocDeviceTracing;
#elif defined SECOND
        table->f[1] = another;
#elif defined SWITCH
        switch (tracing[1]) {
        case 1: table->f[1] = alloc_host; break;
        case 2: table->f[1] = give_back; break;
        case 3: table->f[4] = give_back; break;
        case 4: table->f[5] = properties; break;
        case 5: table->f[2] = give_back; break;
        case 6: return tracing[2];
        }
#endif
    }
    return 0;
}

/* It asks about what it kept. */
int kept(int which) { return copy.f[which](0, 0); }

int zeGetDeviceProcAddrTable(unsigned version, struct device *table) {
    if (!table || version >> 16 != 1)
        return 1;
    table->f[0] = get_devices;
    return 0;
}
