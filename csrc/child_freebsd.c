/* child_freebsd.c - what of the child half is FreeBSD's own. It may run in the memory of a parent that waits (vfork). */
#include "child.h"

#include <sys/procctl.h>

void tg_close_gap(struct tg_gap gap, int but)
{
    /* 12.2 */
    if (but < 0 || (uint32_t)but < gap.first || (uint32_t)but > gap.last) {
        close_range(gap.first, gap.last, 0);
        return;
    }
    if (gap.first < (uint32_t)but)
        close_range(gap.first, (unsigned)but - 1, 0);
    if ((uint32_t)but < gap.last)
        close_range((unsigned)but + 1, gap.last, 0);
}

/* The signal is armed first and the parent looked at afterwards: one that died in between sends none any more (procctl(2),
 * PROC_PDEATHSIG_CTL, 11.2). */
long tg_die_with_parent(int parent)
{
    int signal = SIGKILL;
    if (procctl(P_PID, 0, PROC_PDEATHSIG_CTL, &signal) < 0)
        return -errno;
    return tg_getppid() == parent ? 0 : -ESRCH;
}

long tg_join_cgroup(int cgroup)
{
    (void)cgroup;
    return -ENOSYS;
}

/* A table of descriptors is not shared here, so nobody asks. */
long tg_leave_table(uint32_t *table, uint32_t first)
{
    (void)table, (void)first;
    return -ENOSYS;
}
