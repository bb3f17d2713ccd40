/* watch.h - what a guard waits for. One file a system behind it. */
#ifndef TG_WATCH_H
#define TG_WATCH_H

struct tg_watch {
    int lifeline;
    int supervisor;     /* a handle of the supervisor, or -1 */
    int supervisor_pid;
    int queue;          /* descriptor that tells of children's ends */
    int blind;          /* the supervisor's end is not told: its process id is to be looked at now and then */
};

enum { TG_SEEN_LIFELINE = 1, TG_SEEN_SUPERVISOR = 2, TG_SEEN_DEATH = 4 };

/* Begins; lifeline, supervisor and supervisor_pid are filled, and all signals are blocked. 0, or -errno. */
long tg_watch_open(struct tg_watch *watch);

/* Waits for what there is, at most `timeout` milliseconds; -1 waits for ever. What was seen may be told again. */
int tg_watch_all(const struct tg_watch *watch, int timeout);

/* Waits for the end of a child alone. Whether there was one; it may have been reaped already. */
int tg_watch_deaths(const struct tg_watch *watch, int timeout);

#endif
