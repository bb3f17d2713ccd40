/* tiny.c - the smallest program: it waits for a signal, or for five minutes; with any argument it ends at once. */
#if defined(__x86_64__) && !defined(__ILP32__)

__asm__(".globl _start\n"
        "_start:\n\t"
        "movq (%rsp), %rdi\n\t"
        "call tiny\n\t"
        "ud2\n");

static long call(long n, long a, long b)
{
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return ret;
}
enum { NANOSLEEP = 35, EXIT = 231 };

#elif defined(__aarch64__)

__asm__(".globl _start\n"
        "_start:\n\t"
        "ldr x0, [sp]\n\t"
        "bl tiny\n\t"
        "brk #1\n");

static long call(long n, long a, long b)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
    return x0;
}
enum { NANOSLEEP = 101, EXIT = 94 };

#endif

_Noreturn void tiny(long argc);

_Noreturn void tiny(long argc)
{
    long time[2] = {300, 0};
    if (argc < 2)
        call(NANOSLEEP, (long)time, 0);
    for (;;)
        call(EXIT, 0, 0);
}
