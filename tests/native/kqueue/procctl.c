/* procctl.c - the part of FreeBSD's procctl(2) that csrc/ uses: the reaper is Linux's subreaper, its list comes from
 * /proc. */
#include <sys/procctl.h>

#include "../../../csrc/proc.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MOST = 16384 };

static struct {
    int pid;
    int parent;
    int found;
} all[MOST];
static int count;

static int note(int pid, void *context)
{
    struct tg_stat stat;
    (void)context;
    if (tg_stat(pid, &stat) < 0)
        return 0;
    all[count].pid = pid;
    all[count].parent = stat.ppid;
    all[count].found = stat.ppid == getpid();
    return ++count == MOST;
}

static int was_found(int pid)
{
    for (int i = 0; i < count; i++)
        if (all[i].pid == pid)
            return all[i].found;
    return 0;
}

static unsigned descendants(struct procctl_reaper_pidinfo *ret_found, unsigned room)
{
    unsigned n = 0;
    int more = 1;
    memset(ret_found, 0, room * sizeof *ret_found);
    count = 0;
    tg_each_process(note, NULL);
    while (more) {
        more = 0;
        for (int i = 0; i < count; i++)
            if (!all[i].found && was_found(all[i].parent))
                more = all[i].found = 1;
    }
    for (int i = 0; i < count; i++) {
        if (all[i].found && n < room)
            ret_found[n] = (struct procctl_reaper_pidinfo){all[i].pid, 0, REAPER_PIDINFO_VALID};
        n += (unsigned)all[i].found;
    }
    return n;
}

/* Repeat until there is no new process, as the kernel does. */
static void kill_descendants(struct procctl_reaper_kill *order)
{
    struct procctl_reaper_pidinfo found[1024];
    unsigned n, before = 0;
    while ((n = descendants(found, 1024)) > before) {
        for (unsigned i = 0; i < n && i < 1024; i++)
            order->rk_killed += kill(found[i].pi_pid, order->rk_sig) == 0;
        before = n;
    }
}

int procctl(idtype_t type, id_t id, int command, void *data)
{
    struct procctl_reaper_status *status = data;
    struct procctl_reaper_pids *pids = data;
    (void)type, (void)id;
    switch (command) {
    case PROC_REAP_ACQUIRE:
        return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    case PROC_PDEATHSIG_CTL:
        return prctl(PR_SET_PDEATHSIG, *(int *)data, 0, 0, 0);
    case PROC_REAP_KILL:
        kill_descendants(data);
        return 0;
    case PROC_REAP_STATUS: {
        struct procctl_reaper_pidinfo none[1];
        status->rs_descendants = descendants(none, 1);
        return 0;
    }
    case PROC_REAP_GETPIDS:
        descendants(pids->rp_pids, pids->rp_count);
        return 0;
    }
    errno = EINVAL;
    return -1;
}
