/* watch.h - event source of a guard. Each platform has its own implementation. */
#ifndef TG_WATCH_H
#define TG_WATCH_H

struct tg_watch {
    int lifeline;
    int supervisor;     /* handle of the supervisor, or -1 */
    int supervisor_pid;
    int queue;          /* descriptor that reports the ends of children */
    int blind;          /* the supervisor's end is not reported: the caller polls the parent's process id */
};

enum { TG_SEEN_LIFELINE = 1, TG_SEEN_SUPERVISOR = 2, TG_SEEN_DEATH = 4 };

/* Starts watching. The caller has filled lifeline, supervisor and supervisor_pid, and has blocked all signals. Returns
 * 0, or -errno. */
long tg_watch_open(struct tg_watch *watch);

/* Waits for events, at most `timeout` milliseconds; -1 waits forever. It may report an event more than once. */
int tg_watch_all(const struct tg_watch *watch, int timeout);

/* Waits for the end of a child only. Returns whether there was one. The child may already be reaped. */
int tg_watch_deaths(const struct tg_watch *watch, int timeout);

#endif
