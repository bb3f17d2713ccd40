/* engine.h - the inside of an engine, for the trees on it. */
#ifndef TG_ENGINE_H
#define TG_ENGINE_H

#include "treeguard.h"

struct tg_engine {
    int queue;
    int null_fd;
    int supervisor;     /* pidfd of this process; -1: none to be had */
    int owner;          /* process id: after a fork, the copy is not the owner */
    int in_flight[2];   /* the ends of a lifeline while a guard is started; else -1 */
};

/* Whether this process opened the engine. */
int tg_engine_owned(const struct tg_engine *engine);

/* A descriptor above the standard ones, in exchange for one that may be among them: a host may have those closed. */
int tg_above_stdio(int fd_take);

#endif
