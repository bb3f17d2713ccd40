/* engine.h - internals of an engine, for its trees. */
#ifndef TG_ENGINE_H
#define TG_ENGINE_H

#include "treeguard.h"

/* What an engine watches. Its queue keeps the address. */
struct tg_source {
    /* Takes the next event. Returns 1, or 0 if there is none. */
    int (*next)(struct tg_source *source, struct tg_event *ret_event);
};

struct tg_engine {
    int queue;
    int null_fd;        /* -1: there was no null device yet */
    int supervisor;     /* pidfd of this process; -1: not available */
    int by_inode;       /* pidfds have unique inodes: tg_identity_note wants a pidfd of each child */
    int owner;          /* process id of the owner: a forked copy is not the owner */
    int32_t *witness;       /* 1, and 0 in a forked copy, if the system can zero memory at a fork; else NULL */
    int in_flight[2];   /* both ends of a lifeline while a guard is being started; else -1 */
    int slot;           /* low descriptor number that holds a guard's end of its lifeline while many descriptors are
                         * open; else a copy of one of ours */
    int32_t leaving;    /* number of guards that have sent their last event and have not ended yet */
    int latest;         /* the number of the most recently opened descriptor */
};

/* Whether this process opened the engine. */
int tg_engine_owned(const struct tg_engine *engine);

/* Returns a descriptor of the null device, or -1 with errno. */
int tg_engine_null(struct tg_engine *engine);

/* Whether the number of open descriptors makes copying the table expensive. */
int tg_engine_crowded(const struct tg_engine *engine);

/* Duplicates `fd` to the low number engine->slot, so that it is among the few descriptors that the child copies.
 * Returns whether that worked. */
int tg_engine_take_slot(struct tg_engine *engine, int fd);
void tg_engine_clear_slot(struct tg_engine *engine);

#endif
