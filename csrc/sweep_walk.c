/* sweep_walk.c - killing what can be found of a tree where no process adopts orphans (macOS).
 *
 * Found are the members of the root's group and the descendants of it and of the guard, and who was found before. A
 * process whose parent has died before, and that is in another group, is lost to this. So nobody may die before all have
 * been found: they are stopped first, again and again until a look finds nobody running, and killed then. */
#include "sweep.h"

#include "proc.h"

#include <stdlib.h>

enum { MOST = 16384, LOOKS = 8 };

struct seen {
    int pid;
    int member;
    struct tg_stat stat;
};

/* By number. */
static struct seen seen[MOST];
static int count;

/* The members that the last look has found. One that was killed may outlive its parent, as nobody's child, until it is
 * given a processor to die on: the tree is not empty before. */
static struct seen found[MOST];
static int nfound;

int tg_sweep_open(struct tg_sweep *ret_sweep, int listed)
{
    (void)listed;
    ret_sweep->children = -1;
    return 0;
}

static int note(int pid, void *context)
{
    struct seen *s = &seen[count];
    (void)context;
    if (tg_stat(pid, &s->stat) < 0 || tg_ended(s->stat.state))
        return 0;
    s->pid = pid;
    s->member = 0;
    return ++count == MOST;
}

static int by_pid(const void *a, const void *b)
{
    return ((const struct seen *)a)->pid - ((const struct seen *)b)->pid;
}

static const struct seen *entry(int pid, const struct seen *all, int n)
{
    const struct seen key = {.pid = pid};
    return bsearch(&key, all, (size_t)n, sizeof key, by_pid);
}

static int is_member(int pid)
{
    const struct seen *s = entry(pid, seen, count);
    return s && s->member;
}

static int was_found(const struct seen *s)
{
    const struct seen *before = entry(s->pid, found, nfound);
    return before && before->stat.started == s->stat.started;
}

static void remember(void)
{
    nfound = 0;
    for (int i = 0; i < count; i++)
        if (seen[i].member)
            found[nfound++] = seen[i];
}

/* The group's number is taken as long as it has members: whoever has it as process id, after the root was reaped, is a
 * stranger, and so is the group. */
static int owns_group(int root, int led)
{
    struct tg_stat stat;
    int ret = led ? -ESRCH : tg_stat(root, &stat);
    return ret == -ESRCH || ret == -ENOENT;
}

/* Finds the tree. Returns how many of its processes are not stopped yet. */
static int look(int root, int led)
{
    int self = (int)tg_getpid(), group = owns_group(root, led) ? root : 0, running = 0, more = 1;
    count = 0;
    tg_each_process(note, NULL);
    qsort(seen, (size_t)count, sizeof *seen, by_pid);
    while (more) {
        more = 0;
        for (int i = 0; i < count; i++) {
            struct seen *s = &seen[i];
            if (s->member || s->pid == self)
                continue;
            s->member = s->stat.ppid == self || is_member(s->stat.ppid) || (group && s->stat.pgrp == group) ||
                        was_found(s);
            more |= s->member;
            running += s->member && s->stat.state != 'T';
        }
    }
    remember();
    return running;
}

/* Who was found a moment ago is looked at again: the number might be another's by now. */
static void signal_found(int signal)
{
    struct tg_stat stat;
    for (int i = 0; i < nfound; i++)
        if (tg_stat(found[i].pid, &stat) == 0 && stat.started == found[i].stat.started)
            tg_kill(found[i].pid, signal);
}

int tg_strike(struct tg_sweep *sweep, int root, int led)
{
    (void)sweep;
    /* What may not be signalled never stops. */
    for (int looks = 0; look(root, led) > 0 && looks < LOOKS; looks++)
        signal_found(SIGSTOP);
    if (led)
        tg_signal_led(root, SIGKILL);
    signal_found(SIGKILL);
    return 0;
}

void tg_sweep_release(const struct tg_sweep *sweep)
{
    (void)sweep;
}

/* Asked often while a tree without its root lives on, so one that was found is looked at before all others are. */
int tg_others(int root)
{
    static int last;
    struct tg_stat stat;
    if (last && owns_group(root, 0) && tg_stat(last, &stat) == 0 && stat.pgrp == root && !tg_ended(stat.state))
        return 1;
    last = 0;
    look(root, 0);
    if (nfound)
        last = found[nfound - 1].pid;
    return nfound;
}

void tg_signal_descendants(int group, int signal)
{
    if (owns_group(group, 0))
        tg_kill(-group, signal);
}
