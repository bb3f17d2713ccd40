/* tree_pgrp.c - trees without a guard: the root is our child, and only its process group identifies the other
 * processes. */
#include "tree.h"

#include "asking.h"
#include "proc.h"
#include "queue.h"
#include "usage.h"

/* Returns whether the root runs its program, or has ended without. With TG_METHOD_FORK a copy of this process that
 * another thread forks may hold the child's end of the pipe, which then tells of no exec. tg_engine_forked could not
 * close it reliably: the kernel copies the descriptors before the memory, in which the number could be found. So ask for
 * the process as well, and for a fault after that, because a child reports a fault before it ends. */
static int is_launched(struct tg_tree *tree)
{
    struct tg_launch *launch = &tree->start->launch;
    struct tg_stat stat;
    if (tg_launch_done(launch, 0))
        return 1;
    if (launch->status_fd < 0 || tg_stat(tree->pid, &stat) < 0 || !(stat.executed || tg_ended(stat.state)))
        return 0;
    tg_launch_done(launch, 0);
    return 1;
}

static int check_exec(struct tg_tree *tree, struct tg_event *ret_event)
{
    struct rusage usage;
    int status;
    if (!is_launched(tree))
        return 0;
    struct tg_fault fault = tree->start->launch.child.fault;
    tg_start_free(&tree->start);
    if (fault.step) {
        while (!tg_tree_reap(tree, 0, &status, &usage))
            ;
        tg_tree_unwatch(tree);
        *ret_event = tg_tree_failed(tree, fault.step, fault.err);
    } else {
        tree->root = tree->pid;
        *ret_event = tg_tree_event(tree, TG_STARTED);
    }
    return 1;
}

/* Returns whether reading the state of a process failed for a reason that says nothing about the process. */
static int is_unknown(int ret)
{
    return ret < 0 && ret != -ENOENT && ret != -ESRCH && ret != -EACCES && ret != -EPERM;
}

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1 << 2)
#endif

/* Signals the group through the root's handle. The handle refers to the group even after the root was reaped. The
 * signal reaches all members atomically, and never another group with the same id. Linux 6.9; -EINVAL before. */
static int signal_by_handle(const struct tg_tree *tree, int signal)
{
#ifdef SYS_pidfd_send_signal
    if (tree->fd >= 0)
        return (int)tg_sys4(SYS_pidfd_send_signal, tree->fd, signal, NULL, PIDFD_SIGNAL_PROCESS_GROUP);
#endif
    (void)tree, (void)signal;
    return -ENOSYS;
}

/* Returns whether the host has reaped the root. Then its process id may belong to another process, even to another
 * child of ours. */
static int reaped_by_host(const struct tg_tree *tree)
{
#ifdef SYS_pidfd_send_signal
    return tree->fd >= 0 && tg_sys4(SYS_pidfd_send_signal, tree->fd, 0, NULL, 0) == -ESRCH;
#else
    (void)tree;
    return 0;
#endif
}

struct scan {
    int group;
    int found;
    int vanished;       /* a listed process ended before it was read; it may have left a child that was not listed */
    struct tg_remains remains;
};

static int member_state(int pid, int group)
{
    struct tg_stat stat;
    int ret = tg_stat(pid, &stat);
    return ret < 0 ? ret : stat.pgrp == group ? stat.state : 0;
}

static int is_alive(int state)
{
    return state < 0 ? is_unknown(state) : state != 0 && !tg_ended((char)state);
}

static int find_member(int pid, void *context)
{
    struct scan *s = context;
    int state = member_state(pid, s->group);
    if (is_alive(state)) {
        s->found = pid;
    } else if (state == -ENOENT || state == -ESRCH) {
        s->vanished = 1;
    } else if (state > 0) {
        s->remains.count++;
        s->remains.sum += (unsigned)pid;
    }
    return s->found;
}

/* Returns whether the group is gone, after its leader was reaped.
 *
 * A group id cannot be reused while the group has members, so if a process has it as its process id, the group is
 * another one. Members that have ended but are not reaped, because init is slow or does not reap, do not count: nothing
 * can end them. But each may have forked before it ended, and a listing omits processes that are created during it. So
 * the group is gone only if two consecutive listings found the same ended members and no listed process vanished. */
