/* lifeline.c - the socket between supervisor and guard. */
#include "lifeline.h"

#include "above_stdio.h"
#include "sys.h"
#include "wire.h"

#include <sys/socket.h>

#ifdef SOCK_CLOEXEC
#define KIND (TG_LIFELINE_KIND | SOCK_CLOEXEC)
#else
#define KIND TG_LIFELINE_KIND
#endif

/* On a stream socket, a message that does not fit must not be sent in parts. SO_SNDLOWAT makes the kernel wait for
 * space for the longest message before it accepts any of it. */
static void keep_together(const int ends[2])
{
#ifdef __APPLE__
    int size = sizeof(struct tg_event), on = 1;
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_SNDLOWAT, &size, sizeof size);
        setsockopt(ends[i], SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
#else
    (void)ends;
#endif
}

int tg_lifeline_open(int ends[2])
{
    if (socketpair(AF_UNIX, KIND, 0, ends) < 0)
        return -errno;
    keep_together(ends);
    ends[0] = tg_above_stdio(ends[0]);
    ends[1] = ends[0] < 0 ? ends[1] : tg_above_stdio(ends[1]);
    if (ends[0] < 0 || ends[1] < 0)
        return -errno;
    return 0;
}
