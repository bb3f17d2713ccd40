/* watch.h - event source of a guard. Each platform has its own implementation. */
#ifndef TG_WATCH_H
#define TG_WATCH_H

#include "proc.h"

struct tg_watch {
    int lifeline;
    int supervisor;     /* handle of the supervisor, or -1 */
    int supervisor_pid;
    int launcher;       /* handle of the process that started the supervisor, or -1 */
    int launcher_pid;   /* 0: it is not watched */
    int queue;          /* descriptor that reports the ends of children */
    int callers;        /* descriptor that is ready when a process wants to take the tree over, or -1 */
    int taken;          /* the supervisor has taken the tree over: it is not the parent */
    int blind;          /* the end of one of them is not reported: the caller polls parents' process ids */
};

/* TG_SEEN_SUPERVISOR: the supervisor or its launcher has ended. */
enum { TG_SEEN_LIFELINE = 1, TG_SEEN_SUPERVISOR = 2, TG_SEEN_DEATH = 4, TG_SEEN_CALLER = 8 };

/* Starts watching. The caller has filled in lifeline, supervisor and launcher, and has blocked all signals. Returns 0, or
 * -errno. */
long tg_watch_open(struct tg_watch *watch);

/* Without a handle the launcher is the supervisor's parent. Returns whether the supervisor has another parent by now. If it
 * cannot be looked up, that says nothing. */
static inline int tg_launcher_is_gone(const struct tg_watch *watch)
{
    struct tg_stat stat;
    return watch->launcher_pid && watch->launcher < 0 && tg_stat(watch->supervisor_pid, &stat) == 0 &&
           stat.ppid != watch->launcher_pid;
}

/* Waits for events, at most `timeout` milliseconds; -1 waits forever. It may report an event more than once. */
int tg_watch_all(const struct tg_watch *watch, int timeout);

/* Waits for the end of a child only. Returns whether there was one. The child may already be reaped. */
int tg_watch_deaths(const struct tg_watch *watch, int timeout);

#endif
