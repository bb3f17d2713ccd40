/* sweep_linux.c - killing what is left of a tree, from within the process that adopts its orphans.
 *
 * Only children are killed by number: they are ours to reap, so their numbers cannot be given to anyone else before.
 * Whatever they leave behind becomes a child in turn (PR_SET_CHILD_SUBREAPER) and is met in the next pass. */
#include "sweep.h"

#include "freezer.h"
#include "proc.h"
#include "sys.h"

#include <sys/prctl.h>

/* linux/threads.h: PID_MAX_LIMIT */
enum { HIGHEST = 4 << 20 };

int tg_sweep_open(struct tg_sweep *ret_sweep, int listed)
{
    ret_sweep->children = listed ? tg_open_children() : -1;
#ifdef TG_ADOPTS_ALREADY
    /* For tests under an emulator that refuses the call: it was made before, and it lasts over an exec (prctl(2)). */
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

/* A number that was given to a process just now; -errno. The process is killed at once: it might be stopped else. */
static int newest(void)
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

static long ask_for_any(void)
{
    return tg_sys5(SYS_waitid, P_ALL, 0, NULL, WEXITED | WNOHANG | WNOWAIT | TG_WAIT_ANY, NULL);
}

/* Asks wait of each number from `first` to `last` whether it is a child's: it says ECHILD of any other. */
static int probe(int first, int last, tg_visit visit, void *context)
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

/* Children without /proc, or where a limit on descriptors keeps it shut. Numbers are given in ascending order: what descends
 * from here stands between our own and the newest, until the numbers begin anew. Then all that there may be are asked for,
 * which takes half a second. */
static int probe_all(tg_visit visit, void *context)
{
    int self = (int)tg_getpid(), top = newest();
    int found = top > self ? probe(self + 1, top - 1, visit, context) : 0;
    return found ? found : probe(2, HIGHEST, visit, context);
}

int tg_strike(struct tg_sweep *sweep, int root, int led)
{
    if (led)
        tg_signal_led(root, SIGKILL);
    if (sweep->children < 0)
        sweep->children = tg_open_children();
    int found = tg_each_child(sweep->children, kill_child, NULL);
    if (found > 0 || ask_for_any() == -ECHILD)
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

/* Whoever is left is a child. */
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

static int descends_from(int pid, int ancestor)
{
    struct tg_stat stat;
    /* The chain cannot be longer than there are processes; it may change under our eyes, so it is bounded. */
    for (int depth = 0; depth < 4096 && pid > 1; depth++) {
        if (tg_stat(pid, &stat) < 0)
            return 0;
        if (stat.ppid == ancestor)
            return 1;
        pid = stat.ppid;
    }
    return 0;
}

/* The handle is taken first and the process looked at afterwards, so that what was looked at is what is signalled. */
static int signal_member(int pid, void *context)
{
    const struct target *t = context;
    struct tg_stat stat;
    if (tg_stat(pid, &stat) < 0 || stat.pgrp != t->group)
        return 0;
    long fd = tg_sys2(SYS_pidfd_open, pid, 0);
    if (tg_stat(pid, &stat) == 0 && stat.pgrp == t->group && descends_from(pid, t->self))
        tg_signal_held((int)fd, pid, t->signal);
    if (fd >= 0)
        tg_close((int)fd);
    return 0;
}

/* Without /proc: as long as one child of ours is in the group, its number is taken, and the group is the tree's. */
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
