/* sys/procctl.h - the part of FreeBSD's procctl(2) that csrc/ uses, for Linux: implemented with prctl and /proc
 * (procctl.c). */
#ifndef SHIM_PROCCTL_H
#define SHIM_PROCCTL_H

#include <sys/types.h>
#include <sys/wait.h>

#define PROC_REAP_ACQUIRE 2
#define PROC_REAP_STATUS 4
#define PROC_REAP_GETPIDS 5
#define PROC_REAP_KILL 6
#define PROC_PDEATHSIG_CTL 11

#define REAPER_PIDINFO_VALID 1u

struct procctl_reaper_status {
    unsigned rs_flags, rs_children, rs_descendants;
    pid_t rs_reaper, rs_pid;
};

struct procctl_reaper_pidinfo {
    pid_t pi_pid, pi_subtree;
    unsigned pi_flags;
};

struct procctl_reaper_pids {
    unsigned rp_count;
    struct procctl_reaper_pidinfo *rp_pids;
};

struct procctl_reaper_kill {
    int rk_sig;
    unsigned rk_flags;
    pid_t rk_subtree;
    unsigned rk_killed;
    pid_t rk_fpid;
};

/* A kqueue is a single descriptor, so the descriptors that implement it must stay hidden. */
int shim_close_range(unsigned first, unsigned last, int flags);
#define close_range(first, last, flags) shim_close_range(first, last, flags)

int procctl(idtype_t type, id_t id, int command, void *data);

#endif
