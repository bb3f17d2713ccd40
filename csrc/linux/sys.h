/* linux/sys.h - system calls of Linux without libc.
 *
 * On x86-64 and aarch64 they are inline assembly, so the guard needs no libc and the child half of a start touches no
 * state of the parent's libc (errno, for example). On other machines libc's syscall() replaces them, and the guard is
 * an ordinary program. */
#ifndef TG_LINUX_SYS_H
#define TG_LINUX_SYS_H

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

/* Numbers that headers older than the kernel may lack. The generic table and x86-64 use the same numbers for all of
 * them. */
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
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

/* linux/close_range.h, 5.9 */
#define TG_CLOSE_RANGE_UNSHARE 2

/* One function for all calls, always with six arguments: a call that takes fewer ignores the other registers, and
 * setting these to zero costs next to nothing.
 *
 * x86-64: the kernel takes the fourth argument in r10, since `syscall` itself overwrites rcx (with the return address)
 * and r11 (with the flags). Constraints have no letters for r8 to r10, so variables are bound to them. "memory" makes the
 * compiler write out what a pointer among the arguments refers to, and read it again after the call. x32 is excluded: it
 * has other numbers, and pointers of 32 bits. */
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

/* aarch64: the number is in x8, and the result replaces the first argument in x0. The kernel preserves all other
 * registers. */
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

/* Test builds insert a layer around all calls that makes them fail (tests/native/faults.h). */
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

/* A signal set in the kernel's format: bit n-1 is signal n. */
typedef uint64_t tg_sigset;
#define TG_ALL_SIGNALS (~(tg_sigset)0)
#define TG_SIGNAL_BIT(n) ((tg_sigset)1 << ((n) - 1))
#define TG_NSIG 64

#define TG_WAIT_ANY __WALL  /* includes children created by clone without SIGCHLD */

TG_RAW static inline long tg_sigmask(tg_sigset set)
{
    return tg_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, sizeof set);
}

/* Blocks all signals in this thread until tg_release_signals. */
typedef tg_sigset tg_held_signals;

TG_RAW static inline void tg_hold_signals(tg_held_signals *ret_held)
{
    tg_sigset all = TG_ALL_SIGNALS;
    tg_sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, ret_held, sizeof all);
}

TG_RAW static inline void tg_release_signals(const tg_held_signals *held)
{
    tg_sys4(SYS_rt_sigprocmask, SIG_SETMASK, held, NULL, sizeof *held);
}

/* Ignores a signal, or sets it to its default action. */
TG_RAW static inline long tg_sigaction(int signal, int ignored)
{
    /* The kernel's struct sigaction. Its size differs between machines; the rest is zero on all of them. */
    struct {
        void (*handler)(int);
        unsigned long rest[7];
    } action = {ignored ? SIG_IGN : SIG_DFL, {0, 0, 0, 0, 0, 0, 0}};
    return tg_sys4(SYS_rt_sigaction, signal, &action, NULL, sizeof(tg_sigset));
}

_Noreturn TG_RAW static inline void tg_exit(int status)
{
    for (;;)
        tg_sys1(SYS_exit_group, status);
}

TG_RAW static inline long tg_close(int fd)
{
    return tg_sys1(SYS_close, fd);
}

TG_RAW static inline long tg_read(int fd, void *ret_bytes, size_t size)
{
    return tg_sys3(SYS_read, fd, ret_bytes, size);
}

TG_RAW static inline long tg_write(int fd, const void *bytes, size_t size)
{
    return tg_sys3(SYS_write, fd, bytes, size);
}

TG_RAW static inline long tg_fcntl(int fd, int command, int argument)
{
    return tg_sys3(SYS_fcntl, fd, command, argument);
}

/* dup2(2) of different descriptors. */
TG_RAW static inline long tg_dup_onto(int fd, int onto)
{
    return tg_sys3(SYS_dup3, fd, onto, 0);
}

/* The same, with close-on-exec. */
TG_RAW static inline long tg_dup_own(int fd, int onto)
{
    return tg_sys3(SYS_dup3, fd, onto, O_CLOEXEC);
}

TG_RAW static inline long tg_pipe(int ret_ends[2])
{
    return tg_sys2(SYS_pipe2, ret_ends, O_CLOEXEC);
}

TG_RAW static inline long tg_chdir(const char *path)
{
    return tg_sys1(SYS_chdir, path);
}

TG_RAW static inline long tg_fchdir(int fd)
{
    return tg_sys1(SYS_fchdir, fd);
}

TG_RAW static inline long tg_getpid(void)
{
    return tg_sys0(SYS_getpid);
}

TG_RAW static inline long tg_getppid(void)
{
    return tg_sys0(SYS_getppid);
}

TG_RAW static inline long tg_kill(int pid, int signal)
{
    return tg_sys2(SYS_kill, pid, signal);
}

TG_RAW static inline long tg_lead_group(void)
{
    return tg_sys2(SYS_setpgid, 0, 0);
}

TG_RAW static inline long tg_lead_session(void)
{
    return tg_sys0(SYS_setsid);
}

/* tcsetpgrp(3). */
TG_RAW static inline long tg_foreground(int terminal, int32_t group)
{
    return tg_sys3(SYS_ioctl, terminal, TIOCSPGRP, &group);
}

/* Makes a terminal the controlling terminal of the session that this process leads. */
TG_RAW static inline long tg_control_terminal(int terminal)
{
    return tg_sys3(SYS_ioctl, terminal, TIOCSCTTY, 0);
}

