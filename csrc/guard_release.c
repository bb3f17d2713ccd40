/* guard_release.c - a tree that outlives its supervisor on purpose, and its next supervisor.
 *
 * While the guard listens, the end of the supervisor does not end the tree. Both directions go through that state, so each
 * of them can be taken back until it is over: an order to release makes the guard listen and is complete when the
 * lifeline closes; a take-over is complete with the order to retain, after which the guard no longer listens. */
#include "guard.h"

#include "rendezvous.h"

/* How long the guard leaves callers alone after it could not accept one, in milliseconds: a shortage of descriptors leaves
 * them in the queue, which would keep the guard busy. */
enum { ACCEPT_PAUSE_MS = 20 };

int tg_guard_is_abandoned(const struct guard *g)
{
    struct pollfd end = {g->watch.supervisor, POLLIN, 0};
    if (!g->was_released)
        return tg_getppid() != g->watch.supervisor_pid;
    return g->watch.supervisor < 0 || tg_poll(&end, 1, 0) > 0;
}

/* Copies a text. Returns the position of its NUL. */
static char *put(char *to, const char *from)
{
    while (*from)
        *to++ = *from++;
    *to = 0;
    return to;
}

static void put_number(char *to, int n)
{
    int digits = 1;
    for (int rest = n; rest > 9; rest /= 10)
        digits++;
    for (int rest = n; digits > 0; rest /= 10)
        to[--digits] = (char)('0' + rest % 10);
}

/* Shows in the command line whether the tree is released and by which name, or whose it is: the supervisor need not be the
 * parent. The room is that of struct tg_handover as text, whose memory is still there. */
static void show(const struct guard *g, int released)
{
    for (int i = 0; i < TG_TITLE_ROOM; i++)
        g->argv[1][i] = 0;
    if (released)
        put(g->argv[1], g->address);
    else if (g->was_released)
        put_number(put(g->argv[1], TG_SHOWN_OWNER), g->watch.supervisor_pid);
    tg_guard_show_state(g, released ? TG_STATE_RELEASED : TG_STATE_SUPERVISED);
}

/* Checks that the supervisor itself orders a release. Any process of the same user, its own tree for example, can take the
 * supervisor's end of the lifeline (pidfd_getfd(2)) and give orders; it must not get a tree to outlive its supervisor.
 * The kernel names senders only from now on, so the first order is answered by EAGAIN. */
static long check_sender(struct guard *g, int sender)
{
    if (!g->knows_senders) {
        long ret = tg_rendezvous_name_senders(g->watch.lifeline);
        g->knows_senders = ret == 0;
        return ret < 0 ? ret : -EAGAIN;
    }
    /* As long as the supervisor lives, no other process has its number. */
    return sender == g->watch.supervisor_pid && !tg_guard_is_abandoned(g) ? 0 : -EPERM;
}

/* The mark comes first: the end of the supervisor, whose death would let others sweep the leaf, counts for nothing from the
 * moment that the guard listens. */
static long listen_at(struct guard *g, const char *name)
{
    long ret = g->cgroup.leaf >= 0 ? tg_cgroup_mark(&g->cgroup, name) : 0;
    if (ret < 0)
        return ret;
    ret = tg_rendezvous_open(name);
    if (ret < 0 && g->cgroup.leaf >= 0)
        tg_cgroup_unmark(&g->cgroup, name);
    if (ret < 0)
        return ret;
    g->listener = (int)ret;
    tg_guard_unmark(g);
    g->marked = g->cgroup.leaf >= 0;
    put(g->address, name);
    return 0;
}

void tg_guard_unmark(struct guard *g)
{
    if (g->marked)
        tg_cgroup_unmark(&g->cgroup, g->address);
    g->marked = 0;
}

void tg_guard_release(struct guard *g, const char *name, int sender)
{
    long ret = check_sender(g, sender);
    if (ret == 0)
        ret = g->listener >= 0 ? -EALREADY : listen_at(g, name);
    struct tg_event event = {.kind = TG_RELEASED, .pid = g->root, .code = -1, .err = ret < 0 ? (int32_t)-ret : 0};
    tg_guard_send(g, &event);
}

void tg_guard_retain(struct guard *g)
{
    if (g->listener < 0)
        return;
    tg_close(g->listener);
    g->listener = -1;
    g->watch.callers = -1;
    show(g, 0);
    /* Later supervisors are not the owners of the manager's cgroup, so the leaf keeps its mark. */
    if (!g->was_released)
        tg_guard_unmark(g);
}

void tg_guard_detach(struct guard *g)
{
    tg_close(g->watch.lifeline);
    if (g->watch.supervisor >= 0)
        tg_close(g->watch.supervisor);
    if (g->watch.launcher >= 0)
        tg_close(g->watch.launcher);
    g->watch.lifeline = g->watch.supervisor = g->watch.launcher = -1;
    g->watch.supervisor_pid = g->watch.launcher_pid = 0;
    g->watch.blind = 0;
    g->watch.callers = g->listener;
    g->lease = NULL;
    g->was_released = 1;
    g->knows_senders = 0;
    show(g, 1);
}

void tg_guard_attach(struct guard *g)
{
    int pid, pidfd;
    long fd = tg_rendezvous_accept(g->listener, &pid, &pidfd);
    if (fd < 0) {
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
            tg_poll(NULL, 0, ACCEPT_PAUSE_MS);
        return;
    }
    g->watch.lifeline = (int)fd;
    g->watch.supervisor = pidfd;
    g->watch.supervisor_pid = pid;
    g->watch.taken = 1;
    /* The next caller waits until this one has made up its mind. */
    g->watch.callers = -1;
    tg_guard_report(g, TG_STARTED, 0);
    if (g->end.kind)
        tg_guard_send(g, &g->end);
}
