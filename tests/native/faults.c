/* faults.c - the layer that makes system calls fail. Like the child half it may run in shared memory, so it uses system
 * calls only. */
#undef TG_FAULTS
#include "../../csrc/launch.h"

TG_RAW static long real_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    return tg_sys6(n, a, b, c, d, e, f);
}

#undef TG_FAULT
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* See faults.h. */
enum { OFTEN = 40 };

struct faults *faults;
static enum faults_place first_place;
static int self;

int faults_use(const char *path, enum faults_place place)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    if (page == MAP_FAILED)
        return -1;
    first_place = place;
    self = getpid();
    faults = page;
    return 0;
}

int faults_make(char *path)
{
    int fd = mkstemp(path);
    int ret = fd < 0 || ftruncate(fd, sizeof *faults) < 0 ? -1 : faults_use(path, FAULTS_LIBRARY);
    if (fd >= 0)
        close(fd);
    return ret;
}

int faults_write(const char *path)
{
    FILE *f = fopen(path, "w");
    for (int i = 0; f && i < FAULTS_PROGRAMS * FAULTS_SITES; i++) {
        const struct faults_site *site = &faults->sites[i / FAULTS_SITES][i % FAULTS_SITES];
        if (site->address)
            fprintf(f, "%d %#lx %d\n", i / FAULTS_SITES, (unsigned long)site->address, site->what);
    }
    return f && fclose(f) == 0 ? 0 : -1;
}

/* A guard has no caller for this. */
__attribute__((constructor)) static void use_inherited(void)
{
    const char *path = getenv(FAULTS_VARIABLE);
    if (!path)
        return;
    if (faults_use(path, FAULTS_GUARD) < 0)
        abort();
    tg_launch_method((enum tg_method)faults->method);
}

/* Returns an error that the call can give if a resource is short or a filter forbids it. 0: there are no more errors.
 * -1: the call cannot fail where csrc/ makes it, or its failure has another meaning (ECHILD of wait4). -2: the call is
 * not known. */
TG_RAW static int error_of(long number, int which)
{
#define CALL(n, ...) \
    case n: { \
        static const int errors[] = {__VA_ARGS__, 0}; \
        const int count = sizeof errors / sizeof *errors; \
        return which < count ? errors[which] : 0; \
    }
    switch (number) {
        CALL(FAULTS_MEMORY, ENOMEM)
        CALL(SYS_openat, EMFILE, ENFILE, ENOMEM, EIO)
        CALL(SYS_faccessat, EACCES, ENOMEM)
        CALL(SYS_newfstatat, EACCES, ENOMEM)
        CALL(SYS_read, EIO, ENOMEM)
        CALL(SYS_write, EIO, ENOMEM, ENOSPC)
        CALL(SYS_getdents64, ENOMEM, EIO)
        CALL(SYS_readlinkat, ENOMEM, EIO)
        CALL(SYS_fcntl, EMFILE)
        CALL(SYS_dup3, EBUSY, EMFILE)
        CALL(SYS_pipe2, EMFILE, ENFILE, ENOMEM)
        CALL(SYS_socketpair, EMFILE, ENFILE, ENOMEM)
        CALL(SYS_sendto, ENOMEM, ENOBUFS)
        CALL(SYS_recvfrom, EINTR, ENOMEM)
        CALL(SYS_epoll_create1, EMFILE, ENFILE, ENOMEM)
        CALL(SYS_epoll_ctl, ENOMEM, ENOSPC)
        CALL(SYS_epoll_pwait, EINTR)
        CALL(SYS_signalfd4, EMFILE, ENFILE, ENOMEM)
        CALL(SYS_ppoll, EINTR, ENOMEM)
        CALL(SYS_rt_sigtimedwait, EINTR, EAGAIN)
        CALL(SYS_futex, EINTR, EAGAIN)
        CALL(SYS_wait4, EINTR)
        CALL(SYS_waitid, EINTR, ENOSYS, EPERM)
        CALL(SYS_kill, EPERM)
        CALL(SYS_pidfd_open, EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM)
        CALL(SYS_pidfd_send_signal, ENOSYS, EPERM)
        CALL(SYS_clone3, EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSYS, EPERM)
        CALL(SYS_clone, EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSYS, EPERM)
        CALL(SYS_close_range, ENOSYS, EPERM, EMFILE, ENOMEM)
        CALL(SYS_unshare, ENOMEM, EMFILE)
        CALL(SYS_prctl, ENOSYS, EPERM)
        CALL(SYS_prlimit64, EPERM)
        CALL(SYS_setpriority, EACCES, EPERM)
        CALL(SYS_sched_setaffinity, EINVAL, ENOMEM)
        CALL(SYS_setgroups, EPERM, ENOMEM)
        CALL(SYS_setregid, EPERM, ENOMEM)
        CALL(SYS_setreuid, EPERM, EAGAIN)
        CALL(SYS_capget, EPERM)
        CALL(SYS_landlock_create_ruleset, ENOSYS, EOPNOTSUPP, EPERM, EMFILE, ENFILE, ENOMEM)
        CALL(SYS_landlock_restrict_self, E2BIG, EPERM, ENOMEM)
        CALL(SYS_setpgid, EPERM)
        CALL(SYS_setsid, EPERM)
        CALL(SYS_chdir, EIO, ENOMEM)
        CALL(SYS_fchdir, EIO, EACCES)
        CALL(SYS_mkdirat, EAGAIN, ENOMEM, ENOSPC, EROFS)
        CALL(SYS_unlinkat, ENOMEM, EINTR)
        CALL(SYS_statx, ENOMEM)
        CALL(SYS_fchmod, EPERM)
        CALL(SYS_fchmodat, EPERM)
        CALL(SYS_mmap, ENOMEM)
        CALL(SYS_madvise, EAGAIN)
        CALL(SYS_ioctl, EIO, ENOTTY)
        CALL(SYS_execve, EAGAIN, EMFILE, ENFILE, ENOMEM, EIO)
    case SYS_close: /* it closes the descriptor in any case */
    case SYS_lseek:
    case SYS_getpid:
    case SYS_getppid:
    case SYS_getpgid:
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getpriority:
    case SYS_umask:
    case SYS_getrusage:
    case SYS_clock_gettime:
    case SYS_rt_sigaction:
    case SYS_rt_sigprocmask:
    case SYS_exit_group:
        return -1;
    default:
        return -2;
    }
#undef CALL
}

