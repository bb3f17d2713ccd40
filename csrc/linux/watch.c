/* linux/watch.c - event source of a guard: the lifeline, the supervisor's pidfd, a signalfd for SIGCHLD, which is blocked,
 * and the address of a released tree. */
#include "../watch.h"

#include "../sys.h"

/* Polling interval in milliseconds if poll(2) fails. */
enum { POLL_MS = 10 };

long tg_watch_open(struct tg_watch *watch)
{
    tg_sigset deaths = TG_SIGNAL_BIT(SIGCHLD);
    long ret = tg_sys4(SYS_signalfd4, -1, &deaths, sizeof deaths, O_CLOEXEC | O_NONBLOCK);
    watch->queue = (int)ret;
    watch->blind = watch->supervisor < 0 || (watch->launcher < 0 && watch->launcher_pid);
    return ret < 0 ? ret : 0;
}

/* Returns whether the supervisor or its launcher has ended, as far as that is known without poll. ESRCH: the process has
 * been reaped. A later supervisor is not the parent; its lifeline closes before. */
static int is_gone(const struct tg_watch *watch)
{
    if (!watch->taken && tg_getppid() != watch->supervisor_pid)
        return 1;
    int held = watch->taken ? watch->supervisor : watch->launcher;
    return held >= 0 && tg_sys4(SYS_pidfd_send_signal, held, 0, NULL, 0) == -ESRCH;
}

/* Fallback without notifications: reports every source, so that the caller checks each of them. */
static int poll_all(const struct tg_watch *watch, int timeout)
{
    tg_poll(NULL, 0, timeout < 0 || timeout > POLL_MS ? POLL_MS : timeout);
    int seen = TG_SEEN_DEATH | (watch->callers >= 0 ? TG_SEEN_CALLER : 0);
    if (watch->lifeline < 0)
        return seen;
    return seen | TG_SEEN_LIFELINE | (is_gone(watch) ? TG_SEEN_SUPERVISOR : 0);
}

int tg_watch_all(const struct tg_watch *watch, int timeout)
{
    /* poll(2) ignores negative descriptors. A tree that has callers has neither lifeline nor launcher. */
    int last = watch->callers >= 0 ? watch->callers : watch->launcher;
    struct pollfd fds[4] = {{watch->lifeline, POLLIN, 0}, {watch->supervisor, POLLIN, 0}, {watch->queue, POLLIN, 0},
                            {last, POLLIN, 0}};
    char info[128]; /* struct signalfd_siginfo */
    long ret = tg_poll(fds, last < 0 ? 3 : 4, timeout);
    /* EINVAL: another process has lowered our limit on descriptors below the number of these (poll(2), prlimit(2)). */
    if (ret < 0 && ret != -EINTR)
        return poll_all(watch, timeout);
    if (fds[2].revents)
        tg_read(watch->queue, info, sizeof info);
    int gone = fds[1].revents || (fds[3].revents && watch->callers < 0);
    return (fds[0].revents ? TG_SEEN_LIFELINE : 0) | (gone ? TG_SEEN_SUPERVISOR : 0) |
           (fds[2].revents ? TG_SEEN_DEATH : 0) | (fds[3].revents && watch->callers >= 0 ? TG_SEEN_CALLER : 0);
}

int tg_watch_deaths(const struct tg_watch *watch, int timeout)
{
    tg_sigset deaths = TG_SIGNAL_BIT(SIGCHLD);
    struct timespec t = {timeout / 1000, (timeout % 1000) * 1000000L};
    (void)watch;
    return tg_sys4(SYS_rt_sigtimedwait, &deaths, NULL, &t, sizeof deaths) == SIGCHLD;
}
