/* lifeline.c - the socket between supervisor and guard. */
#include "lifeline.h"

#include "engine.h"
#include "sys.h"
#include "wire.h"

#include <sys/socket.h>

#ifdef SOCK_CLOEXEC
#define KIND (TG_LIFELINE_KIND | SOCK_CLOEXEC)
#else
#define KIND TG_LIFELINE_KIND
#endif

int tg_lifeline_open(int ends[2])
{
    if (socketpair(AF_UNIX, KIND, 0, ends) < 0)
        return -errno;
    ends[0] = tg_above_stdio(ends[0]);
    ends[1] = ends[0] < 0 ? ends[1] : tg_above_stdio(ends[1]);
    if (ends[0] < 0 || ends[1] < 0)
        return -errno;
    return 0;
}
