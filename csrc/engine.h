/* engine.h - the inside of an engine, for the trees on it. */
#ifndef TG_ENGINE_H
#define TG_ENGINE_H

#include "treeguard.h"

struct tg_engine {
    int queue;
    int null_fd;        /* -1: there was no null device yet */
    int supervisor;     /* pidfd of this process; -1: none to be had */
    int by_inode;       /* pidfds have inodes of their own: tg_identity_note wants one of each child */
    int owner;          /* process id: after a fork, the copy is not the owner */
    int32_t *witness;       /* 1, and 0 in a forked copy, where the system wipes memory at a fork; else NULL */
    int in_flight[2];   /* the ends of a lifeline while a guard is started; else -1 */
    int slot;           /* a low number that a guard's end of it gets while there are many descriptors; else one of ours */
    int32_t leaving;    /* how many guards have said their last word, and have not ended yet */
    int latest;         /* the number of the descriptor that was opened last */
};

/* Whether this process opened the engine. */
int tg_engine_owned(const struct tg_engine *engine);

/* A descriptor of the null device; -1, and errno, where there is none. */
int tg_engine_null(struct tg_engine *engine);

/* Whether so many descriptors are open that a copy of their table is dear. */
int tg_engine_crowded(const struct tg_engine *engine);

/* Gives `fd` a second, low number, engine->slot, so that it is among the few that are copied. Whether that worked. */
int tg_engine_take_slot(struct tg_engine *engine, int fd);
void tg_engine_clear_slot(struct tg_engine *engine);

/* A descriptor above the standard ones, in exchange for one that may be among them: a host may have those closed. */
int tg_above_stdio(int fd_take);

#endif
