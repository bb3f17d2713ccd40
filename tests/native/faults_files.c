/* faults_files.c - the same layer for what opens pseudo-terminals and looks for programs (pty.c, find.c). */
#include "faults_wrap.h"

#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int faults_lack_peer;

WRAP(int, posix_openpt, SYS_openat, -1, (int flags), (flags))
WRAP(int, grantpt, SYS_ioctl, -1, (int fd), (fd))
WRAP(int, unlockpt, SYS_ioctl, -1, (int fd), (fd))
WRAP(int, ptsname_r, SYS_ioctl, errno, (int fd, char *to, size_t size), (fd, to, size))
WRAP(int, access, SYS_faccessat, -1, (const char *path, int mode), (path, mode))
WRAP(int, stat, SYS_newfstatat, -1, (const char *path, struct stat *to), (path, to))

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
