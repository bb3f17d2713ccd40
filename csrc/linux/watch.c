/* linux/watch.c - event source of a guard: the lifeline, the supervisor's pidfd, and a signalfd for SIGCHLD, which is
 * blocked. */
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

/* Fallback without notifications: reports every source, so that the caller checks each of them. ESRCH: the process has
 * been reaped. */
static int poll_all(const struct tg_watch *watch, int timeout)
{
    tg_poll(NULL, 0, timeout < 0 || timeout > POLL_MS ? POLL_MS : timeout);
    int gone = tg_getppid() != watch->supervisor_pid ||
               (watch->launcher >= 0 && tg_sys4(SYS_pidfd_send_signal, watch->launcher, 0, NULL, 0) == -ESRCH);
    return TG_SEEN_LIFELINE | TG_SEEN_DEATH | (gone ? TG_SEEN_SUPERVISOR : 0);
}

int tg_watch_all(const struct tg_watch *watch, int timeout)
{
    struct pollfd fds[4] = {{watch->lifeline, POLLIN, 0}, {watch->supervisor, POLLIN, 0}, {watch->queue, POLLIN, 0},
                            {watch->launcher, POLLIN, 0}};
    char info[128]; /* struct signalfd_siginfo */
    long ret = tg_poll(fds, watch->launcher < 0 ? 3 : 4, timeout);
    /* EINVAL: another process has lowered our limit on descriptors below the number of these (poll(2), prlimit(2)). */
    if (ret < 0 && ret != -EINTR)
        return poll_all(watch, timeout);
    if (fds[2].revents)
        tg_read(watch->queue, info, sizeof info);
    return (fds[0].revents ? TG_SEEN_LIFELINE : 0) | (fds[1].revents || fds[3].revents ? TG_SEEN_SUPERVISOR : 0) |
           (fds[2].revents ? TG_SEEN_DEATH : 0);
}

int tg_watch_deaths(const struct tg_watch *watch, int timeout)
{
    tg_sigset deaths = TG_SIGNAL_BIT(SIGCHLD);
    struct timespec t = {timeout / 1000, (timeout % 1000) * 1000000L};
    (void)watch;
    return tg_sys4(SYS_rt_sigtimedwait, &deaths, NULL, &t, sizeof deaths) == SIGCHLD;
}
