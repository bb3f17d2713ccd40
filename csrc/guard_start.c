/* guard_start.c - the first instructions of the guard's executable.
 *
 * Without libc, since libc's own start costs more than all that a guard does: on x86-64 and aarch64 the kernel's
 * hand-over (argc, argv, envp on the stack) is taken as it is. Elsewhere, and wherever TG_HOSTED asks for it,
 * this is a plain main. */
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

/* The compiler may call this for a structure that is set to zero. */
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
