/* guard.c - the process between supervisor and root. Each tree has one guard.
 *
 * Where the system lets the guard adopt all orphans of the tree, ECHILD from wait means that the tree is empty. The
 * guard ends the tree on an order, when the lifeline closes, and when the supervisor ends. It watches the supervisor
 * itself, because a forked copy of the supervisor may hold the lifeline open. All signals are blocked from the start:
 * only SIGKILL and SIGSTOP reach the guard. */
#include "guard.h"

#include "asking.h"
#include "handover.h"
#include "relay.h"
#include "rendezvous.h"
#include "trial.h"

/* POLL_MS: polling interval for events that have no notification: the end of a supervisor without a pidfd, and of
 * processes that the guard cannot reap. EXEC_WAIT_MS: how long the guard waits for the exec at first. EXEC_POLL_MS:
 * polling interval for an exec that takes longer. */
enum { POLL_MS = 20, EXEC_WAIT_MS = 5, EXEC_POLL_MS = 5 };

/* How many orders of a supervisor that has ended are read. A copy of its socket could send orders forever. */
enum { LAST_ORDERS = 1024 };

/* Polling interval for orphans after the root's end. They may end without a SIGCHLD (clone3(2), CLONE_AUTOREAP, Linux
 * 7.1). */
enum { ORPHAN_POLL_MS = 1000 };

static void signal_group(const struct guard *g, int signal)
{
    /* Once the leader is reaped, the group id can be reused. */
    if (g->end.kind)
        tg_signal_descendants(g->root, signal & ~TG_ASK);
    else
        tg_signal_led(g->root, signal & ~TG_ASK);
    if (signal & TG_ASK)
        tg_let_hear(g->root, g->end.kind ? (int)tg_getpid() : 0);
}

static void on_hang_up(struct guard *g)
{
    if (g->listener >= 0)
        tg_guard_detach(g);
    else
        g->ending = g->hung_up = 1;
}

/* Reads an order. Ignores messages that are not orders and the beginnings of longer messages. Returns whether there was
 * a message. */
static int read_order(struct guard *g)
{
    struct tg_release message;
    const struct tg_order *order = &message.order;
    /* A stream does not keep messages apart (wire.h). Trees are not released there. */
    size_t size = TG_LIFELINE_KIND == SOCK_STREAM ? sizeof *order : sizeof message;
    int sender = 0;
    long got = g->knows_senders ? tg_rendezvous_receive(g->watch.lifeline, &message, size, &sender)
                                : tg_recv(g->watch.lifeline, &message, size);
    if (got == -EAGAIN || got == -EINTR || got == -ENOMEM)
        return 0;
    if (got <= 0)
        on_hang_up(g);
    else if (got == sizeof message && order->order == TG_ORDER_RELEASE && !message.name[TG_RELEASE_NAME - 1])
        tg_guard_release(g, message.name, sender);
    else if (got == sizeof *order && order->order == TG_ORDER_KILL)
        g->ending = 1;
    else if (got == sizeof *order && order->order == TG_ORDER_RETAIN)
        tg_guard_retain(g);
    else if (got == sizeof *order && order->order == TG_ORDER_SIGNAL)
        signal_group(g, order->signal);
    return got > 0;
}

/* The supervisor has ended. If that is not to end the tree, its last orders count: they may take that back. */
static void on_supervisors_end(struct guard *g)
{
    for (int left = LAST_ORDERS; g->listener >= 0 && !g->ending && left && read_order(g); left--)
        ;
    if (g->listener < 0)
        g->ending = 1;
    else if (g->watch.lifeline >= 0)
        tg_guard_detach(g);
}

/* Milliseconds until the lease ends; INT32_MAX without a lease. */
static int lease_left(const struct guard *g)
{
    if (!g->lease)
        return INT32_MAX;
    int64_t left = g->lease_ms - (tg_clock() - *g->lease) / 1000000;
    return left > 0 ? (int)left : 0;
}

static int min_timeout(int timeout, int other)
{
    return other == INT32_MAX || (timeout >= 0 && timeout < other) ? timeout : other;
}

