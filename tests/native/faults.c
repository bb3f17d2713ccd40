/* faults.c - the layer itself. Like the child half it may run in borrowed memory, so it uses system calls only. */
#undef TG_FAULTS
#include "../../csrc/launch.h"

TG_RAW static long real_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    return tg_sys6(n, a, b, c, d, e, f);
}

#undef TG_FAULT
#include "faults.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* A guard has nobody who could call this. */
__attribute__((constructor)) static void use_inherited(void)
{
    const char *path = getenv(FAULTS_VARIABLE);
    if (!path)
        return;
    if (faults_use(path, FAULTS_GUARD) < 0)
        abort();
    tg_launch_method((enum tg_method)faults->method);
}


/* The errors that a call is known to give where there is too little of something, or a filter; 0: no more. Calls that
 * cannot fail, or whose failure means something else (wait4's ECHILD), have none. */
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
        CALL(SYS_kill, EPERM)
        CALL(SYS_pidfd_open, EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM)
        CALL(SYS_pidfd_send_signal, ENOSYS, EPERM)
        CALL(SYS_clone3, EAGAIN, ENOMEM, ENOSYS, EPERM)
        CALL(SYS_clone, EAGAIN, ENOMEM, ENOSYS, EPERM)
        CALL(SYS_close_range, ENOSYS, EPERM, EMFILE, ENOMEM)
        CALL(SYS_prctl, ENOSYS, EPERM)
        CALL(SYS_setpgid, EPERM)
        CALL(SYS_chdir, EIO, ENOMEM)
        CALL(SYS_mkdirat, EAGAIN, ENOMEM, ENOSPC, EROFS)
        CALL(SYS_unlinkat, ENOMEM, EINTR)
        CALL(SYS_mmap, ENOMEM)
        CALL(SYS_madvise, EAGAIN)
        CALL(SYS_ioctl, EIO)
        CALL(SYS_execve, EAGAIN, EMFILE, ENFILE, ENOMEM, EIO)
    default:
        return 0;
    }
#undef CALL
}

TG_RAW long faults_now(long number)
{
    if (!faults || !faults->armed || !error_of(number, 0))
        return 0;
    int place = (int)first_place + (real_sys6(SYS_getpid, 0, 0, 0, 0, 0, 0) != self);
    int call = __atomic_add_fetch(&faults->calls[place], 1, __ATOMIC_RELAXED);
    if (place != faults->place || call != faults->at)
        return 0;
    faults->number = (int32_t)number;
    faults->err = error_of(number, faults->which);
    return -faults->err;
}

TG_RAW long faults_sys6(long n, long a, long b, long c, long d, long e, long f)
{
    long fault = faults_now(n);
    return fault ? fault : real_sys6(n, a, b, c, d, e, f);
}
