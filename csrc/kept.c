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
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

static int keep_above_standard(int fd, int32_t *ret_fd)
{
    *ret_fd = tg_above_stdio(fd);
    return *ret_fd < 0 ? -errno : 0;
}

int tg_open_kept(const char *path, int flags, int32_t *ret_fd)
{
    return keep_above_standard(open(path, flags | O_CLOEXEC), ret_fd);
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
