/* sys.h - system calls without libc: each returns a value or -errno and touches neither errno nor a lock.
 *
 * On x86-64 and aarch64 they are instructions, so that the guard needs no libc at all. On other machines libc's
 * syscall() stands in; there the guard is an ordinary program. */
#ifndef TG_SYS_H
#define TG_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* Numbers that headers older than the kernel may lack; the generic table and x86-64 agree on all of them. */
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

/* Code that runs in a borrowed address space, or without libc: no instrumentation may call out of it. */
#if defined(__clang__)
#define TG_RAW __attribute__((no_sanitize("address", "undefined"), no_stack_protector))
#else
#define TG_RAW __attribute__((no_sanitize("address"), no_sanitize("undefined")))
#endif

#if defined(__x86_64__) && !defined(__ILP32__)
#define TG_RAW_SYSCALLS 1

TG_RAW static inline long tg_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

#elif defined(__aarch64__)
#define TG_RAW_SYSCALLS 1

TG_RAW static inline long tg_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else
#define TG_RAW_SYSCALLS 0
#include <unistd.h>

static inline long tg_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    long ret = syscall(n, a, b, c, d, e, f);
    return ret < 0 ? -errno : ret;
}
#endif

/* Builds for tests put a layer around all calls, which lets them fail (tests/native/faults.h). */
#ifdef TG_FAULTS
#include TG_FAULTS
#else
#define TG_FAULT(n) 0
#endif

#define tg_sys0(n) tg_sys6((n), 0, 0, 0, 0, 0, 0)
#define tg_sys1(n, a) tg_sys6((n), (long)(a), 0, 0, 0, 0, 0)
#define tg_sys2(n, a, b) tg_sys6((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define tg_sys3(n, a, b, c) tg_sys6((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define tg_sys4(n, a, b, c, d) tg_sys6((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define tg_sys5(n, a, b, c, d, e) tg_sys6((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* A signal set as the kernel has it: bit n-1 is signal n. */
typedef uint64_t tg_sigset;
#define TG_ALL_SIGNALS (~(tg_sigset)0)
#define TG_SIGNAL_BIT(n) ((tg_sigset)1 << ((n) - 1))
#define TG_NSIG 64

TG_RAW static inline long tg_sigmask(tg_sigset set, tg_sigset *ret_old)
{
    return tg_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &set, ret_old, sizeof set);
}

TG_RAW static inline long tg_close(int fd)
{
    return tg_sys1(SYS_close, fd);
}

TG_RAW static inline long tg_getpid(void)
{
    return tg_sys0(SYS_getpid);
}

TG_RAW static inline long tg_kill(int pid, int signal)
{
    return tg_sys2(SYS_kill, pid, signal);
}

/* Milliseconds; -1 waits for ever. */
TG_RAW static inline long tg_poll(struct pollfd *fds, unsigned long n, int timeout)
{
#if TG_RAW_SYSCALLS
    struct timespec t = {timeout / 1000, (timeout % 1000) * 1000000L};
    return tg_sys5(SYS_ppoll, fds, n, timeout < 0 ? NULL : &t, NULL, sizeof(tg_sigset));
#else
    int ret = poll(fds, n, timeout);
    return ret < 0 ? -errno : ret;
#endif
}

TG_RAW static inline long tg_wait(int pid, int *ret_status, int options, struct rusage *ret_usage)
{
#if TG_RAW_SYSCALLS
    return tg_sys4(SYS_wait4, pid, ret_status, options, ret_usage);
#else
    pid_t wait4(pid_t, int *, int, struct rusage *);
    pid_t ret = wait4(pid, ret_status, options, ret_usage);
    return ret < 0 ? -errno : ret;
#endif
}

#endif
