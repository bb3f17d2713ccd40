/* darwin/sweep.c - kills the processes of a tree on macOS, where no process can adopt orphans.
 *
 * A sweep finds the members of the root's group, the descendants of these and of the guard, and all processes that an
 * earlier pass has found. It cannot find a process in another group whose parent has already died. So no process may
 * die before all are found: the sweep stops them first, repeats until it finds no running process, and kills them
 * afterwards. */
#include "../sweep.h"

#include "../proc.h"

#include <stdlib.h>

enum { MAX_PROCESSES = 16384, MAX_PASSES = 8 };

struct seen {
    int pid;
    int member;
    struct tg_stat stat;
};

/* Sorted by process id. */
static struct seen seen[MAX_PROCESSES];
static int count;

/* The members that the last pass has found. A killed process may outlive its parent, as an orphan, until the scheduler
 * runs it to let it exit. The tree is not empty before that. */
static struct seen found[MAX_PROCESSES];
static int nfound;

int tg_sweep_open(struct tg_sweep *ret_sweep, int listed)
{
    (void)listed;
    ret_sweep->children = -1;
    return 0;
}

static int add_process(int pid, void *context)
{
    struct seen *s = &seen[count];
    (void)context;
    if (tg_stat(pid, &s->stat) < 0 || tg_ended(s->stat.state))
        return 0;
    s->pid = pid;
    s->member = 0;
    return ++count == MAX_PROCESSES;
}

static int by_pid(const void *a, const void *b)
{
    return ((const struct seen *)a)->pid - ((const struct seen *)b)->pid;
}

static const struct seen *find_by_pid(int pid, const struct seen *all, int n)
{
    const struct seen key = {.pid = pid};
    return bsearch(&key, all, (size_t)n, sizeof key, by_pid);
}

static int is_member(int pid)
{
    const struct seen *s = find_by_pid(pid, seen, count);
    return s && s->member;
}

static int was_found(const struct seen *s)
{
    const struct seen *before = find_by_pid(s->pid, found, nfound);
    return before && before->stat.started == s->stat.started;
}

static void remember(void)
{
    nfound = 0;
    for (int i = 0; i < count; i++)
        if (seen[i].member)
            found[nfound++] = seen[i];
}

/* A process group id stays reserved while the group has members. If the root was reaped and another process has its id,
 * the group is not the tree's. */
static int owns_group(int root, int led)
{
    struct tg_stat stat;
    int ret = led ? -ESRCH : tg_stat(root, &stat);
    return ret == -ESRCH || ret == -ENOENT;
}

/* Finds the tree. Returns the number of its processes that are not stopped yet. */
static int find_members(int root, int led)
{
    int self = (int)tg_getpid(), group = owns_group(root, led) ? root : 0, running = 0, more = 1;
    count = 0;
    tg_each_process(add_process, NULL);
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

/* Checks the start time again before sending: the process id may belong to another process by now. */
static void signal_found(int signal)
{
    struct tg_stat stat;
    for (int i = 0; i < nfound; i++)
        if (tg_stat(found[i].pid, &stat) == 0 && stat.started == found[i].stat.started)
            tg_kill(found[i].pid, signal);
}

int tg_kill_pass(struct tg_sweep *sweep, int root, int led)
{
    (void)sweep;
    /* A process that the guard may not signal never stops, so limit the number of passes. */
    for (int passes = 0; find_members(root, led) > 0 && passes < MAX_PASSES; passes++)
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

/* The guard calls this often while a tree lives on without its root, so check one known member before scanning all
 * processes. */
int tg_others(int root)
{
    static int last;
    struct tg_stat stat;
    if (last && owns_group(root, 0) && tg_stat(last, &stat) == 0 && stat.pgrp == root && !tg_ended(stat.state))
        return 1;
    last = 0;
    find_members(root, 0);
    if (nfound)
        last = found[nfound - 1].pid;
    return nfound;
}

void tg_signal_descendants(int group, int signal)
{
    if (owns_group(group, 0))
        tg_kill(-group, signal);
}
