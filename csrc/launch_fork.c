/* launch_fork.c - starts a process by fork. The child reports its result through a pipe. The cost grows with the
 * parent's memory, and a concurrent fork may hold the pipe open (tree_pgrp.c), but every system supports this method. */
#include "launch.h"

#include <poll.h>

/* A host may have closed its standard streams. The child's end of the pipe must not have one of their numbers, because
 * the child places its own streams there. */
static long open_status(int ends[2])
{
    long ret = tg_pipe(ends);
    if (ret < 0 || ends[1] > 2)
        return ret;
    ret = tg_fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
    tg_close(ends[1]);
    if (ret < 0)
        tg_close(ends[0]);
    ends[1] = (int)ret;
    return ret;
}

long tg_fork_child(struct tg_launch *l)
{
    int ends[2];
    long ret = open_status(ends);
    if (ret < 0)
        return ret;
    l->child.status_fd = ends[1];
    ret = l->sibling ? tg_fork_sibling() : tg_fork();
    if (ret == 0)
        tg_child_run(&l->child);
    tg_close(ends[1]);
    if (ret < 0)
        tg_close(ends[0]);
    else
        l->status_fd = ends[0];
    return ret;
}

int tg_fork_done(struct tg_launch *l, int timeout)
{
    struct pollfd p = {l->status_fd, POLLIN, 0};
    if (tg_poll(&p, 1, timeout) <= 0)
        return 0;
    long got = tg_read(l->status_fd, &l->child.fault, sizeof l->child.fault);
    if (got < 0)
        return 0;
    if (got == 0)
        l->child.fault.step = TG_STEP_NONE;
    tg_close(l->status_fd);
    l->status_fd = -1;
    return 1;
}
