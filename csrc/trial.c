/* trial.c - the root of a tree that is started to find out whether this host lets trees be ended. */
#include "trial.h"

#include "sys.h"
#include "wire.h"

/* How long an orphan stays that nobody asks or ends, in milliseconds. This outlasts the patience of every trial
 * (_core/containment/probe.py), so that no orphan that left by itself can pass for one that was killed. A process that was forked
 * meanwhile may hold the other end of the socket open, so the socket alone is no limit. */
enum { ORPHAN_LIFE = 60000 };

enum { CONVERSATION = 0 };

static void answer(int pid, int parent)
{
    struct tg_trial_answer words = {pid, parent};
    tg_send(CONVERSATION, &words, sizeof words, 0);
}

/* Whether there was a question. */
static int asked(void)
{
    struct pollfd fd = {CONVERSATION, POLLIN, 0};
    char question;
    long ready;
    do
        ready = tg_poll(&fd, 1, ORPHAN_LIFE);
    while (ready == -EINTR);
    return ready > 0 && tg_read(CONVERSATION, &question, 1) == 1;
}

static int leave_orphan(void)
{
    long pid = tg_fork();
    if (pid == 0 && tg_lead_session() >= 0)
        while (asked())
            answer((int)tg_getpid(), (int)tg_getppid());
    if (pid == 0)
        answer(0, 0);
    return pid < 0 ? (int)-pid : 0;
}

/* Signal 0 is judged as any other, and delivered to nobody. */
static int reach_guard(void)
{
    return (int)-tg_kill((int)tg_getppid(), 0);
}

int tg_trial(const char *what)
{
    if (*what == TG_GUARD_TRIAL[0])
        return leave_orphan();
    return *what == TG_GUARD_REACH[0] ? reach_guard() : EINVAL;
}
