/* kept.c - variants of functions that store their results in memory of the caller.
 *
 * Python runs signal handlers after a C function returns and before it stores the return value. If a handler raises an
 * exception, the return value is lost: a tree, or a batch of events. A result that was stored before the return is not
 * lost. */
#include "treeguard.h"

#ifndef _WIN32
#include "above_stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#include <sys/syscall.h>
#endif

static int keep_above_standard(int fd, int32_t *ret_fd)
{
    *ret_fd = tg_above_stdio(fd);
    return *ret_fd < 0 ? -errno : 0;
}

int tg_open_kept(int directory, const char *path, int flags, int32_t *ret_fd)
{
    return keep_above_standard(openat(directory < 0 ? AT_FDCWD : directory, path, flags | O_CLOEXEC), ret_fd);
}

int tg_copy_kept(int fd, int32_t *ret_fd)
{
    return keep_above_standard(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), ret_fd);
}

int tg_memory_kept(const char *name, int32_t *ret_fd)
{
#ifdef __linux__
    /* glibc has a function for it since 2.27 only. */
    enum { CLOSE_ON_EXEC = 1, ALLOW_SEALING = 2 };
    return keep_above_standard((int)syscall(SYS_memfd_create, name, CLOSE_ON_EXEC | ALLOW_SEALING), ret_fd);
#elif defined MFD_ALLOW_SEALING
    return keep_above_standard(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), ret_fd);
#else
    (void)name;
    (void)ret_fd;
    return -ENOSYS;
#endif
}

int tg_pidfd_kept(int pid, int32_t *ret_fd)
{
#ifdef SYS_pidfd_open
    return keep_above_standard((int)syscall(SYS_pidfd_open, pid, 0), ret_fd);
#else
    (void)pid;
    (void)ret_fd;
    return -ENOSYS;
#endif
}

static int make_pipe(int32_t ends[2], int flags)
{
#ifdef __APPLE__
    if (pipe(ends) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, flags);
    }
#else
    if (pipe2(ends, flags | O_CLOEXEC) < 0)
        return -errno;
#endif
    return 0;
}

int tg_waker_kept(int32_t *ret_reader, int32_t *ret_writer)
{
#ifdef __linux__
    (void)ret_writer;
    return keep_above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), ret_reader);
#else
    int32_t ends[2];
    int result = make_pipe(ends, O_NONBLOCK);
    if (result < 0)
        return result;
    /* The first failure leaves nothing for the second: a number of a standard stream is copied, and closed. */
    result = keep_above_standard(ends[0], ret_reader);
    int other = keep_above_standard(ends[1], ret_writer);
    return result < 0 ? result : other;
#endif
}

int tg_pipe_kept(struct tg_pipe *ret_pipe)
{
    int32_t ends[2];
    struct stat seen;
    int result = make_pipe(ends, 0);
    if (result < 0)
        return result;
    if (fstat(ends[0], &seen) < 0)
        result = -errno;
    ret_pipe->inode = (uint64_t)seen.st_ino;
    ret_pipe->ends[0] = ends[0];
    ret_pipe->ends[1] = ends[1];
    return result;
}

static void close_end(struct tg_pipe *pipe, int end)
{
    int fd = pipe->ends[end];
    struct stat seen;
    pipe->ends[end] = -1;
    if (fd >= 0 && fstat(fd, &seen) == 0 && S_ISFIFO(seen.st_mode) && (uint64_t)seen.st_ino == pipe->inode)
        close(fd);
}

void tg_pipe_give(struct tg_pipe *pipe, int closed)
{
    pipe->ends[!closed] = -1;
    close_end(pipe, closed);
}

void tg_pipe_close(struct tg_pipe *pipe)
{
    close_end(pipe, 0);
    close_end(pipe, 1);
}

void tg_close_kept(int32_t *fd)
{
    int closed = *fd;
    *fd = -1;
    if (closed >= 0)
        close(closed);
}
#endif

void tg_engine_open_kept(struct tg_engine **ret_engine, struct tg_fault *reterr_fault)
{
    *ret_engine = tg_engine_open(reterr_fault);
}

void tg_engine_drain_kept(struct tg_engine *engine, struct tg_event *ret_events, int max, int32_t *ret_count)
{
    int count = tg_engine_drain(engine, ret_events, max);
    *ret_count = count < 0 ? 0 : count;
}

void tg_engine_close_kept(struct tg_engine **engine)
{
    struct tg_engine *closed = *engine;
    *engine = NULL;
    if (closed)
        tg_engine_close(closed);
}

void tg_tree_spawn_kept(struct tg_engine *engine, const struct tg_spec *spec, uint64_t tag, struct tg_tree **ret_tree,
                        struct tg_fault *reterr_fault)
{
    *ret_tree = tg_tree_spawn(engine, spec, tag, reterr_fault);
}

void tg_tree_poll_kept(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (!tg_tree_poll(tree, ret_event))
        ret_event->kind = 0;
}

void tg_tree_free_kept(struct tg_tree **tree)
{
    struct tg_tree *freed = *tree;
    *tree = NULL;
    tg_tree_free(freed);
}