/* Returns how long the guard can wait for events, in milliseconds; -1: no polling is necessary. */
static int poll_timeout(const struct guard *g)
{
    return g->behind                          ? 0
           : g->launching                     ? EXEC_POLL_MS
           : g->watch.blind || g->has_others  ? POLL_MS
           : g->stops.kind                    ? TG_STOP_INTERVAL_MS
           : g->end.kind                      ? ORPHAN_POLL_MS
                                              : -1;
}

/* Orders come before deaths: reaping may go on for as long as the tree creates processes. The launch comes last, because
 * reaping a root that has ended finishes its launch. */
static void watch(struct guard *g)
{
    int seen = tg_watch_all(&g->watch, min_timeout(poll_timeout(g), lease_left(g)));
    if (lease_left(g) == 0)
        g->ending = 1;
    if (seen & TG_SEEN_LIFELINE)
        read_order(g);
    if ((seen & TG_SEEN_SUPERVISOR) ||
        (g->watch.blind && (tg_guard_is_abandoned(g) || tg_launcher_is_gone(&g->watch))))
        on_supervisors_end(g);
    if (seen & TG_SEEN_CALLER)
        tg_guard_attach(g);
    if (((seen & TG_SEEN_DEATH) || g->behind || g->has_others || g->end.kind) && !tg_guard_reap(g))
        tg_guard_finish(g);
    if (g->stops.kind)
        tg_guard_report_stop(g);
    tg_guard_check_launch(g, 0);
}

/* Returns 0, or -errno. */
static long take_lease(struct guard *g, int fd, int ms)
{
    const volatile void *page = NULL;
    long ret = fd < 0 ? 0 : tg_map(fd, sizeof *g->lease, &page);
    g->lease = page;
    g->lease_ms = ms;
    return ret;
}

/* The order of the steps matters. The guard denies other processes access to itself first. It becomes the adopter of
 * orphans before it starts the root, so that it adopts every orphan of the tree. It opens its descriptors before the
 * root runs, because afterwards a process of the same user may lower its limits. It creates the leaf before the root,
 * so that the root starts inside it. */
int tg_guard(int argc, char **argv, char **envp)
{
    static struct guard guard;
    static struct tg_attributes attributes;
    struct guard *g = &guard;
    struct tg_handover handover;
    if (argc == 2)
        return tg_trial(argv[1]);
    if (argc == 3)
        return tg_relay(argv[2]);
    if (argc < 4 || !tg_handover_read(argv[1], &handover, &attributes))
        return 2;
    g->watch.lifeline = handover.lifeline;
    g->watch.supervisor = handover.supervisor;
    g->watch.supervisor_pid = g->owner = handover.supervisor_pid;
    g->watch.launcher = handover.launcher;
    g->watch.launcher_pid = handover.launcher_pid;
    g->watch.callers = g->listener = -1;
    g->cgroup.manager = handover.cgroup;
    g->cgroup.leaf = g->cgroup.kill = -1;
    g->cgroup.name = handover.leaf;
    g->cgroup.made = handover.leaf_made;
    g->cgroup.supervisor = handover.supervisor_pid;
    g->end.code = -1;
    g->argv = argv;
    g->envp = envp;
    tg_shut_off();
    tg_continue_with_parents_end();
    /* With a cgroup the children are not listed up front: the leaf is killed as a whole, and few processes leave it. */
    long ret = tg_sweep_open(&g->sweep, g->cgroup.manager < 0);
    if (ret < 0)
        tg_guard_fail(g, TG_STEP_SUBREAPER, ret);
    ret = tg_watch_open(&g->watch);
    if (ret < 0)
        tg_guard_fail(g, TG_STEP_WATCH, ret);
    if (g->cgroup.manager >= 0 && (ret = tg_cgroup_make(&g->cgroup)) < 0)
        tg_guard_fail(g, TG_STEP_CGROUP, ret);
    ret = take_lease(g, handover.lease, (int)handover.lease_ms);
    if (ret < 0)
        tg_guard_fail(g, TG_STEP_LEASE, ret);
    tg_guard_start_root(g, &handover, attributes.given ? &attributes : NULL);
    tg_guard_check_launch(g, EXEC_WAIT_MS);
    while (!g->ending)
        watch(g);
    tg_guard_sweep(g);
}
