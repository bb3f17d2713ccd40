/* darwin/child.c - the macOS part of the child half. */
#include "../child.h"

#include <libproc.h>

enum { BATCH = 64 };

/* macOS has no close_range, and the limit on descriptors may be unlimited, so list the open descriptors with a system
 * call. Closing descriptors shifts the list, so repeat until a pass closes none. */
void tg_close_fd_range(struct tg_fd_range range, int but)
{
    struct proc_fdinfo open[BATCH];
    int closed = 1;
    if (range.first == range.last && (int)range.first != but) {
        tg_close((int)range.first);
        return;
    }
    while (closed) {
        /* Descriptors to keep may fill the whole batch. Then try all numbers up to the limit. */
        int n = proc_pidinfo((int)tg_getpid(), PROC_PIDLISTFDS, 0, open, sizeof open) / (int)sizeof *open;
        closed = 0;
        for (int i = 0; i < n; i++) {
            int fd = open[i].proc_fd;
            if ((uint32_t)fd >= range.first && (uint32_t)fd <= range.last && fd != but)
                closed |= tg_close(fd) == 0;
        }
        if (!closed && n == BATCH) {
            uint32_t limit = (uint32_t)getdtablesize();
            for (uint32_t fd = range.first; fd <= range.last && fd < limit; fd++)
                if ((int)fd != but)
                    tg_close((int)fd);
        }
    }
}

/* macOS has no parent-death signal. This can only check whether the parent is still alive. */
long tg_die_with_parent(int parent)
{
    return tg_getppid() == parent ? 0 : -ESRCH;
}
