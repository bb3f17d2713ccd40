/* proc.h - who is whose child, from /proc, without libc. */
#ifndef TG_PROC_H
#define TG_PROC_H

struct tg_stat {
    int ppid;
    int pgrp;
    char state;
};

/* Called with a process id. Returning non-zero ends the walk. */
typedef int (*tg_visit)(int pid, void *context);

/* Visits the children of this (single-threaded) process. Returns their number, or -errno. */
int tg_each_child(tg_visit visit, void *context);

/* Visits every process there is. Returns their number, or -errno. */
int tg_each_process(tg_visit visit, void *context);

/* Reads the parent and group of a process. 0, or -errno. */
int tg_stat(int pid, struct tg_stat *ret_stat);

#endif
