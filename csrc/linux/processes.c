/* linux/processes.c - lists all processes of the host for the library. One call covers thousands of processes. */
#include "../proc.h"
#include "../sys.h"
#include "../treeguard.h"

#include <sys/prctl.h>

struct table {
    struct tg_process *processes;
    int max;
    int count;
};

static int note(int pid, void *context)
{
    struct table *t = context;
    struct tg_stat stat = {.state = 0};
    tg_stat(pid, &stat);
    if (t->count < t->max)
        t->processes[t->count] = (struct tg_process){pid,         stat.ppid,    stat.pgrp,  stat.session,
                                                     stat.state, stat.started, stat.reaped};
    t->count++;
    return 0;
}

int tg_processes(struct tg_process *ret_processes, int max)
{
    struct table table = {ret_processes, max, 0};
    int ret = tg_each_process(note, &table);
    return ret < 0 ? ret : table.count;
}

int tg_adopts(void)
{
    int adopts = 0;
    tg_sys5(SYS_prctl, PR_GET_CHILD_SUBREAPER, &adopts, 0, 0, 0);
    return adopts;
}
