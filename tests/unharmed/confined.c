/* Confines itself by the strictest means there are, and then allocates: `strict` (read, write, _exit,
 * sigreturn) or `filter` (read, write, exit, exit_group; whatever else ends it). For each byte of its
 * input ten pairs, one of which stays, and a byte back. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int dev_alloc(void **out, size_t bytes);
void *dev_alloc_host(size_t bytes);
int dev_free(void *memory);

#define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int filter(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_read), ALLOW(SYS_write), ALLOW(SYS_exit), ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv) {
    /* Heap enough that no system call is needed for more. */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    void *volatile heap = malloc(8 << 20);
    free(heap);
    char c = 'r';
    if (write(1, &c, 1) != 1 || read(0, &c, 1) != 1)
        return 1;
    int strict = argc > 1 && strcmp(argv[1], "strict") == 0;
    if (argc > 1 && (strict ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) : filter()))
        return 2;
    do {
        void *memory[10], *host = dev_alloc_host(64);
        for (int i = 0; i < 10; i++)
            dev_alloc(&memory[i], 100);
        for (int i = 0; i < 9; i++)
            dev_free(memory[i]);
        dev_free(host);
        c = 'd';
    } while (write(1, &c, 1) == 1 && read(0, &c, 1) == 1);
    syscall(SYS_exit, 7);
}
