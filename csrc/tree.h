/* tree.h - internals of a tree in the library. */
#ifndef TG_TREE_H
#define TG_TREE_H

#include "engine.h"
#include "handover.h"
#include "identity.h"
#include "launch.h"

/* Ended processes of a group that are not reaped. */
struct tg_remains {
    unsigned count, sum;    /* their number, and the sum of their process ids */
};

struct tg_tree;

/* What the two kinds of tree do differently: with a guard (tree_guard.c), and without (tree_pgrp.c). The owner of the
 * engine is checked before. */
struct tg_tree_ops {
    int (*next)(struct tg_tree *tree, struct tg_event *ret_event);
    int (*poll)(struct tg_tree *tree, struct tg_event *ret_event);
    int (*signal)(struct tg_tree *tree, int signal);
    int (*kill)(struct tg_tree *tree);
    int (*wake)(struct tg_tree *tree);
    int (*dismiss)(struct tg_tree *tree, int empty);
};

extern const struct tg_tree_ops tg_tree_guard_ops, tg_tree_pgrp_ops;

struct tg_tree {
    struct tg_source source;    /* first: the engine has its address */
    const struct tg_tree_ops *ops;
    struct tg_engine *engine;
    uint64_t tag;
    int guarded;        /* our child is a guard; else it is the root */
    int adopted;        /* the guard was released, and is another process's child */
    int answer;         /* of the guard to an order to release: 1 + errno; 0: none yet */
    int closing;        /* the guard has sent its last event, but cannot be reaped yet: `fd` is its pidfd, or -1 */
    int fd;             /* lifeline, or pidfd of the root; -1: neither */
    int watched;        /* the engine's queue watches it; else the host has to poll it */
    int alone;          /* the host polls it although the queue could watch it: see tg_tree_join */
    int pid;            /* process id of our child, ours to reap until `reaped` unless the host reaps it */
    struct tg_identity identity;    /* of a guard */
    int reaped;
    int dismissed;      /* only the guard was left, and it was killed because it did not end by itself */
    int inside;         /* it is in a PID namespace */
    int init;           /* handle of the init of its PID namespace; -1: none */
    int cgroup;         /* directory of the leaf's parent, and the leaf's name; -1: none */
    uint64_t leaf;
    int root;           /* process id; 0 until the root runs */
    int member;         /* without a guard: a process of the root's group that was found after the root's end */
    struct tg_remains remains;  /* ended processes of the group in the last scan */
    struct tg_event last;       /* last event of a guard, reported after the guard was reaped; kind 0: none yet */
    struct tg_event ended;      /* what the guard has reported of the root's end; kind 0: nothing yet */
    struct tg_usage total;      /* usage of our child and all processes that it waited for; known once it is reaped */
    struct tg_start *start;     /* shared with the child until it runs its program, then NULL */
};

/* Memory that a new process reads until it runs its program. */
struct tg_start {
    struct tg_launch launch;
    struct tg_fd_range *close_ranges;
    char **argv;
    char **envp;
};

/* Copies a spec into one block of memory, for a guard if `lifeline` is not -1. Returns NULL if memory is short. */
struct tg_start *tg_start_new(const struct tg_spec *spec, const struct tg_engine *engine, int lifeline);

/* Frees the memory if the child no longer needs it. */
void tg_start_free(struct tg_start **start);

/* Sends a message to the guard, and lets the guard go on if it was stopped. Returns 0, or -errno. */
int tg_tree_order(struct tg_tree *tree, const void *message, size_t size);
/* Reports what a guard sends (struct tg_source). */
int tg_tree_next(struct tg_source *source, struct tg_event *ret_event);

/* Shared by both kinds. */
/* Stops watching the tree through the queue. From now on the host polls it. */
void tg_tree_unwatch(struct tg_tree *tree);
/* Adds to the engine's number of guards that are about to end. A tree that is alone may do so in any thread. */
void tg_tree_count_leaving(struct tg_tree *tree, int change);
/* Switches to polling: the queue has reported the end of our child before the child can be waited for, and may not
 * report it again. Returns 1 with an event. */
int tg_tree_poll_instead(struct tg_tree *tree, struct tg_event *ret_event);
struct tg_event tg_tree_event(const struct tg_tree *tree, int kind);
struct tg_event tg_tree_failed(struct tg_tree *tree, int step, int err);
/* Reaps our child if it has ended. Returns 1, also if the host has reaped it (then the status is -1), else 0. */
int tg_tree_reap(struct tg_tree *tree, int options, int *ret_status, struct rusage *ret_usage);

#endif
