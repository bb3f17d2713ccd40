/* engine.h - the inside of an engine, for the trees on it. */
#ifndef TG_ENGINE_H
#define TG_ENGINE_H

#include "treeguard.h"

struct tg_engine {
    int queue;          /* epoll */
    int null_fd;
    int supervisor;     /* pidfd of this process; -1: none to be had */
    int owner;          /* process id: after a fork, the copy is not the owner */
    int in_flight[2];   /* the ends of a lifeline while a guard is started; else -1 */
};

/* Whether this process opened the engine. */
int tg_engine_owned(const struct tg_engine *engine);

/* From now on, or no longer, tell when `fd` has something for `tree`. 0, or -errno. */
int tg_engine_watch(struct tg_engine *engine, int fd, struct tg_tree *tree);
void tg_engine_forget(struct tg_engine *engine, int fd);

/* A descriptor above the standard ones, in exchange for one that may be among them: a host may have those closed. */
int tg_above_stdio(int fd_take);

#endif
