/* settings.c - how a guard is scheduled, and what the kernel does with it when memory runs out. */
#define _GNU_SOURCE
#include "hostile.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ioprio_set(2) has no wrapper. */
enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_IDLE = 3 << 13 };

static void set(const char *file, const char *text)
{
    char path[64];
    int err;
    snprintf(path, sizeof path, "/proc/%d/%s", victim, file);
    /* An autogroup may be changed now and then only. */
    while ((err = put(path, text)) == EAGAIN && !over(10))
        ;
    told("write", err);
}

void oom_score(void) { set("oom_score_adj", "1000"); }
void coredump_filter(void) { set("coredump_filter", "0x7f"); }
void autogroup(void) { set("autogroup", "19"); }
void timer_slack(void) { set("timerslack_ns", "4000000000"); }

void nice_19(void)
{
    told_ret("setpriority", setpriority(PRIO_PROCESS, (id_t)victim, 19));
}

void sched_idle(void)
{
    struct sched_param none = {0};
    told_ret("sched_setscheduler", sched_setscheduler(victim, SCHED_IDLE, &none));
}

/* On the one processor on which this process spins from now on. */
void one_busy_cpu(void)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(sched_getcpu(), &cpus);
    told_ret("spin", sched_setaffinity(0, sizeof cpus, &cpus));
    told_ret("sched_setaffinity", sched_setaffinity(victim, sizeof cpus, &cpus));
    if (round_number > 0)
        return;
    told("ready", 0);
    for (round_number = 1; !over(0); round_number++)
        for (volatile int i = 0; i < 1000000; i++)
            ;
    stay();
}

void io_idle(void)
{
    told_ret("ioprio_set", syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, victim, IOPRIO_IDLE));
}

/* Only its parent may. */
void set_group(void)
{
    told_ret("try_setpgid", setpgid(victim, victim));
    told_ret("try_setpgid_root", setpgid(victim, getpgrp()));
}
