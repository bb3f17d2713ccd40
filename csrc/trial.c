/* trial.c - root of a test tree that checks whether this host lets trees be ended. */
#include "trial.h"

#include "sys.h"
#include "wire.h"

/* How long an orphan stays without a question and without being killed, in milliseconds. This exceeds the timeout of
 * every trial (_core/containment/probe.py), so that an orphan that left by itself cannot look like one that was killed.
 * The socket alone is no limit: a process that was forked meanwhile may hold its other end open. */
enum { ORPHAN_LIFE_MS = 60000 };

enum { ANSWER_FD = 0 };

static void answer(int pid, int parent)
{
    struct tg_trial_answer words = {pid, parent};
    tg_send(ANSWER_FD, &words, sizeof words, 0);
}

/* Returns whether there was a question. */
static int wait_for_question(void)
{
    struct pollfd fd = {ANSWER_FD, POLLIN, 0};
    char question;
    long ready;
    do
        ready = tg_poll(&fd, 1, ORPHAN_LIFE_MS);
    while (ready == -EINTR);
    return ready > 0 && tg_read(ANSWER_FD, &question, 1) == 1;
}

static int leave_orphan(void)
{
    long pid = tg_fork();
    if (pid == 0 && tg_lead_session() >= 0)
        while (wait_for_question())
            answer((int)tg_getpid(), (int)tg_getppid());
    if (pid == 0)
        answer(0, 0);
    return pid < 0 ? (int)-pid : 0;
}

/* The kernel checks the permission for signal 0 as for any other signal, and delivers nothing. */
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
