/* launch_vfork.c - the parent half where vfork(2) lends memory for real (FreeBSD): its price does not grow with that
 * memory, but the calling thread waits for the exec. That is right for the guard's program, which begins at once; all
 * others are started by fork. */
#include "launch.h"

static int first_method;

void tg_launch_method(enum tg_method method)
{
    __atomic_store_n(&first_method, (int)method, __ATOMIC_RELAXED);
}

/* There are no handles by which another process could be owned. */
int tg_pidfd_open(int pid)
{
    (void)pid;
    return -ENOSYS;
}

/* The child never returns from here: it would spoil the stack that its parent goes on with. */
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
