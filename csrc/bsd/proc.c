/* bsd/proc.c - process information from sysctl(3) on macOS and FreeBSD. It covers the processes of all users. */
#include "../proc.h"

#include "../sys.h"
#include "../treeguard.h"

#include <stdlib.h>
#include <sys/param.h>
#include <sys/proc.h>
#include <sys/sysctl.h>

#ifdef __APPLE__
#include <libproc.h>
#include <mach/mach_time.h>
#define EVERY KERN_PROC_ALL
#define PID(p) ((p)->kp_proc.p_pid)
#define PARENT(p) ((p)->kp_eproc.e_ppid)
#define GROUP(p) ((p)->kp_eproc.e_pgid)
#define STATE(p) ((p)->kp_proc.p_stat)
#define START(p) (&(p)->kp_proc.p_starttime)
#define NAME(p) ((p)->kp_proc.p_comm)
#else
#include <sys/user.h>
#define EVERY KERN_PROC_PROC
#define PID(p) ((p)->ki_pid)
#define PARENT(p) ((p)->ki_ppid)
#define GROUP(p) ((p)->ki_pgid)
#define STATE(p) ((p)->ki_stat)
#define START(p) (&(p)->ki_start)
#define NAME(p) ((p)->ki_comm)
#endif

/* Number of retries if the list outgrows the buffer between the query for its size and the query for its contents. */
enum { TRIES = 8 };

/* Returns the number of processes, or -errno. */
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

static int info_of(int pid, struct kinfo_proc *ret_info)
{
    int what[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, pid};
    size_t size = sizeof *ret_info;
    if (sysctl(what, 4, ret_info, &size, NULL, 0) < 0)
        return -errno;
    return size < sizeof *ret_info || PID(ret_info) != pid ? -ESRCH : 0;
}

static char state_of(const struct kinfo_proc *info)
{
    return STATE(info) == SZOMB ? 'Z' : STATE(info) == SSTOP ? 'T' : 'R';
}

/* Microseconds since the epoch. */
static int64_t started(const struct kinfo_proc *info)
{
    return (int64_t)START(info)->tv_sec * 1000000 + START(info)->tv_usec;
}

int tg_stat(int pid, struct tg_stat *ret_stat)
{
    struct kinfo_proc info;
    int ret = info_of(pid, &info);
    if (ret < 0)
        return ret;
    *ret_stat = (struct tg_stat){
        .ppid = PARENT(&info), .pgrp = GROUP(&info), .state = state_of(&info), .started = started(&info)};
    return 0;
}

static void fill_usage(const struct kinfo_proc *info, struct tg_proc_info *ret_info)
{
#ifdef __APPLE__
    struct proc_taskinfo task;
    struct mach_timebase_info base;
    if (proc_pidinfo(PID(info), PROC_PIDTASKINFO, 0, &task, sizeof task) != sizeof task)
        return;
    mach_timebase_info(&base);
    ret_info->user_us = (int64_t)(task.pti_total_user * base.numer / base.denom / 1000);
    ret_info->system_us = (int64_t)(task.pti_total_system * base.numer / base.denom / 1000);
    ret_info->memory = (int64_t)task.pti_resident_size;
#else
    ret_info->user_us = info->ki_rusage.ru_utime.tv_sec * 1000000 + info->ki_rusage.ru_utime.tv_usec;
    ret_info->system_us = info->ki_rusage.ru_stime.tv_sec * 1000000 + info->ki_rusage.ru_stime.tv_usec;
    ret_info->memory = (int64_t)info->ki_rssize * getpagesize();
#endif
}

int tg_proc_get(int pid, struct tg_proc_info *ret_info)
{
    struct kinfo_proc info;
    int ret = info_of(pid, &info);
    if (ret < 0)
        return ret;
    *ret_info = (struct tg_proc_info){.parent = PARENT(&info), .group = GROUP(&info), .state = state_of(&info)};
    ret_info->session = getsid(pid);
    ret_info->started_us = started(&info);
    for (size_t i = 0; i + 1 < sizeof ret_info->name && NAME(&info)[i]; i++)
        ret_info->name[i] = NAME(&info)[i];
    fill_usage(&info, ret_info);
    return 0;
}

struct listing {
    int32_t *ret_pids;
    int count;
    int max;
};

static int append(int pid, void *context)
{
    struct listing *all = context;
    if (all->count < all->max)
        all->ret_pids[all->count] = pid;
    all->count++;
    return 0;
}

int tg_list(int32_t *ret_pids, int max)
{
    struct listing all = {ret_pids, 0, max};
    int ret = tg_each_process(append, &all);
    return ret < 0 ? ret : all.count;
}

void tg_signal_held(int pidfd, int pid, int signal)
{
    (void)pidfd;
    tg_kill(pid, signal);
}
