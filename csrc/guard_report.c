/* guard_report.c - what a guard tells its supervisor. */
#include "guard.h"

#include "rights.h"

#include <sys/socket.h>

/* How often the guard retries an operation that should not fail for long. The interval is one millisecond. */
enum { TRIES = 100 };

/* Sends an event.
 *
 * If the socket buffer is full, the last event of a tree waits for space as long as the supervisor lives. After the
 * supervisor's end a process that it forked may keep the lifeline open without reading it, so the guard stops waiting
 * then. All other events are dropped: a supervisor that does not read must not stop the guard from watching. A shortage
 * of memory may pass, so the guard retries. */
void tg_guard_send(const struct guard *g, const struct tg_event *event)
{
    int last = event->kind == TG_EMPTY || event->kind == TG_FAILED;
    for (int tries = 0; tries < TRIES;) {
        long ret = tg_send(g->watch.lifeline, event, sizeof *event, MSG_DONTWAIT);
        int full = ret == -EAGAIN && last && !tg_guard_is_abandoned(g);
        if (!full && ret != -ENOMEM && ret != -ENOBUFS && ret != -EINTR)
            return;
        tries += !full;
        tg_poll(NULL, 0, 1);
    }
}

void tg_guard_report(const struct guard *g, int kind, int signal)
{
    struct tg_event event = {.kind = kind, .pid = g->root, .code = -1, .signal = signal};
    tg_guard_send(g, &event);
}

/* Nothing was sent before, so there is room for the message. */
void tg_guard_report_start(const struct guard *g)
{
    struct tg_event event = {.kind = TG_STARTED, .pid = g->root, .code = -1};
    int init = g->init ? tg_pidfd_open(g->init) : -1;
    if (init < 0 || tg_send_with(g->watch.lifeline, &event, sizeof event, init) < 0)
        tg_guard_send(g, &event);
    if (init >= 0)
        tg_close(init);
}

_Noreturn void tg_guard_fail(struct guard *g, int step, long err)
{
    for (int tries = 0; g->cgroup.leaf >= 0 && tg_cgroup_remove(&g->cgroup) < 0 && tries < TRIES; tries++)
        tg_poll(NULL, 0, 1);
    struct tg_event event = {.kind = TG_FAILED, .step = step, .err = (int32_t)-err, .code = -1};
    tg_guard_send(g, &event);
    tg_exit(1);
}
