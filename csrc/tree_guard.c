/* tree_guard.c - trees with a guard: the library's end of the lifeline.
 *
 * The library withholds the last event of a guard (TG_EMPTY, TG_FAILED) until the guard itself is reaped, so that after
 * "empty" no process is left at all. */
#include "queue.h"
#include "tree.h"

#include "leaf.h"
#include "proc.h"
#include "rights.h"
#include "usage.h"
#include "wire.h"

#include <string.h>
#include <sys/socket.h>

/* Returns whether the guard's end confirms its last event. After that event a guard exits by itself, and after TG_EMPTY
 * no process lives in the tree's cgroup. The status is not known (-1) if the host has reaped the guard. */
static int is_confirmed(const struct tg_tree *tree, int status)
{
    int went = status == -1 || WIFEXITED(status);
    if (tree->last.kind != TG_EMPTY)
        return tree->last.kind && went;
    return went && (status == -1 || WEXITSTATUS(status) == 0) &&
           (tree->cgroup < 0 || !tg_leaf_populated(tree->cgroup, tree->leaf));
}

/* A guard always sends a last event before it exits, and does nothing that causes a fatal signal of the kernel. So if
 * it ends that way before any event, its file is damaged or belongs to another version. */
static int is_not_a_guard(const struct tg_tree *tree, int status)
{
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return !tree->root && (WIFEXITED(status) || signal == SIGSEGV || signal == SIGBUS || signal == SIGILL);
}

/* Returns the last event of a tree whose guard has ended. Without an event from the guard, the guard never ran its
 * program, was killed, or is not a guard. */
static struct tg_event last_event(struct tg_tree *tree, int status)
{
    struct tg_event event = tree->last;
    if (tree->adopted && !tree->root) {
        /* The guard did not take us for its supervisor, and its tree goes on. */
        event = tg_tree_failed(tree, TG_STEP_LIFELINE, ECONNREFUSED);
    } else if (tree->dismissed && event.kind != TG_FAILED) {
        event = tree->ended.kind ? tree->ended : tg_tree_event(tree, TG_EMPTY);
        event.kind = TG_EMPTY;
    } else if (!tree->dismissed && !is_confirmed(tree, status)) {
        struct tg_fault fault = {TG_STEP_NONE, 0};
        if (tree->start && tg_launch_done(&tree->start->launch, 0))
            fault = tree->start->launch.child.fault;
        /* An argument list that is too long for the guard would also be too long for the root. */
        if (fault.step == TG_STEP_EXEC && fault.err != E2BIG)
            fault.step = TG_STEP_GUARD;
        if (!fault.step && is_not_a_guard(tree, status))
            fault = (struct tg_fault){TG_STEP_GUARD, ENOEXEC};
        event = fault.step ? tg_tree_failed(tree, fault.step, fault.err) : tg_tree_event(tree, TG_LOST);
    }
    event.tag = tree->tag;
    event.total = tree->total;
    /* Until its exec a guard borrows the supervisor's memory, and the kernel counts the peak of that as the guard's own
     * (exec_mmap in fs/exec.c). The guard's report covers the processes that it has reaped, and not itself. */
    event.total.max_rss_kib = tree->last.total.max_rss_kib;
    return event;
}

static int try_reap(struct tg_tree *tree, struct tg_event *ret_event)
{
    struct rusage usage;
    int status = -1;
    if (!tg_tree_reap(tree, WNOHANG, &status, &usage))
        return 0;
    *ret_event = last_event(tree, status);
    if (ret_event->kind == TG_LOST && status != -1)
        tg_status_into(ret_event, status);
    /* The process id may belong to another process by now. */
    if (tree->closing)
        tg_tree_unwatch(tree);
    return 1;
}

/* Closes the lifeline of a guard that is dead or about to end.
 *
 * At its end the lifeline would stay readable, keep the loop busy, and keep a guard on the same processor from ending.
 * So watch the guard's pidfd instead. Kill a guard that sent an invalid message. Do not kill a guard that has sent its
 * last event: it ends by itself, or tg_tree_dismiss ends it. The same holds for a guard whose lifeline another process
 * has shut down: it ends after it has ended its tree, and killing it would lose processes that only it knows. The host
 * may have reaped the guard and its process id may be reused, so wait for it and kill it through its handle. */
static int close_down(struct tg_tree *tree, int invalid, struct tg_event *ret_event)
{
    if (tree->watched)
        tg_queue_remove(tree->engine->queue, tree->fd);
    tg_close(tree->fd);
    tree->closing = 1;
    tg_tree_count_leaving(tree, 1);
    tree->watched = 0;
    int ours = tg_identity_hold(&tree->identity, tree->pid, &tree->fd);
    if (ours == 0)
        tree->reaped = 1, tg_tree_count_leaving(tree, -1);
    if (try_reap(tree, ret_event))
        return 1;
    if (ours > 0 && invalid)
        tg_signal_held(tree->fd, tree->pid, SIGKILL);
    if (tree->alone)
        return 0;
    tree->watched = tg_queue_add_child(tree->engine->queue, tree->pid, tree->fd, tree) == 0;
    if (tree->watched)
        return 0;
    *ret_event = tg_tree_event(tree, TG_CLOSING);
    return 1;
}

