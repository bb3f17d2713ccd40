/* guarded.c - the library's side of the lifeline.
 *
 * A guard's last word (TG_EMPTY, TG_FAILED) is held back until the guard itself has been reaped, so that "empty" leaves
 * nothing at all behind. */
#include "queue.h"
#include "tree.h"

#include "leaf.h"
#include "proc.h"
#include "usage.h"
#include "wire.h"

#include <string.h>
#include <sys/socket.h>

/* What a guard says is believed as far as its end bears it out: it goes by itself after its last word, and when its tree is
 * empty nothing lives in that one's cgroup. The status is not known (-1) where the host has reaped it. */
static int borne_out(const struct tg_tree *tree, int status)
{
    int went = status == -1 || WIFEXITED(status);
    if (tree->last.kind != TG_EMPTY)
        return tree->last.kind && went;
    return went && (status == -1 || WEXITSTATUS(status) == 0) &&
           (tree->cgroup < 0 || !tg_leaf_populated(tree->cgroup, tree->leaf));
}

/* A guard says a last word before it ends by itself, and does nothing that the kernel would end it for. One that ended so
 * before it had said anything is not what was built: its file is damaged, or belongs to another version. */
static int is_no_guard(const struct tg_tree *tree, int status)
{
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return !tree->root && (WIFEXITED(status) || signal == SIGSEGV || signal == SIGBUS || signal == SIGILL);
}

/* The guard is gone. Without a last word it either never ran its program, or was killed, or is none. */
static struct tg_event last_event(struct tg_tree *tree, int status)
{
    struct tg_event event = tree->last;
    if (tree->dismissed && event.kind != TG_FAILED) {
        event = tree->ended.kind ? tree->ended : tg_tree_event(tree, TG_EMPTY);
        event.kind = TG_EMPTY;
    } else if (!tree->dismissed && !borne_out(tree, status)) {
        struct tg_fault fault = {TG_STEP_NONE, 0};
        if (tree->start && tg_launch_done(&tree->start->launch, 0))
            fault = tree->start->launch.child.fault;
        /* An argument list that is too long for the guard would be too long for the root. */
        if (fault.step == TG_STEP_EXEC && fault.err != E2BIG)
            fault.step = TG_STEP_GUARD;
        if (!fault.step && is_no_guard(tree, status))
            fault = (struct tg_fault){TG_STEP_GUARD, ENOEXEC};
        event = fault.step ? tg_tree_failed(tree, fault.step, fault.err) : tg_tree_event(tree, TG_LOST);
    }
    event.tag = tree->tag;
    event.total = tree->total;
    return event;
}

static int reaped(struct tg_tree *tree, struct tg_event *ret_event)
{
    struct rusage usage;
    int status = -1;
    if (!tg_tree_reap(tree, WNOHANG, &status, &usage))
        return 0;
    *ret_event = last_event(tree, status);
    if (ret_event->kind == TG_LOST && status != -1)
        tg_status_into(ret_event, status);
    /* The number may be another's by now. */
    if (tree->closing)
        tg_tree_untold(tree);
    return 1;
}

/* The guard is dead, or about to be. Its lifeline, at its end, would keep the queue readable and the loop busy, and a guard on
 * the same processor could not end meanwhile: so its pidfd is watched instead. One that talks nonsense
 * is made to go. One that has said its last word goes by itself, or tg_tree_dismiss comes; so does one whose lifeline somebody
 * else has shut down, when it has ended its tree: killed, it would leave what it alone knows. The host may have reaped it, and its
 * number be another's: what is waited for and killed is what is held. */
static int close_down(struct tg_tree *tree, int nonsense, struct tg_event *ret_event)
{
    tg_queue_remove(tree->engine->queue, tree->fd);
    tg_close(tree->fd);
    tree->closing = 1;
    tree->engine->leaving++;
    tree->told = 0;
    int ours = tg_identity_hold(&tree->identity, tree->pid, &tree->fd);
    if (ours == 0)
        tree->reaped = 1, tree->engine->leaving--;
    if (reaped(tree, ret_event))
        return 1;
    if (ours > 0 && nonsense)
        tg_signal_held(tree->fd, tree->pid, SIGKILL);
    tree->told = tg_queue_add_child(tree->engine->queue, tree->pid, tree->fd, tree) == 0;
    if (tree->told)
        return 0;
    *ret_event = tg_tree_event(tree, TG_CLOSING);
    return 1;
}

