/* pty.c - opens pseudo-terminals. */
#include "treeguard.h"

#include "above_stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FLAGS = O_RDWR | O_NOCTTY | O_CLOEXEC };

/* Opens the other end by its name. */
static int open_named(int ours)
{
    char path[64];
    int err = ptsname_r(ours, path, sizeof path);
    if (err) {
        /* Some return -1 with errno. */
        errno = err > 0 ? err : errno;
        return -1;
    }
    return open(path, FLAGS);
}

#ifdef TIOCGPTPEER
/* Since 4.13 no name is needed, which may be that of another file where /dev/pts is not the instance of /dev/ptmx. The
 * call leaves O_CLOEXEC among the flags of the open file (6.18), so that /proc/PID/fdinfo shows it for every copy, whether
 * an exec closes that or not. So the file is opened again. */
static int open_childs(int ours)
{
    char path[32];
    int peer = ioctl(ours, TIOCGPTPEER, FLAGS);
    if (peer < 0)
        return errno == EINVAL || errno == ENOTTY ? open_named(ours) : -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", peer);
    int again = open(path, FLAGS);
    if (again < 0)
        return peer;
    close(peer);
    return again;
}
#else
static int open_childs(int ours)
{
    return open_named(ours);
}
#endif

int tg_pty_kept(int32_t *ret_ours, int32_t *ret_childs)
{
#ifdef __APPLE__
    /* posix_openpt(3) knows no O_CLOEXEC there. */
    *ret_ours = tg_above_stdio(open("/dev/ptmx", FLAGS));
#else
    *ret_ours = tg_above_stdio(posix_openpt(FLAGS));
#endif
    if (*ret_ours < 0)
        return -errno;
    if (grantpt(*ret_ours) < 0 || unlockpt(*ret_ours) < 0 || fcntl(*ret_ours, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        return -errno;
    *ret_childs = tg_above_stdio(open_childs(*ret_ours));
    return *ret_childs < 0 ? -errno : 0;
}
