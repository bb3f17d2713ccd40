/* faults_files.c - the same layer for what opens pseudo-terminals and looks for programs (pty.c, find.c). */
#include "faults.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int faults_lack_peer;

static int fails_at(long number, const void *address)
{
    long fault = faults_at(number, address);
    if (fault)
        errno = (int)-fault;
    return fault != 0;
}

#define fails(number) fails_at(number, __builtin_return_address(0))

#define WRAP(name, number, failure, parameters, arguments) \
    int __real_##name parameters; \
    int __wrap_##name parameters; \
    int __wrap_##name parameters \
    { \
        return fails(number) ? (failure) : __real_##name arguments; \
    }

WRAP(posix_openpt, SYS_openat, -1, (int flags), (flags))
WRAP(grantpt, SYS_ioctl, -1, (int fd), (fd))
WRAP(unlockpt, SYS_ioctl, -1, (int fd), (fd))
WRAP(ptsname_r, SYS_ioctl, errno, (int fd, char *to, size_t size), (fd, to, size))
WRAP(access, SYS_faccessat, -1, (const char *path, int mode), (path, mode))
WRAP(stat, SYS_newfstatat, -1, (const char *path, struct stat *to), (path, to))

int __real_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...);

int __wrap_ioctl(int fd, unsigned long what, ...)
{
    __builtin_va_list rest;
    __builtin_va_start(rest, what);
    long argument = __builtin_va_arg(rest, int);
    __builtin_va_end(rest);
    if (faults_lack_peer && what == TIOCGPTPEER) {
        errno = ENOTTY;
        return -1;
    }
    return fails(SYS_ioctl) ? -1 : __real_ioctl(fd, what, argument);
}