/* Whether a guard can have said this, after what it said before. */
static int makes_sense(const struct tg_tree *tree, const struct tg_event *e)
{
    int failed = e->kind == TG_FAILED;
    if (e->kind < TG_STARTED || e->kind > TG_EMPTY || tree->last.kind || e->pid < 0)
        return 0;
    if ((e->kind == TG_STARTED || failed) && tree->root)
        return 0;
    if (e->kind == TG_STARTED && e->pid <= 1)
        return 0;
    if (e->step < TG_STEP_NONE || e->step >= TG_STEPS || failed != (e->step != TG_STEP_NONE) || failed != (e->err > 0))
        return 0;
    return e->code >= -1 && e->code <= 255 && e->signal >= 0 && e->signal <= TG_NSIG;
}

int tg_guarded_next(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (tree->reaped)
        return 0;
    if (tree->closing)
        return tree->told && (reaped(tree, ret_event) || tg_tree_told_early(tree, ret_event));
    long got = tg_recv(tree->fd, ret_event, sizeof *ret_event);
    /* A guard that left without having read our last order: the error comes once, and before what it had said. */
    if (got == -ECONNRESET)
        got = tg_recv(tree->fd, ret_event, sizeof *ret_event);
    if (got == -EAGAIN || got == -EINTR || got == -ENOMEM)
        return 0;
    /* One that talks nonsense guards nothing: it is lost. */
    if (got != sizeof *ret_event || !makes_sense(tree, ret_event))
        return close_down(tree, got > 0, ret_event);
    ret_event->tag = tree->tag;
    if (ret_event->kind == TG_STARTED) {
        tree->root = ret_event->pid;
        tg_start_free(&tree->start);
    }
    if (ret_event->kind == TG_ENDED)
        tree->ended = *ret_event;
    if (ret_event->kind != TG_EMPTY && ret_event->kind != TG_FAILED)
        return 1;
    tree->last = *ret_event;
    return close_down(tree, 0, ret_event);
}

int tg_guarded_poll(struct tg_tree *tree, struct tg_event *ret_event)
{
    return tree->closing && !tree->reaped && reaped(tree, ret_event);
}

/* Signals the guard, held so that nobody else is who has its number by now. 0, or -errno. */
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

int tg_guarded_wake(struct tg_tree *tree)
{
    struct tg_stat stat;
    int stopped = !tree->reaped && tg_stat(tree->pid, &stat) == 0 && (stat.state == 'T' || stat.state == 't');
    int ret = signal_guard(tree, SIGCONT);
    return ret < 0 ? ret : stopped;
}

int tg_guarded_dismiss(struct tg_tree *tree, int empty)
{
    int ret = signal_guard(tree, SIGKILL);
    tree->dismissed = ret == 0 && empty;
    /* Where somebody else holds a copy of its end, the guard's does not close the lifeline. */
    if (!tree->closing && !tree->reaped)
        shutdown(tree->fd, SHUT_RDWR);
    return ret;
}

static int give(struct tg_tree *tree, int kind, int signal)
{
    struct tg_order order = {kind, signal};
    long ret = tg_send(tree->fd, &order, sizeof order, MSG_DONTWAIT);
    if (ret == sizeof order)
        return 0;
    if (ret == -EPIPE || ret == -ECONNRESET)
        return -ESRCH;
    /* There is no room for more orders with a guard that does not read, or no memory for one. The end of the lifeline is an
     * order that needs neither. */
    if (kind == TG_ORDER_KILL)
        return shutdown(tree->fd, SHUT_WR) < 0 ? -errno : 0;
    return (int)ret;
}

int tg_guarded_order(struct tg_tree *tree, int kind, int signal)
{
    if (tree->closing || tree->reaped)
        return -ESRCH;
    int ret = give(tree, kind, signal);
    if (ret == 0)
        signal_guard(tree, SIGCONT);
    return ret;
}
