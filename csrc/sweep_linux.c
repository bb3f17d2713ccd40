/* sweep_linux.c - killing what is left of a tree, from within the process that adopts its orphans.
 *
 * Only children are killed by number: they are ours to reap, so their numbers cannot be given to anyone else before.
 * Whatever they leave behind becomes a child in turn (PR_SET_CHILD_SUBREAPER) and is met in the next pass. */
#include "sweep.h"

#include "proc.h"
#include "sys.h"

#include <sys/prctl.h>

int tg_adopt_orphans(void)
{
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

int tg_strike(int root, int led)
{
    if (led)
        tg_signal_led(root, SIGKILL);
    return tg_each_child(kill_child, NULL);
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

void tg_signal_descendants(int group, int signal)
{
    struct target target = {(int)tg_getpid(), group, signal};
    tg_each_process(signal_member, &target);
}
