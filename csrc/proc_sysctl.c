/* proc_sysctl.c - who is whose child, as sysctl(3) tells it on macOS and FreeBSD: of all processes, whoever's they are. */
#include "proc.h"

#include "sys.h"

#include <stdlib.h>
#include <sys/param.h>
#include <sys/proc.h>
#include <sys/sysctl.h>

#ifdef __APPLE__
#define EVERY KERN_PROC_ALL
#define PID(p) ((p)->kp_proc.p_pid)
#define PARENT(p) ((p)->kp_eproc.e_ppid)
#define GROUP(p) ((p)->kp_eproc.e_pgid)
#define STATE(p) ((p)->kp_proc.p_stat)
#else
#include <sys/user.h>
#define EVERY KERN_PROC_PROC
#define PID(p) ((p)->ki_pid)
#define PARENT(p) ((p)->ki_ppid)
#define GROUP(p) ((p)->ki_pgid)
#define STATE(p) ((p)->ki_stat)
#endif

/* How often the list may outgrow its room between the question for its size and that for itself. */
enum { TRIES = 8 };

/* Returns their number, or -errno. */
static int list(struct kinfo_proc **ret_all)
{
    int what[] = {CTL_KERN, KERN_PROC, EVERY, 0};
    for (int tries = 0; tries < TRIES; tries++) {
        size_t size = 0;
        if (sysctl(what, 3, NULL, &size, NULL, 0) < 0)
            return -errno;
        size += size / 4 + sizeof **ret_all;
        struct kinfo_proc *all = malloc(size);
        if (!all)
            return -ENOMEM;
        if (sysctl(what, 3, all, &size, NULL, 0) == 0) {
            *ret_all = all;
            return (int)(size / sizeof *all);
        }
        int err = errno;
        free(all);
        if (err != ENOMEM)
            return -err;
    }
    return -ENOMEM;
}

int tg_each_process(tg_visit visit, void *context)
{
    struct kinfo_proc *all;
    int n = list(&all), stop = 0;
    if (n < 0)
        return n;
    for (int i = 0; i < n && !stop; i++)
        if (PID(&all[i]) > 0)
            stop = visit(PID(&all[i]), context);
    free(all);
    return n;
}

int tg_stat(int pid, struct tg_stat *ret_stat)
{
    int what[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
    struct kinfo_proc info;
    size_t size = sizeof info;
    if (sysctl(what, 4, &info, &size, NULL, 0) < 0)
        return -errno;
    if (size < sizeof info || PID(&info) != pid)
        return -ESRCH;
    ret_stat->ppid = PARENT(&info);
    ret_stat->pgrp = GROUP(&info);
    ret_stat->state = STATE(&info) == SZOMB ? 'Z' : STATE(&info) == SSTOP ? 'T' : 'R';
    return 0;
}

void tg_signal_held(int pidfd, int pid, int signal)
{
    (void)pidfd;
    tg_kill(pid, signal);
}
