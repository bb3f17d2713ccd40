/* tree.h - one tree, as the library sees it. */
#ifndef TG_TREE_H
#define TG_TREE_H

#include "engine.h"
#include "identity.h"
#include "launch.h"

/* The processes of a group that ended and were not reaped. */
struct tg_remains {
    unsigned count, sum;    /* how many, and of their numbers */
};

struct tg_tree {
    struct tg_engine *engine;
    uint64_t tag;
    int guarded;        /* our child is a guard; else it is the root itself */
    int closing;        /* the guard has nothing more to say, but was not to be reaped yet: `fd` is its pidfd, or -1 */
    int fd;             /* lifeline, or pidfd of the root; -1: neither */
    int told;           /* the engine's queue tells of it; else it is polled */
    int pid;            /* of our child, ours to reap until `reaped`, unless the host has done so */
    struct tg_identity identity;    /* of a guard */
    int reaped;
    int dismissed;      /* nothing but the guard was left, and it was killed for not going by itself */
    int cgroup;         /* where its leaf is, and the leaf's name; -1: none */
    uint64_t leaf;
    int root;           /* 0 until it runs */
    int member;         /* without a guard: a process of the root's group that was seen after the root's end */
    struct tg_remains remains;  /* and the dead ones of it, when they were last looked at */
    struct tg_event last;       /* what a guard said last, told when it has been reaped; kind 0: nothing yet */
    struct tg_event ended;      /* what it said of the root's end; kind 0: nothing yet */
    struct tg_usage total;      /* what our child and all that it waited for used; known when reaped */
    struct tg_start *start;     /* shared with the child until it runs its program, then NULL */
};

/* What a new process reads until it runs its program. */
struct tg_start {
    struct tg_launch launch;
    struct tg_gap *gaps;
    char **argv;
    char **envp;
    char name[16];
    char options[128];
};

/* Takes the next event that the tree's descriptor has. 1, or 0 when there is none. */
int tg_tree_next(struct tg_tree *tree, struct tg_event *ret_event);

/* Copies a spec into one piece of memory, for a guard if `lifeline` is not -1. NULL: no memory. */
struct tg_start *tg_start_new(const struct tg_spec *spec, const struct tg_engine *engine, int lifeline);

/* Frees it if the child no longer needs it. */
void tg_start_free(struct tg_start **start);

/* The two kinds of tree: guarded.c and grouped.c. */
int tg_guarded_next(struct tg_tree *tree, struct tg_event *ret_event);
int tg_guarded_poll(struct tg_tree *tree, struct tg_event *ret_event);
int tg_guarded_order(struct tg_tree *tree, int order, int signal);
int tg_guarded_wake(struct tg_tree *tree);
int tg_guarded_dismiss(struct tg_tree *tree, int empty);
int tg_grouped_next(struct tg_tree *tree, struct tg_event *ret_event);
int tg_grouped_poll(struct tg_tree *tree, struct tg_event *ret_event);
int tg_grouped_signal(struct tg_tree *tree, int signal);

/* Shared by both. */
/* From now on it is polled. */
void tg_tree_untold(struct tg_tree *tree);
/* The end of our child was told, but it cannot be waited for yet, and nothing may be told again. 1, with an event. */
int tg_tree_told_early(struct tg_tree *tree, struct tg_event *ret_event);
struct tg_event tg_tree_event(const struct tg_tree *tree, int kind);
struct tg_event tg_tree_failed(struct tg_tree *tree, int step, int err);
/* Reaps our child if it has ended: 1 (also if somebody else reaped it: then the status is -1), else 0. */
int tg_tree_reap(struct tg_tree *tree, int options, int *ret_status, struct rusage *ret_usage);

#endif
