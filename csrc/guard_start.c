/* guard_start.c - entry point of the guard's executable.
 *
 * The guard runs without libc, because the startup of libc costs more than all other work of a guard. On x86-64 and
 * aarch64 _start passes the stack pointer of the kernel to tg_start, which finds argc, argv and envp there. This needs
 * assembly, because a C function would change the stack pointer first. _start clears the frame pointer to mark the
 * outermost frame, and traps if tg_start returns. On x86-64 it also aligns the stack as the ABI requires for a call. On
 * other machines, and if TG_HOSTED is defined, this is an ordinary main. */
#include "guard.h"

#include "sys.h"

#if TG_RAW_SYSCALLS && !defined(TG_HOSTED)

#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n\t"
        "xorl %ebp, %ebp\n\t"
        "movq %rsp, %rdi\n\t"
        "andq $-16, %rsp\n\t"
        "call tg_start\n\t"
        "ud2\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov x29, xzr\n\t"
        "mov x30, xzr\n\t"
        "mov x0, sp\n\t"
        "bl tg_start\n\t"
        "brk #1\n");
#endif

_Noreturn void tg_start(long *stack);

_Noreturn void tg_start(long *stack)
{
    int argc = (int)stack[0];
    char **argv = (char **)(stack + 1);
    tg_exit(tg_guard(argc, argv, argv + argc + 1));
}

/* The compiler may generate a call to this function to clear a structure. Without the attribute and the volatile
 * access, it would recognise the loop as memset and replace it with a call to itself. */
void *memset(void *to, int byte, size_t n);

#ifndef __clang__
__attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif
void *memset(void *to, int byte, size_t n)
{
    volatile unsigned char *p = to;
    while (n--)
        *p++ = (unsigned char)byte;
    return to;
}

#else

int main(int argc, char **argv)
{
    extern char **environ;
    return tg_guard(argc, argv, environ);
}

#endif