/* Sets the soft and the hard limit. Without privileges the hard limit cannot be raised again (getrlimit(2)). */
TG_RAW static inline long tg_limit_address_space(uint64_t bytes)
{
    const uint64_t limit[2] = {bytes, bytes};
    return tg_sys4(SYS_prlimit64, 0, RLIMIT_AS, limit, NULL);
}

/* Sets a resource limit; UINT64_MAX: no limit. */
TG_RAW static inline long tg_setrlimit(int resource, uint64_t soft, uint64_t hard)
{
    const uint64_t limit[2] = {soft, hard};
    return tg_sys4(SYS_prlimit64, 0, resource, limit, NULL);
}

TG_RAW static inline void tg_umask(uint32_t mask)
{
    tg_sys1(SYS_umask, mask);
}

/* Adds to the nice value, as nice(2) does. The system call returns 20 minus the nice value. */
TG_RAW static inline long tg_nice(int increment)
{
    long ret = tg_sys2(SYS_getpriority, PRIO_PROCESS, 0), value = 20 - ret + increment;
    if (ret < 0)
        return ret;
    return tg_sys3(SYS_setpriority, PRIO_PROCESS, 0, value < -20 ? -20 : value > 19 ? 19 : value);
}

/* The first calls of these names take 16-bit numbers on some 32-bit machines. */
#ifdef SYS_setreuid32
#define TG_SYS_IDS(name) SYS_##name##32
#else
#define TG_SYS_IDS(name) SYS_##name
#endif

TG_RAW static inline uint32_t tg_getuid(void)
{
    return (uint32_t)tg_sys0(TG_SYS_IDS(getuid));
}

TG_RAW static inline uint32_t tg_geteuid(void)
{
    return (uint32_t)tg_sys0(TG_SYS_IDS(geteuid));
}

/* Real, effective and saved user, of the calling thread only: libc's function of this name sets them for all threads of
 * the process (nptl(7)). */
TG_RAW static inline long tg_setuser(uint32_t user)
{
    return tg_sys2(TG_SYS_IDS(setreuid), user, user);
}

TG_RAW static inline long tg_setgroup(uint32_t group)
{
    return tg_sys2(TG_SYS_IDS(setregid), group, group);
}

TG_RAW static inline long tg_setgroups(uint32_t n, const uint32_t *groups)
{
    return tg_sys2(TG_SYS_IDS(setgroups), n, groups);
}

/* fork(2) without what libc does around it: it runs handlers of pthread_atfork, which may wait for locks of the host, and
 * takes locks of its own. SIGCHLD is the signal at the child's end that wait(2) expects. No stack: the child goes on with
 * its copy of ours. */
TG_RAW static inline long tg_fork(void)
{
    return tg_sys5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

TG_RAW static inline long tg_exec(const char *program, char *const *argv, char *const *envp)
{
    return tg_sys3(SYS_execve, program, argv, envp);
}

TG_RAW static inline long tg_send(int fd, const void *bytes, size_t size, int flags)
{
    return tg_sys6(SYS_sendto, fd, (long)bytes, (long)size, flags | MSG_NOSIGNAL, 0, 0);
}

/* Receives a message without waiting. Returns its length, which may be larger than `size`. */
TG_RAW static inline long tg_recv(int fd, void *ret_bytes, size_t size)
{
    return tg_sys6(SYS_recvfrom, fd, (long)ret_bytes, (long)size, MSG_DONTWAIT | MSG_TRUNC, 0, 0);
}

/* Timeout in milliseconds; -1 waits forever. */
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

/* Resource usage of all children that were waited for. */
TG_RAW static inline long tg_usage_of_children(struct rusage *ret_usage)
{
    return tg_sys2(SYS_getrusage, RUSAGE_CHILDREN, ret_usage);
}

/* Returns the time of the clock that leases use, in nanoseconds. The clock stops while the machine is suspended. */
TG_RAW static inline int64_t tg_clock(void)
{
    struct timespec now;
    tg_sys2(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Maps the beginning of a file for reading. The mapping remains valid after the descriptor is closed. Returns 0, or
 * -errno. */
TG_RAW static inline long tg_map(int fd, size_t size, const volatile void **ret_bytes)
{
    long ret = tg_sys6(SYS_mmap, 0, (long)size, PROT_READ, MAP_SHARED, fd, 0);
    if (ret < 0 && ret > -4096)
        return ret;
    *ret_bytes = (const volatile void *)ret;
    return 0;
}

/* Makes the kernel send SIGCONT to this process when the thread that started it ends. That continues the process if
 * another process has stopped it, even though SIGCONT is blocked (prctl(2), PR_SET_PDEATHSIG). */
TG_RAW static inline void tg_continue_with_parents_end(void)
{
    tg_sys5(SYS_prctl, PR_SET_PDEATHSIG, SIGCONT, 0, 0, 0);
}

/* Denies other processes of the same user ptrace(2), pidfd_getfd(2), and the writable files of /proc/PID (prctl(2),
 * PR_SET_DUMPABLE). An exec resets this. */
TG_RAW static inline void tg_shut_off(void)
{
    tg_sys5(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Linux shows the command line from memory, so erasing the strings is enough. */
TG_RAW static inline void tg_retitle(const char *name)
{
    (void)name;
}

/* Discards whole pages, which then read as zeros (madvise(2), MADV_DONTNEED). Returns 0, or -errno. */
TG_RAW static inline long tg_give_back(uintptr_t first_page, size_t size)
{
    return tg_sys3(SYS_madvise, first_page, size, MADV_DONTNEED);
}

#endif
