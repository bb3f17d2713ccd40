/* bsd/watch.c - event source of a guard: a kqueue for the lifeline, the supervisor's end and SIGCHLD. */
#include "../watch.h"

#include "../sys.h"

#include <sys/event.h>
#include <sys/time.h>

enum { MAX_EVENTS = 4 };

static long change(int queue, int ident, int filter, int flags, unsigned notes)
{
    struct kevent event;
    EV_SET(&event, (uintptr_t)ident, (short)filter, (unsigned short)flags, notes, 0, NULL);
    return tg_result(kevent(queue, &event, 1, NULL, 0, NULL));
}

static long take(int queue, struct kevent *ret_events, int timeout)
{
    struct timespec t = {timeout / 1000, (timeout % 1000) * 1000000L};
    return tg_result(kevent(queue, NULL, 0, ret_events, MAX_EVENTS, timeout < 0 ? NULL : &t));
}

/* SIGCHLD stays blocked, so this handler never runs. kqueue does not report ignored signals (kqueue(2), EVFILT_SIGNAL),
 * and installing a handler makes sure that SIGCHLD is not ignored. The exec of the root resets it to the default
 * action. */
static void empty_handler(int signal)
{
    (void)signal;
}

long tg_watch_open(struct tg_watch *watch)
{
    struct sigaction action = {.sa_handler = empty_handler};
    long queue = tg_result(kqueue()), ret;
    if (queue < 0)
        return queue;
    watch->queue = (int)queue;
    fcntl(watch->queue, F_SETFD, FD_CLOEXEC);
    if (sigaction(SIGCHLD, &action, NULL) < 0)
        return -errno;
    if ((ret = change(watch->queue, watch->lifeline, EVFILT_READ, EV_ADD, 0)) < 0)
        return ret;
    if ((ret = change(watch->queue, SIGCHLD, EVFILT_SIGNAL, EV_ADD, 0)) < 0)
        return ret;
    /* ESRCH means that the supervisor has ended. If it ended before this call, its process id may belong to another
     * process by now, so compare it with the parent's process id as well. */
    watch->blind = change(watch->queue, watch->supervisor_pid, EVFILT_PROC, EV_ADD, NOTE_EXIT) < 0 ||
                   tg_getppid() != watch->supervisor_pid;
    if (watch->launcher_pid)
        watch->blind |= change(watch->queue, watch->launcher_pid, EVFILT_PROC, EV_ADD, NOTE_EXIT) < 0 ||
                        tg_launcher_is_gone(watch);
    return 0;
}

int tg_watch_all(const struct tg_watch *watch, int timeout)
{
    struct kevent events[MAX_EVENTS];
    int seen = 0;
    long n = take(watch->queue, events, timeout);
    for (long i = 0; i < n; i++)
        seen |= events[i].filter == EVFILT_READ   ? TG_SEEN_LIFELINE
                : events[i].filter == EVFILT_PROC ? TG_SEEN_SUPERVISOR
                                                  : TG_SEEN_DEATH;
    return seen;
}

int tg_watch_deaths(const struct tg_watch *watch, int timeout)
{
    struct kevent events[MAX_EVENTS];
    /* Remove the lifeline from the queue: a closed lifeline is always ready. */
    change(watch->queue, watch->lifeline, EVFILT_READ, EV_DELETE, 0);
    change(watch->queue, watch->supervisor_pid, EVFILT_PROC, EV_DELETE, NOTE_EXIT);
    if (watch->launcher_pid)
        change(watch->queue, watch->launcher_pid, EVFILT_PROC, EV_DELETE, NOTE_EXIT);
    return take(watch->queue, events, timeout) > 0;
}
