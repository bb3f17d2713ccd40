/* freebsd/sweep.c - kills the processes of a tree through the kernel's list of a reaper's descendants: procctl(2),
 * PROC_REAP_ACQUIRE, FreeBSD 10.2. */
#include "../sweep.h"

#include <sys/procctl.h>
#include <unistd.h>

enum { MAX_PROCESSES = 4096 };

int tg_sweep_open(struct tg_sweep *ret_sweep, int listed)
{
    (void)listed;
    ret_sweep->children = -1;
    return procctl(P_PID, (id_t)tg_getpid(), PROC_REAP_ACQUIRE, NULL) < 0 ? -errno : 0;
}

/* The kernel iterates over the list until it finds no new process, so a process that forks at the same time cannot
 * escape. */
int tg_kill_pass(struct tg_sweep *sweep, int root, int led)
{
    struct procctl_reaper_kill order = {.rk_sig = SIGKILL};
    (void)sweep;
    if (led)
        tg_signal_led(root, SIGKILL);
    procctl(P_PID, (id_t)tg_getpid(), PROC_REAP_KILL, &order);
    return 0;
}

void tg_sweep_release(const struct tg_sweep *sweep)
{
    (void)sweep;
}

int tg_others(int root)
{
    struct procctl_reaper_status status = {.rs_descendants = 0};
    (void)root;
    procctl(P_PID, (id_t)tg_getpid(), PROC_REAP_STATUS, &status);
    return (int)status.rs_descendants;
}

void tg_signal_descendants(int group, int signal)
{
    static struct procctl_reaper_pidinfo found[MAX_PROCESSES];
    struct procctl_reaper_pids all = {.rp_count = MAX_PROCESSES, .rp_pids = found};
    if (procctl(P_PID, (id_t)tg_getpid(), PROC_REAP_GETPIDS, &all) < 0)
        return;
    for (int i = 0; i < MAX_PROCESSES && (found[i].pi_flags & REAPER_PIDINFO_VALID); i++)
        if (getpgid(found[i].pi_pid) == group)
            tg_kill(found[i].pi_pid, signal);
}