static int group_gone(struct tg_tree *tree)
{
    struct scan scan = {.group = tree->root};
    struct tg_remains before = tree->remains;
    struct tg_stat stat;
    if (tg_kill(-tree->root, 0) == -ESRCH || signal_by_handle(tree, 0) == -ESRCH || tg_stat(tree->root, &stat) == 0)
        return 1;
    if (tree->member && is_alive(member_state(tree->member, tree->root)))
        return 0;
    int ret = tg_each_process(find_member, &scan);
    tree->member = scan.found;
    tree->remains = scan.remains;
    return !scan.found && !scan.vanished && !is_unknown(ret) && scan.remains.count > 0 &&
           scan.remains.count == before.count && scan.remains.sum == before.sum;
}

static int check_exit(struct tg_tree *tree, struct tg_event *ret_event)
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
    tg_tree_unwatch(tree);
    tree->last = *ret_event;
    tree->last.kind = TG_EMPTY;
    if (group_gone(tree))
        ret_event->kind = TG_EMPTY;
    return 1;
}

static int pgrp_next(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (tree->reaped || !tree->watched)
        return 0;
    if (!tree->start)
        return check_exit(tree, ret_event) || tg_tree_poll_instead(tree, ret_event);
    if (!check_exec(tree, ret_event))
        return tg_tree_poll_instead(tree, ret_event);
    /* The root has ended too, but this batch may have no space for that event. */
    if (tg_queue_exit_oneshot)
        tg_tree_unwatch(tree);
    return 1;
}

static int pgrp_poll(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (tree->start)
        return check_exec(tree, ret_event);
    if (!tree->reaped)
        return !tree->watched && check_exit(tree, ret_event);
    if (!group_gone(tree))
        return 0;
    *ret_event = tree->last;
    return 1;
}

/* Signals the group by its id, which cannot be reused while the group has members. If a process has the id as its
 * process id, the group is not the tree's. An error is possible only if the last member ends and all ids wrap around
 * between the check and the signal. Signalling the members one by one through handles would be worse: a process that
 * keeps forking and exiting would never be hit. */
static int signal_by_number(const struct tg_tree *tree, int signal)
{
    struct tg_stat stat;
    int ret = tg_stat(tree->root, &stat);
    if (ret == 0 || is_unknown(ret))
        return ret == 0 ? -ESRCH : ret;
    return (int)tg_kill(-tree->root, signal);
}

static int signal_group(struct tg_tree *tree, int signal)
{
    int ret = signal_by_handle(tree, signal);
    if (ret == 0)
        return 0;
    if (tree->reaped || reaped_by_host(tree))
        return ret == -ESRCH || !tree->root ? -ESRCH : signal_by_number(tree, signal);
    /* Until the root is reaped, its process id and its group id are its own. It may not have created its group yet. */
    ret = (int)tg_kill(-tree->pid, signal);
    if (ret == -ESRCH)
        ret = (int)tg_kill(tree->pid, signal);
    return ret;
}

static int pgrp_signal(struct tg_tree *tree, int signal)
{
    int ret = signal_group(tree, signal & ~TG_ASK);
    /* The signal has just reached the group. Another one has its id only if its last member ended and all ids wrapped
     * around since then. */
    if (ret == 0 && (signal & TG_ASK))
        tg_let_hear(tree->root ? tree->root : tree->pid, 0);
    return ret;
}

static int pgrp_kill(struct tg_tree *tree)
{
    return pgrp_signal(tree, SIGKILL);
}

/* There is no guard to wake or to dismiss. */
static int pgrp_wake(struct tg_tree *tree)
{
    (void)tree;
    return 0;
}

static int pgrp_dismiss(struct tg_tree *tree, int empty)
{
    (void)tree, (void)empty;
    return -ENOTSUP;
}

const struct tg_tree_ops tg_tree_pgrp_ops = {
    .next = pgrp_next,
    .poll = pgrp_poll,
    .signal = pgrp_signal,
    .kill = pgrp_kill,
    .wake = pgrp_wake,
    .dismiss = pgrp_dismiss,
};
