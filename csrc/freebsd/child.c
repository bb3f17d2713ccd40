/* freebsd/child.c - the FreeBSD part of the child half. It may run in the memory of a waiting parent (vfork). */
#include "../child.h"

#include <sys/procctl.h>

void tg_close_fd_range(struct tg_fd_range range, int but)
{
    /* close_range: FreeBSD 12.2 */
    if (but < 0 || (uint32_t)but < range.first || (uint32_t)but > range.last) {
        close_range(range.first, range.last, 0);
        return;
    }
    if (range.first < (uint32_t)but)
        close_range(range.first, (unsigned)but - 1, 0);
    if ((uint32_t)but < range.last)
        close_range((unsigned)but + 1, range.last, 0);
}

/* Arm the signal before checking the parent. If the parent ended before the signal was armed, no signal will come and
 * the check detects it (procctl(2), PROC_PDEATHSIG_CTL, 11.2). */
long tg_die_with_parent(int parent)
{
    int signal = SIGKILL;
    if (procctl(P_PID, 0, PROC_PDEATHSIG_CTL, &signal) < 0)
        return -errno;
    return tg_getppid() == parent ? 0 : -ESRCH;
}
