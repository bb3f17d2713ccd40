/* proc.h - who is whose child, from /proc, without libc. */
#ifndef TG_PROC_H
#define TG_PROC_H

#include "text.h"

struct tg_stat {
    int ppid;
    int pgrp;
    char state;         /* of a thread that lives, if the main thread has ended and others have not */
    int64_t started;    /* in the system's own unit: with the number, it is the process's identity */
    int session;
    int64_t reaped;     /* page faults of children that were waited for; Linux alone */
};

/* Whether a process of that state has ended; it may wait to be reaped. */
static inline int tg_ended(char state)
{
    return state == 'Z' || state == 'X';
}

/* Opens the kernel's list of this (single-threaded) process's children, or says -errno. */
int tg_open_children(void);

/* Visits the children that such a list holds now; without one (negative) the processes whose parent this is. Returns their
 * number, or -errno: -ENOENT where the numbers of /proc are not those of this process's namespace. */
int tg_each_child(int list, tg_visit visit, void *context);

/* Visits every process there is. Returns their number, or -errno. */
int tg_each_process(tg_visit visit, void *context);

/* Reads the parent, group, state and start of a process. 0, or -errno. */
int tg_stat(int pid, struct tg_stat *ret_stat);

/* Signals a process by its handle; by its number where there is no handle (negative) or a filter forbids its use. */
void tg_signal_held(int pidfd, int pid, int signal);

#endif
