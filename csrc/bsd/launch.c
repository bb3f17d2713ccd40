/* bsd/launch.c - the parent half of a start on macOS and FreeBSD.
 *
 * Guards start in the system's own way, which does not copy the parent's memory. All other programs start by fork: the
 * calling thread would have to wait for their exec, which a slow file system can delay for any time. */
#include "launch.h"

static int first_method;

void tg_launch_method(enum tg_method method)
{
    __atomic_store_n(&first_method, (int)method, __ATOMIC_RELAXED);
}

/* macOS has no process handles, and launches on FreeBSD use none. */
int tg_pidfd_open(int pid)
{
    (void)pid;
    return -ENOSYS;
}

/* Its use is in namespaces, which exist on Linux only. */
long tg_fork_sibling(void)
{
    return -ENOSYS;
}

int tg_launch(struct tg_launch *l, int want_pidfd)
{
    int method = __atomic_load_n(&first_method, __ATOMIC_RELAXED);
    (void)want_pidfd;
    l->pidfd = l->status_fd = -1;
    l->running = 0;
    l->child.fault.step = TG_STEP_NONE;
    l->child.cgroup = l->cgroup;
    long ret = l->quick && method < TG_METHOD_FORK ? tg_launch_quick(l) : 0;
    if (ret == 0)
        ret = tg_fork_child(l);
    if (ret < 0)
        return (int)ret;
    l->pid = (int32_t)ret;
    return 0;
}

int tg_launch_done(struct tg_launch *l, int timeout)
{
    return l->status_fd < 0 || tg_fork_done(l, timeout);
}
