/* bsd/sys.h - the calls of linux/sys.h through libc, for systems that support system calls through libc only (macOS,
 * FreeBSD). Every function is async-signal-safe (POSIX) or nothing but a system call, so it is safe in a forked child.
 * Those that a guard's start calls are safe in a child of FreeBSD's vfork. */
#ifndef TG_BSD_SYS_H
#define TG_BSD_SYS_H

#include <grp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __FreeBSD__
#include <sys/procctl.h>
#include <sys/syscall.h>
#endif
#ifdef __APPLE__
/* PT_DENY_ATTACH and ptrace from sys/ptrace.h. Some macOS SDKs lack that header. */
#define TG_DENY_ATTACH 31
int ptrace(int request, pid_t pid, char *address, int data);
#endif

#define TG_FAULT(n) 0
#define TG_RAW_SYSCALLS 0

/* Bit n-1 is signal n, as far as 64 bits suffice. */
typedef uint64_t tg_sigset;
#define TG_ALL_SIGNALS (~(tg_sigset)0)
#define TG_SIGNAL_BIT(n) ((tg_sigset)1 << ((n) - 1))
#if NSIG - 1 < 64
#define TG_NSIG (NSIG - 1)
#else
#define TG_NSIG 64
#endif

#define TG_WAIT_ANY 0

/* macOS lacks MSG_NOSIGNAL. The socket option SO_NOSIGPIPE replaces it (lifeline.c), and the guard blocks the
 * signal. */
#ifdef MSG_NOSIGNAL
#define TG_NO_SIGNAL MSG_NOSIGNAL
#else
#define TG_NO_SIGNAL 0
#endif

static inline long tg_result(long ret)
{
    return ret < 0 ? -errno : ret;
}

static inline long tg_sigmask(tg_sigset set)
{
    sigset_t signals;
    if (set == TG_ALL_SIGNALS)
        sigfillset(&signals);
    else
        sigemptyset(&signals);
    for (int n = 1; set != TG_ALL_SIGNALS && n <= TG_NSIG; n++)
        if (set & TG_SIGNAL_BIT(n))
            sigaddset(&signals, n);
    return -pthread_sigmask(SIG_SETMASK, &signals, NULL);
}

/* Blocks all signals in this thread until tg_release_signals. */
typedef sigset_t tg_held_signals;

static inline void tg_hold_signals(tg_held_signals *ret_held)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_held);
}

static inline void tg_release_signals(const tg_held_signals *held)
{
    pthread_sigmask(SIG_SETMASK, held, NULL);
}

/* Ignores a signal, or sets it to its default action. */
static inline long tg_sigaction(int signal, int ignored)
{
    struct sigaction action = {.sa_handler = ignored ? SIG_IGN : SIG_DFL};
#ifdef __FreeBSD__
    /* libthr keeps a table of handlers (thr_sig.c). A vfork child shares that table with its parent, so bypass
     * libthr. */
    return tg_result(syscall(SYS_sigaction, signal, &action, NULL));
#else
    return tg_result(sigaction(signal, &action, NULL));
#endif
}

_Noreturn static inline void tg_exit(int status)
{
    _exit(status);
}

static inline long tg_close(int fd)
{
    return tg_result(close(fd));
}

static inline long tg_read(int fd, void *ret_bytes, size_t size)
{
    return tg_result(read(fd, ret_bytes, size));
}

static inline long tg_write(int fd, const void *bytes, size_t size)
{
    return tg_result(write(fd, bytes, size));
}

static inline long tg_fcntl(int fd, int command, int argument)
{
    return tg_result(fcntl(fd, command, argument));
}

static inline long tg_dup_onto(int fd, int onto)
{
    return tg_result(dup2(fd, onto));
}

/* The same, with close-on-exec. */
static inline long tg_dup_own(int fd, int onto)
{
#ifdef __APPLE__
    long ret = tg_dup_onto(fd, onto);
    return ret < 0 ? ret : tg_fcntl(onto, F_SETFD, FD_CLOEXEC);
#else
    return tg_result(dup3(fd, onto, O_CLOEXEC));
#endif
}

static inline long tg_pipe(int ret_ends[2])
{
#ifdef __APPLE__
    long ret = tg_result(pipe(ret_ends));
    for (int i = 0; ret == 0 && i < 2; i++)
        fcntl(ret_ends[i], F_SETFD, FD_CLOEXEC);
    return ret;
#else
    return tg_result(pipe2(ret_ends, O_CLOEXEC));
#endif
}

static inline long tg_chdir(const char *path)
{
    return tg_result(chdir(path));
}

static inline long tg_fchdir(int fd)
{
    return tg_result(fchdir(fd));
}

static inline long tg_getpid(void)
{
    return getpid();
}

static inline long tg_getppid(void)
{
    return getppid();
}

static inline long tg_kill(int pid, int signal)
{
    return tg_result(kill(pid, signal));
}

static inline long tg_lead_group(void)
{
    return tg_result(setpgid(0, 0));
}

static inline long tg_lead_session(void)
{
    return tg_result(setsid());
}

