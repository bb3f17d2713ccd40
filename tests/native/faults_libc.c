/* faults_libc.c - the same layer for the functions of libc that the library uses. The linker inserts it (--wrap). */
#include "faults_wrap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Count allocations and releases of memory. */
int faults_allocations;

#define WRAP_MEMORY(type, name, failure, parameters, arguments) \
    type __real_##name parameters; \
    type __wrap_##name parameters; \
    type __wrap_##name parameters \
    { \
        if (fails(FAULTS_MEMORY)) \
            return failure; \
        faults_allocations++; \
        return __real_##name arguments; \
    }

WRAP_MEMORY(void *, malloc, NULL, (size_t size), (size))
WRAP_MEMORY(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_MEMORY(int, posix_memalign, ENOMEM, (void **to, size_t align, size_t size), (to, align, size))

void __real_free(void *memory);
void __wrap_free(void *memory);

void __wrap_free(void *memory)
{
    faults_allocations -= memory != NULL;
    __real_free(memory);
}

WRAP(int, socketpair, SYS_socketpair, -1, (int domain, int type, int protocol, int *ends), (domain, type, protocol, ends))
WRAP(int, epoll_create1, SYS_epoll_create1, -1, (int flags), (flags))
WRAP(int, epoll_wait, SYS_epoll_pwait, -1, (int fd, struct epoll_event *ready, int n, int timeout), (fd, ready, n, timeout))
WRAP(ssize_t, recv, SYS_recvfrom, -1, (int fd, void *to, size_t size, int flags), (fd, to, size, flags))
WRAP(ssize_t, send, SYS_sendto, -1, (int fd, const void *from, size_t size, int flags), (fd, from, size, flags))

int __real_epoll_ctl(int fd, int what, int of, struct epoll_event *event);
int __wrap_epoll_ctl(int fd, int what, int of, struct epoll_event *event);

int __wrap_epoll_ctl(int fd, int what, int of, struct epoll_event *event)
{
    return what != EPOLL_CTL_DEL && fails(SYS_epoll_ctl) ? -1 : __real_epoll_ctl(fd, what, of, event);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

/* The library creates no files. */
int __wrap_open(const char *path, int flags, ...)
{
    return fails(SYS_openat) ? -1 : __real_open(path, flags);
}

int __real_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...);

int __wrap_fcntl(int fd, int what, ...)
{
    __builtin_va_list rest;
    __builtin_va_start(rest, what);
    int argument = __builtin_va_arg(rest, int);
    __builtin_va_end(rest);
    return fails(SYS_fcntl) ? -1 : __real_fcntl(fd, what, argument);
}