/* Returns the entry of a site, or a new one. Several processes may look for the same site. NULL: there is no space. */
TG_RAW static struct faults_site *site_of(const void *address)
{
    struct faults_site *sites = faults->sites[first_place == FAULTS_GUARD];
    uint64_t wanted = (uint64_t)(uintptr_t)address, none;
    for (int i = 0; i < FAULTS_SITES; i++) {
        none = 0;
        if (sites[i].address == wanted ||
            __atomic_compare_exchange_n(&sites[i].address, &none, wanted, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
            none == wanted)
            return &sites[i];
    }
    return NULL;
}

void faults_clear(void)
{
    __builtin_memset(faults, 0, offsetof(struct faults, sites));
    faults->number = -1;
    for (int i = 0; i < FAULTS_PROGRAMS * FAULTS_SITES; i++)
        faults->sites[i / FAULTS_SITES][i % FAULTS_SITES].passed = 0;
}

TG_RAW static void mark(struct faults_site *site, int what)
{
    __atomic_or_fetch(&site->what, what, __ATOMIC_RELAXED);
}

TG_RAW long faults_at(long number, const void *address)
{
    struct faults_site *site = faults && faults->armed ? site_of(address) : NULL;
    if (!site)
        return 0;
    int first = error_of(number, 0);
    if (first == -2)
        faults->unknown = (int32_t)number;
    mark(site, first < 0 ? SITE_HARMLESS : faults->number == -1 ? SITE_REACHED : SITE_AFTER_FAULT);
    if (first < 0 || __atomic_add_fetch(&site->passed, 1, __ATOMIC_RELAXED) > OFTEN)
        return 0;
    int place = (int)first_place + (real_sys6(SYS_getpid, 0, 0, 0, 0, 0, 0) != self);
    int call = __atomic_add_fetch(&faults->calls[place], 1, __ATOMIC_RELAXED);
    if (place != faults->place || call != faults->at)
        return 0;
    faults->number = (int32_t)number;
    faults->err = error_of(number, faults->which);
    if (faults->err)
        mark(site, SITE_FAILED);
    return -faults->err;
}

TG_RAW long faults_now(long number)
{
    return faults_at(number, __builtin_return_address(0));
}

TG_RAW static int is_path(long path, const char *wanted)
{
    const char *p = (const char *)(uintptr_t)path;
    while (*p && *p == *wanted)
        p++, wanted++;
    return *p == *wanted;
}

/* Returns the error that the host gives for a call that it does not support; 0: it supports the call. */
TG_RAW static long lacking(long n, long a, long b, long d)
{
    int lacks = faults && faults->armed ? faults->lacks : 0;
    switch (n) {
    case SYS_openat:
        return ((lacks & LACKS_CGROUP_KILL) && is_path(b, "cgroup.kill")) ||
               ((lacks & LACKS_CHILDREN) && is_path(b, "/proc/thread-self/children")) ? -ENOENT : 0;
    case SYS_close_range:
        return lacks & LACKS_CLOSE_RANGE ? -ENOSYS : 0;
    case SYS_waitid:
        return a == P_PIDFD && (lacks & (LACKS_WAIT_BY_HANDLE | LACKS_HANDLES)) ? -EINVAL : 0;
    case SYS_pidfd_open:
        return lacks & LACKS_HANDLES ? -ENOSYS : 0;
    case SYS_pidfd_send_signal:
        return lacks & LACKS_HANDLES ? -ENOSYS : d && (lacks & LACKS_GROUP_HANDLES) ? -EINVAL : 0;
    default:
        return 0;
    }
}

/* A host whose Landlock does not scope signals runs this test all the same: the calls are made and have no effect. */
TG_RAW static long with_landlock(long n, long a, long b, long c, long d, long e, long f)
{
    static int missing;
    long ret = n == SYS_landlock_restrict_self && missing ? 0 : real_sys6(n, a, b, c, d, e, f);
    if (n != SYS_landlock_create_ruleset || (ret != -ENOSYS && ret != -EOPNOTSUPP && ret != -E2BIG))
        return ret;
    missing = 1;
    return real_sys6(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDONLY | O_CLOEXEC, 0, 0, 0);
}

TG_RAW long faults_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    long fault = lacking(n, a, b, d);
    if (!fault)
        fault = faults_at(n, __builtin_return_address(0));
    return fault ? fault : with_landlock(n, a, b, c, d, e, f);
}