/* tcsetpgrp(3). */
static inline long tg_foreground(int terminal, int group)
{
    return tg_result(ioctl(terminal, TIOCSPGRP, &group));
}

/* Makes a terminal the controlling terminal of the session that this process leads. */
static inline long tg_control_terminal(int terminal)
{
    return tg_result(ioctl(terminal, TIOCSCTTY, 0));
}

/* Sets the soft and the hard limit. macOS accepts the limit but does not enforce it (its RLIMIT_AS is RLIMIT_RSS). */
static inline long tg_limit_address_space(uint64_t bytes)
{
#ifdef __APPLE__
    (void)bytes;
    return -ENOTSUP;
#else
    const struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
    return tg_result(setrlimit(RLIMIT_AS, &limit));
#endif
}

/* Sets a resource limit; UINT64_MAX: no limit. */
static inline long tg_setrlimit(int resource, uint64_t soft, uint64_t hard)
{
    const struct rlimit limit = {
        soft == UINT64_MAX ? RLIM_INFINITY : (rlim_t)soft,
        hard == UINT64_MAX ? RLIM_INFINITY : (rlim_t)hard,
    };
    return tg_result(setrlimit(resource, &limit));
}

static inline void tg_umask(uint32_t mask)
{
    umask((mode_t)mask);
}

/* Adds to the nice value. -1 may be a nice value. */
static inline long tg_nice(int increment)
{
    errno = 0;
    nice(increment);
    return -errno;
}

static inline uint32_t tg_getuid(void)
{
    return getuid();
}

static inline uint32_t tg_geteuid(void)
{
    return geteuid();
}

/* Real, effective and saved user. */
static inline long tg_setuser(uint32_t user)
{
    return tg_result(setreuid(user, user));
}

static inline long tg_setgroup(uint32_t group)
{
    return tg_result(setregid(group, group));
}

static inline long tg_setgroups(uint32_t n, const uint32_t *groups)
{
    return tg_result(setgroups((int)n, groups));
}

static inline long tg_fork(void)
{
    return tg_result(fork());
}

static inline long tg_exec(const char *program, char *const *argv, char *const *envp)
{
    return tg_result(execve(program, argv, envp));
}

static inline long tg_send(int fd, const void *bytes, size_t size, int flags)
{
    return tg_result(send(fd, bytes, size, flags | TG_NO_SIGNAL));
}

/* Receives a message without waiting. Returns its length, or a larger number than `size` if the message was
 * truncated. */
static inline long tg_recv(int fd, void *ret_bytes, size_t size)
{
    struct iovec room = {ret_bytes, size};
    struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1};
    long got = tg_result(recvmsg(fd, &message, MSG_DONTWAIT));
    return got >= 0 && (message.msg_flags & MSG_TRUNC) ? (long)size + 1 : got;
}

/* Timeout in milliseconds; -1 waits forever. */
static inline long tg_poll(struct pollfd *fds, unsigned n, int timeout)
{
    return tg_result(poll(fds, n, timeout));
}

static inline long tg_wait(int pid, int *ret_status, int options, struct rusage *ret_usage)
{
    return tg_result(wait4(pid, ret_status, options, ret_usage));
}

/* Resource usage of all children that were waited for. */
static inline long tg_usage_of_children(struct rusage *ret_usage)
{
    return tg_result(getrusage(RUSAGE_CHILDREN, ret_usage));
}

/* Returns the time of the clock that leases use, in nanoseconds. The clock stops while the machine is suspended. On
 * macOS CLOCK_MONOTONIC continues during suspension, so use CLOCK_UPTIME_RAW; Python's time.monotonic is the same clock
 * (mach_absolute_time). */
static inline int64_t tg_clock(void)
{
    struct timespec now;
#ifdef __APPLE__
    clock_gettime(CLOCK_UPTIME_RAW, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Maps the beginning of a file for reading. The mapping remains valid after the descriptor is closed. Returns 0, or
 * -errno. */
static inline long tg_map(int fd, size_t size, const volatile void **ret_bytes)
{
    void *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    *ret_bytes = bytes;
    return 0;
}

/* FreeBSD shows the command line as it was at the exec until setproctitle replaces it. */
static inline void tg_retitle(const char *name)
{
#ifdef __FreeBSD__
    setproctitle("-%s", name);
#else
    (void)name;
#endif
}

/* Neither system has an equivalent. */
static inline void tg_continue_with_parents_end(void)
{
}

/* Prevents other processes of the same user from attaching with ptrace(2). */
static inline void tg_shut_off(void)
{
#if defined(__FreeBSD__)
    int disable = PROC_TRACE_CTL_DISABLE;
    procctl(P_PID, (id_t)getpid(), PROC_TRACE_CTL, &disable);
#elif defined(__APPLE__)
    ptrace(TG_DENY_ATTACH, 0, NULL, 0);
#endif
}

/* No call on these systems discards pages and guarantees that they read as zeros. */
static inline long tg_give_back(uintptr_t first_page, size_t size)
{
    (void)first_page, (void)size;
    return -ENOSYS;
}

#endif
