/* deaf.h - a guard that is told of no death but the first, its root's: as by children that end without a SIGCHLD
 * (CLONE_AUTOREAP, Linux 7.1). A layer between csrc/ and the kernel, for -DTG_FAULTS. */
__attribute__((weak)) int deaf_queue = -1;

static inline long deaf_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    static const uint64_t none;
    long ret = tg_sys6(n, a, b, c, d, e, f);
    if (n == SYS_signalfd4)
        deaf_queue = (int)ret;
    if (n == SYS_wait4 && ret > 0)
        tg_sys6(SYS_signalfd4, deaf_queue, (long)&none, sizeof none, 0, 0, 0);
    return ret;
}

#define tg_sys6 deaf_sys6
#define TG_FAULT(n) 0
