/* linux/sweep.c - kills the processes of a tree from its guard, which adopts orphans.
 *
 * The sweep kills children only by process id. They are ours to reap, so the kernel cannot reuse their process ids
 * before. Their own children become children of the guard (PR_SET_CHILD_SUBREAPER), and the next pass finds them. */
#include "../sweep.h"

#include "freezer.h"
#include "../proc.h"
#include "../sys.h"

#include <sys/prctl.h>

/* linux/threads.h: PID_MAX_LIMIT */
enum { MAX_PID = 4 << 20 };

int tg_sweep_open(struct tg_sweep *ret_sweep, int listed)
{
    ret_sweep->children = listed ? tg_open_children() : -1;
#ifdef TG_ADOPTS_ALREADY
    /* For tests under an emulator that does not support the call. The setting was made before, and it persists across
     * exec (prctl(2)). */
    return 0;
#else
    return (int)tg_sys5(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
#endif
}

static int kill_child(int pid, void *context)
{
    (void)context;
    tg_kill(pid, SIGKILL);
    return 0;
}

/* Returns a process id that the kernel has just allocated, or -errno. It forks a process for that and kills it at once,
 * because another process may have stopped it. */
static int newest_pid(void)
{
    int pid = (int)tg_fork();
    if (pid == 0)
        tg_exit(0);
    if (pid > 0) {
        tg_kill(pid, SIGKILL);
        while (tg_wait(pid, NULL, TG_WAIT_ANY, NULL) == -EINTR)
            ;
    }
    return pid;
}

static long poll_any_child(void)
{
    return tg_sys5(SYS_waitid, P_ALL, 0, NULL, WEXITED | WNOHANG | WNOWAIT | TG_WAIT_ANY, NULL);
}

/* Asks wait for each process id from `first` to `last`. It returns ECHILD for processes that are not our children. */
static int probe_range(int first, int last, tg_visit visit, void *context)
{
    int found = 0;
    for (int pid = first; pid <= last; pid++) {
        if (tg_sys5(SYS_waitid, P_PID, pid, NULL, WEXITED | WNOHANG | WNOWAIT | TG_WAIT_ANY, NULL) < 0)
            continue;
        found++;
        if (visit(pid, context))
            break;
    }
    return found;
}

/* Finds children without /proc, and if a limit on descriptors prevents opening it. The kernel allocates process ids in
 * ascending order, so descendants are between our own id and the newest one until the numbers wrap around. After that,
 * probe all possible ids, which takes half a second. */
static int probe_all(tg_visit visit, void *context)
{
    int self = (int)tg_getpid(), top = newest_pid();
    int found = top > self ? probe_range(self + 1, top - 1, visit, context) : 0;
    return found ? found : probe_range(2, MAX_PID, visit, context);
}

int tg_kill_pass(struct tg_sweep *sweep, int root, int led)
{
    if (led)
        tg_signal_led(root, SIGKILL);
    if (sweep->children < 0)
        sweep->children = tg_open_children();
    int found = tg_each_child(sweep->children, kill_child, NULL);
    if (found > 0 || poll_any_child() == -ECHILD)
        return found;
    return probe_all(kill_child, NULL);
}

static int release_child(int pid, void *context)
{
    (void)context;
    tg_release_frozen(pid);
    return 0;
}

void tg_sweep_release(const struct tg_sweep *sweep)
{
    tg_each_child(sweep->children, release_child, NULL);
}

/* All remaining processes are children of the guard. */
int tg_others(int root)
{
    (void)root;
    return 0;
}

struct target {
    int self;
    int group;
    int signal;
};

/* Open the handle before the second check, so that the signal goes to the process that was checked. */
static int signal_member(int pid, void *context)
{
    const struct target *t = context;
    struct tg_stat stat;
    if (tg_stat(pid, &stat) < 0 || stat.pgrp != t->group)
        return 0;
    long fd = tg_sys2(SYS_pidfd_open, pid, 0);
    if (tg_stat(pid, &stat) == 0 && stat.pgrp == t->group && tg_descends(pid, t->self))
        tg_signal_held((int)fd, pid, t->signal);
    if (fd >= 0)
        tg_close((int)fd);
    return 0;
}

/* Without /proc: while a child of ours is in the group, the group id cannot be reused, so the group belongs to the
 * tree. */
static int signal_group_of(int pid, void *context)
{
    const struct target *t = context;
    int found = tg_sys1(SYS_getpgid, pid) == t->group;
    if (found)
        tg_kill(-t->group, t->signal);
    return found;
}

void tg_signal_descendants(int group, int signal)
{
    struct target target = {(int)tg_getpid(), group, signal};
    if (tg_each_process(signal_member, &target) < 0)
        probe_all(signal_group_of, &target);
}
