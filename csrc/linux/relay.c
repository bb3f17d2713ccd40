/* linux/relay.c - the supervisor's share of what the terminal's keys send while a tree has the terminal. */
#include "../relay.h"

#include "../child.h"
#include "../sys.h"

#include <sys/signalfd.h>

/* PARENT_POLL_MS: polling interval for the supervisor's end. A process that the host forked may hold a copy of the other
 * end of the socket. */
enum { SOCKET_FD = 0, PARENT_POLL_MS = 1000 };

static int number_in(const char *text)
{
    int number = 0;
    while (*text >= '0' && *text <= '9' && number < INT32_MAX / 10)
        number = number * 10 + (*text++ - '0');
    return *text ? 0 : number;
}

/* Returns whether the supervisor would have got the signal too if it were in this group. Others send signals to this
 * group on purpose: the supervisor itself, and the guard. A member that stops its whole group, as an editor does, also
 * means the job that it is a part of. */
static int is_for_all(const struct signalfd_siginfo *info)
{
    if (info->ssi_code == SI_KERNEL)
        return 1;
    return info->ssi_signo == SIGTSTP && tg_sys1(SYS_getpgid, info->ssi_pid) == tg_sys1(SYS_getpgid, 0);
}

static void send_on(int fd, int supervisors)
{
    struct signalfd_siginfo info;
    while (tg_read(fd, &info, sizeof info) == sizeof info) {
        char signal = (char)info.ssi_signo;
        if (!is_for_all(&info))
            continue;
        tg_send(SOCKET_FD, &signal, 1, MSG_DONTWAIT);
        tg_kill(-supervisors, signal);
    }
}

/* All signals are blocked from the exec on, so none is lost before the signalfd exists. */
int tg_relay(const char *group)
{
    tg_sigset passed = TG_SIGNAL_BIT(SIGHUP) | TG_SIGNAL_BIT(SIGINT) | TG_SIGNAL_BIT(SIGQUIT) |
                       TG_SIGNAL_BIT(SIGTSTP) | TG_SIGNAL_BIT(SIGWINCH);
    int supervisors = number_in(group);
    long parent = tg_getppid();
    tg_shut_off();
    long fd = tg_sys4(SYS_signalfd4, -1, &passed, sizeof passed, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || supervisors < 2)
        return 2;
    /* What the host left open to its children is not kept open by this one. */
    if (fd > SOCKET_FD + 1)
        tg_close_fd_range((struct tg_fd_range){SOCKET_FD + 1, (uint32_t)fd - 1}, -1);
    tg_close_fd_range((struct tg_fd_range){(uint32_t)fd + 1, INT32_MAX}, -1);
    tg_chdir("/");
    for (;;) {
        struct pollfd fds[2] = {{SOCKET_FD, POLLIN, 0}, {(int)fd, POLLIN, 0}};
        long ret = tg_poll(fds, 2, PARENT_POLL_MS);
        if (tg_getppid() != parent)
            return 0;
        send_on((int)fd, supervisors);
        if ((ret < 0 && ret != -EINTR) || fds[0].revents)
            return 0;
    }
}
