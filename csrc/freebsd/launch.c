/* freebsd/launch.c - the parent half of a start on FreeBSD.
 *
 * vfork(2) shares the parent's memory, so its cost does not depend on the size of that memory. But the calling thread
 * waits until the child's exec. The guard's program starts at once, so guards start by vfork. All other programs start
 * by fork. */
#include "../launch.h"

static int first_method;

void tg_launch_method(enum tg_method method)
{
    __atomic_store_n(&first_method, (int)method, __ATOMIC_RELAXED);
}

/* FreeBSD launches use no process handles. */
int tg_pidfd_open(int pid)
{
    (void)pid;
    return -ENOSYS;
}

/* The child must not return from this function: it runs on the parent's stack, and returning would destroy the frame
 * that the parent continues with. */
static long by_vfork(struct tg_launch *l)
{
    l->child.status_fd = -1;
    long ret = tg_result(vfork());
    if (ret == 0)
        tg_child_run(&l->child);
    return ret;
}

int tg_launch(struct tg_launch *l, int want_pidfd)
{
    int method = __atomic_load_n(&first_method, __ATOMIC_RELAXED);
    (void)want_pidfd;
    l->pidfd = l->status_fd = -1;
    l->running = 0;
    l->child.fault.step = TG_STEP_NONE;
    l->child.cgroup = l->cgroup;
    long ret = l->quick && method < TG_METHOD_FORK ? by_vfork(l) : tg_fork_child(l);
    if (ret < 0)
        return (int)ret;
    l->pid = (int32_t)ret;
    return 0;
}

int tg_launch_done(struct tg_launch *l, int timeout)
{
    return l->status_fd < 0 || tg_fork_done(l, timeout);
}
