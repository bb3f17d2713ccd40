/* child_darwin.c - what of the child half is macOS's own. */
#include "child.h"

#include <libproc.h>

enum { BATCH = 64 };

/* There is no close_range, and the limit on descriptors may be none at all; what is open is listed by a system call.
 * Closing moves the list along, so it is read again until a pass closes nothing. */
void tg_close_gap(struct tg_gap gap, int but)
{
    struct proc_fdinfo open[BATCH];
    int closed = 1;
    if (gap.first == gap.last && (int)gap.first != but) {
        tg_close((int)gap.first);
        return;
    }
    while (closed) {
        /* What is kept may fill the batch: then all numbers are tried, up to the limit. */
        int n = proc_pidinfo((int)tg_getpid(), PROC_PIDLISTFDS, 0, open, sizeof open) / (int)sizeof *open;
        closed = 0;
        for (int i = 0; i < n; i++) {
            int fd = open[i].proc_fd;
            if ((uint32_t)fd >= gap.first && (uint32_t)fd <= gap.last && fd != but)
                closed |= tg_close(fd) == 0;
        }
        if (!closed && n == BATCH) {
            uint32_t limit = (uint32_t)getdtablesize();
            for (uint32_t fd = gap.first; fd <= gap.last && fd < limit; fd++)
                if ((int)fd != but)
                    tg_close((int)fd);
        }
    }
}

/* macOS has no parent-death signal: the parent can only be found dead here. */
long tg_die_with_parent(int parent)
{
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
