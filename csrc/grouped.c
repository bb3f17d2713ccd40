/* grouped.c - a tree without a guard: the root is our child, and its process group is all that we know of the rest. */
#include "tree.h"

#include "proc.h"
#include "queue.h"
#include "usage.h"

static int begun(struct tg_tree *tree, struct tg_event *ret_event)
{
    struct rusage usage;
    int status;
    if (!tg_launch_done(&tree->start->launch, 0))
        return 0;
    struct tg_fault fault = tree->start->launch.child.fault;
    tg_start_free(&tree->start);
    if (fault.step) {
        while (!tg_tree_reap(tree, 0, &status, &usage))
            ;
        tg_tree_untold(tree);
        *ret_event = tg_tree_failed(tree, fault.step, fault.err);
    } else {
        tree->root = tree->pid;
        *ret_event = tg_tree_event(tree, TG_STARTED);
    }
    return 1;
}

/* Whether a look at a process failed for a reason that is not its own: then nothing is known of it. */
static int unseen(int ret)
{
    return ret < 0 && ret != -ENOENT && ret != -ESRCH && ret != -EACCES && ret != -EPERM;
}

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1 << 2)
#endif

/* By the root's handle, which stays its group's when the root was reaped: all of it is hit at once, and nobody who got its
 * number. Linux 6.9; -EINVAL before. */
static int signal_at_once(const struct tg_tree *tree, int signal)
{
#ifdef SYS_pidfd_send_signal
    if (tree->fd >= 0)
        return (int)tg_sys4(SYS_pidfd_send_signal, tree->fd, signal, NULL, PIDFD_SIGNAL_PROCESS_GROUP);
#endif
    (void)tree, (void)signal;
    return -ENOSYS;
}

/* Somebody else has waited for the root: its number may be another's, and that one a child of ours as well. */
static int reaped_by_host(const struct tg_tree *tree)
{
#ifdef SYS_pidfd_send_signal
    return tree->fd >= 0 && tg_sys4(SYS_pidfd_send_signal, tree->fd, 0, NULL, 0) == -ESRCH;
#else
    (void)tree;
    return 0;
#endif
}

struct search {
    int group;
    int found;
    int vanished;       /* was listed, and gone when it was looked at: it may have left a child that was not listed */
    struct tg_remains remains;
};

static int member_state(int pid, int group)
{
    struct tg_stat stat;
    int ret = tg_stat(pid, &stat);
    return ret < 0 ? ret : stat.pgrp == group ? stat.state : 0;
}

static int lives(int state)
{
    return state < 0 ? unseen(state) : state != 0 && !tg_ended((char)state);
}

static int find_member(int pid, void *context)
{
    struct search *s = context;
    int state = member_state(pid, s->group);
    if (lives(state)) {
        s->found = pid;
    } else if (state == -ENOENT || state == -ESRCH) {
        s->vanished = 1;
    } else if (state > 0) {
        s->remains.count++;
        s->remains.sum += (unsigned)pid;
    }
    return s->found;
}

/* The leader was reaped. A group's number is taken as long as it has members, so if somebody has it as process id,
 * the group is another. Members that ended but were not reaped - by an init that is late, or is none - are no
 * reason to wait: they are nobody's to end. But each may have forked before it ended, and a listing misses who is born
 * during it: that they are all is known when two listings in a row found the same, and nobody vanished. */
static int group_gone(struct tg_tree *tree)
{
    struct search search = {.group = tree->root};
    struct tg_remains before = tree->remains;
    struct tg_stat stat;
    if (tg_kill(-tree->root, 0) == -ESRCH || signal_at_once(tree, 0) == -ESRCH || tg_stat(tree->root, &stat) == 0)
        return 1;
    if (tree->member && lives(member_state(tree->member, tree->root)))
        return 0;
    int ret = tg_each_process(find_member, &search);
    tree->member = search.found;
    tree->remains = search.remains;
    return !search.found && !search.vanished && !unseen(ret) && search.remains.count > 0 &&
           search.remains.count == before.count && search.remains.sum == before.sum;
}

static int ended(struct tg_tree *tree, struct tg_event *ret_event)
{
    struct rusage usage;
    int status = -1;
    if (!tg_tree_reap(tree, WNOHANG, &status, &usage))
        return 0;
    *ret_event = tg_tree_event(tree, TG_ENDED);
    if (status != -1) {
        tg_status_into(ret_event, status);
        ret_event->usage = ret_event->total = tree->total;
    }
    tg_tree_untold(tree);
    tree->last = *ret_event;
    tree->last.kind = TG_EMPTY;
    if (group_gone(tree))
        ret_event->kind = TG_EMPTY;
    return 1;
}

int tg_grouped_next(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (tree->reaped || !tree->told)
        return 0;
    if (!tree->start)
        return ended(tree, ret_event) || tg_tree_told_early(tree, ret_event);
    if (!begun(tree, ret_event))
        return tg_tree_told_early(tree, ret_event);
    /* It has ended, too: there may be no room for that in this batch. */
    if (tg_queue_tells_once)
        tg_tree_untold(tree);
    return 1;
}

int tg_grouped_poll(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (tree->start)
        return begun(tree, ret_event);
    if (!tree->reaped)
        return !tree->told && ended(tree, ret_event);
    if (!group_gone(tree))
        return 0;
    *ret_event = tree->last;
    return 1;
}

/* By its number, which is taken as long as the group has members: who has it as process id is a stranger, and so is the
 * group. Between look and signal the last member would have to end, and all numbers to go round. Members looked at one by
 * one could be held by handles, but who forks on and ends is gone before it is hit. */
static int signal_leaderless(const struct tg_tree *tree, int signal)
{
    struct tg_stat stat;
    int ret = tg_stat(tree->root, &stat);
    if (ret == 0 || unseen(ret))
        return ret == 0 ? -ESRCH : ret;
    return (int)tg_kill(-tree->root, signal);
}

int tg_grouped_signal(struct tg_tree *tree, int signal)
{
    int ret = signal_at_once(tree, signal);
    if (ret == 0)
        return 0;
    if (tree->reaped || reaped_by_host(tree))
        return ret == -ESRCH || !tree->root ? -ESRCH : signal_leaderless(tree, signal);
    /* Until it has been reaped, the number is the root's, and so is the group - if it has made it already. */
    ret = (int)tg_kill(-tree->pid, signal);
    if (ret == -ESRCH)
        ret = (int)tg_kill(tree->pid, signal);
    return ret;
}