/* Returns whether a guard can have sent this event after its earlier ones. */
static int is_valid(const struct tg_tree *tree, const struct tg_event *e)
{
    int failed = e->kind == TG_FAILED;
    if (e->kind == TG_RELEASED)
        return tree->root && !tree->last.kind && e->err >= 0;
    if (e->kind < TG_STARTED || e->kind > TG_EMPTY || tree->last.kind || e->pid < 0)
        return 0;
    if ((e->kind == TG_STARTED || failed) && tree->root)
        return 0;
    if (e->kind == TG_STARTED && e->pid <= 1)
        return 0;
    if (e->step < TG_STEP_NONE || e->step >= TG_STEPS || failed != (e->step != TG_STEP_NONE) || failed != (e->err > 0))
        return 0;
    return e->code >= TG_DUMPED && e->code <= 255 && e->signal >= 0 && e->signal <= TG_NSIG;
}

/* Until its start is known, a tree in a PID namespace may send a handle of its init. */
static long receive(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (!tree->inside || tree->root)
        return tg_recv(tree->fd, ret_event, sizeof *ret_event);
    return tg_recv_with(tree->fd, ret_event, sizeof *ret_event, &tree->init);
}

static int guard_next(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (tree->reaped)
        return 0;
    if (tree->closing)
        return tree->watched && (try_reap(tree, ret_event) || tg_tree_poll_instead(tree, ret_event));
    long got = receive(tree, ret_event);
    /* The guard has ended without reading our last order. This error comes once, before the events that the guard
     * sent. */
    if (got == -ECONNRESET)
        got = receive(tree, ret_event);
    if (got == -EAGAIN || got == -EINTR || got == -ENOMEM)
        return 0;
    /* A guard that sends an invalid message is not reliable: treat it as lost. */
    if (got != sizeof *ret_event || !is_valid(tree, ret_event))
        return close_down(tree, got > 0, ret_event);
    ret_event->tag = tree->tag;
    if (ret_event->kind == TG_STARTED) {
        tree->root = ret_event->pid;
        tg_start_free(&tree->start);
    }
    if (ret_event->kind == TG_RELEASED)
        tree->answer = 1 + ret_event->err;
    if (ret_event->kind == TG_ENDED)
        tree->ended = *ret_event;
    if (ret_event->kind != TG_EMPTY && ret_event->kind != TG_FAILED)
        return 1;
    tree->last = *ret_event;
    return close_down(tree, 0, ret_event);
}

static int guard_poll(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (tree->closing)
        return !tree->reaped && try_reap(tree, ret_event);
    return tree->alone && guard_next(tree, ret_event);
}

/* Signals the guard through a handle, so that the signal cannot reach another process with the same process id. Returns
 * 0, or -errno. */
static int signal_guard(struct tg_tree *tree, int signal)
{
    int held = -1;
    if (tree->reaped)
        return -ESRCH;
    int ours = tree->closing && tree->fd >= 0 ? 1 : tg_identity_hold(&tree->identity, tree->pid, &held);
    if (ours <= 0)
        return ours ? ours : -ESRCH;
    tg_signal_held(held >= 0 ? held : tree->fd, tree->pid, signal);
    if (held >= 0)
        tg_close(held);
    return 0;
}

static int guard_wake(struct tg_tree *tree)
{
    struct tg_stat stat;
    int stopped = !tree->reaped && tg_stat(tree->pid, &stat) == 0 && (stat.state == 'T' || stat.state == 't');
    int ret = signal_guard(tree, SIGCONT);
    return ret < 0 ? ret : stopped;
}

static int guard_dismiss(struct tg_tree *tree, int empty)
{
    int ret = signal_guard(tree, SIGKILL);
    tree->dismissed = ret == 0 && empty;
    /* Another process may hold a copy of the guard's end. Then the end of the guard does not close the lifeline, so
     * shut it down. */
    if (!tree->closing && !tree->reaped)
        shutdown(tree->fd, SHUT_RDWR);
    return ret;
}

/* Order matters: the guard goes on after the order is in the socket, so that it finds the order however soon it is
 * stopped again. */
int tg_tree_order(struct tg_tree *tree, const void *message, size_t size)
{
    if (tree->closing || tree->reaped)
        return -ESRCH;
    long ret = tg_send(tree->fd, message, size, MSG_DONTWAIT);
    if (ret == -EPIPE || ret == -ECONNRESET)
        return -ESRCH;
    if (ret < 0)
        return (int)ret;
    signal_guard(tree, SIGCONT);
    return 0;
}

static int guard_signal(struct tg_tree *tree, int signal)
{
    return tg_tree_order(tree, &(struct tg_order){TG_ORDER_SIGNAL, signal}, sizeof(struct tg_order));
}

static int guard_kill(struct tg_tree *tree)
{
    int ret = tg_tree_order(tree, &(struct tg_order){TG_ORDER_KILL, 0}, sizeof(struct tg_order));
    if (ret == 0 || ret == -ESRCH)
        return ret;
    /* The socket buffer is full because the guard does not read, or memory is short. Shutting down the lifeline is an
     * order to kill that needs neither. */
    if (shutdown(tree->fd, SHUT_WR) < 0)
        return -errno;
    signal_guard(tree, SIGCONT);
    return 0;
}

const struct tg_tree_ops tg_tree_guard_ops = {
    .next = guard_next,
    .poll = guard_poll,
    .signal = guard_signal,
    .kill = guard_kill,
    .wake = guard_wake,
    .dismiss = guard_dismiss,
};
