/* target.c - what the benchmarks start: programs without libc, so that what is measured is the supervisor's price.
 *
 *   target              ends at once
 *   target stay         ends when its standard input does
 *   target print N      writes a line every 10 ms, N of them, once it has read a byte
 *   target wide N       a tree of N processes: all others are children of the root
 *   target deep N       each has one child
 *   target lost N       each but the root has left for a session of its own, and has lost its parent
 *
 * A tree writes one byte for each process to its standard output when that process is up; all hold it open. */
#include "../../csrc/sys.h"

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tmovq %rsp, %rdi\n\tandq $-16, %rsp\n\tcall target\n\tud2\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl target\n\tbrk #1\n");
#endif

_Noreturn void target(long *stack);

_Noreturn static void leave(void)
{
    for (;;)
        tg_sys1(SYS_exit_group, 0);
}

_Noreturn static void stay(void)
{
    tg_sys3(SYS_write, 1, ".", 1);
    for (;;)
        tg_poll(NULL, 0, -1);
}

static long fork_one(void)
{
    return tg_sys5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

_Noreturn static void grow(char shape, int n)
{
    while (--n > 0) {
        long pid = fork_one();
        if (pid < 0)
            leave();
        if (pid == 0 && shape == 'd')
            continue;
        if (pid == 0 && shape == 'l') {
            tg_sys0(SYS_setsid);
            if (fork_one() != 0)
                leave();
        }
        if (pid == 0 || shape == 'd')
            stay();
        if (shape == 'l')
            tg_wait((int)pid, NULL, 0, NULL);
    }
    stay();
}

/* A line of 64 bytes. */
_Noreturn static void print(int n)
{
    static const char line[] = "The quick brown fox jumps over the lazy dog, and so on and on.\n";
    char byte;
    tg_sys3(SYS_read, 0, &byte, 1);
    while (n-- > 0) {
        tg_sys3(SYS_write, 1, line, sizeof line - 1);
        tg_poll(NULL, 0, 10);
    }
    leave();
}

_Noreturn void target(long *stack)
{
    char **argv = (char **)(stack + 1), byte;
    int n = 0;
    if (stack[0] < 2)
        leave();
    if (argv[1][0] == 's') {
        while (tg_sys3(SYS_read, 0, &byte, 1) > 0)
            ;
        leave();
    }
    for (const char *c = argv[2]; *c; c++)
        n = n * 10 + (*c - '0');
    if (argv[1][0] == 'p')
        print(n);
    grow(argv[1][0], n);
}
