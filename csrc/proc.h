/* proc.h - information about processes and their relations, without libc. Each platform has its own implementation. */
#ifndef TG_PROC_H
#define TG_PROC_H

#include "text.h"

struct tg_stat {
    int ppid;
    int pgrp;
    char state;         /* of a living thread if the main thread has ended and other threads have not */
    int64_t started;    /* in the system's own unit; identifies the process together with its id */
    int session;
    int executed;       /* it has run a program since it was forked; Linux only */
    int64_t reaped;     /* page faults of children that were waited for; Linux only */
};

/* Returns whether a process in this state has ended. It may not be reaped yet. */
static inline int tg_ended(char state)
{
    return state == 'Z' || state == 'X';
}

/* Opens the kernel's list of the children of this (single-threaded) process, or returns -errno. */
int tg_open_children(void);

/* Visits the children in such a list. Without one (negative) it visits all processes whose parent is this one. Returns
 * their number, or -errno: -ENOENT if the numbers in /proc belong to another pid namespace. */
int tg_each_child(int list, tg_visit visit, void *context);

/* Visits all processes. Returns their number, or -errno. */
int tg_each_process(tg_visit visit, void *context);

/* Reads parent, group, state and start time of a process. Returns 0, or -errno. */
int tg_stat(int pid, struct tg_stat *ret_stat);

/* Returns whether a process has an ancestor. */
static inline int tg_descends(int pid, int ancestor)
{
    struct tg_stat stat;
    /* The chain may change while it is followed, so limit its length. */
    for (int depth = 0; depth < 4096 && pid > 1; depth++) {
        if (tg_stat(pid, &stat) < 0)
            return 0;
        if (stat.ppid == ancestor)
            return 1;
        pid = stat.ppid;
    }
    return 0;
}

/* Signals a process through its handle. Uses its process id if there is no handle (negative) or a filter forbids the
 * call. */
void tg_signal_held(int pidfd, int pid, int signal);

#endif
