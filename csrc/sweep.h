/* sweep.h - killing what is left of a tree, from within its guard. One file a system behind it. */
#ifndef TG_SWEEP_H
#define TG_SWEEP_H

#include "sys.h"

/* What is opened before the root runs: from then on a process of the same user may lower our limits (prlimit(2)). */
struct tg_sweep {
    int children;   /* the kernel's list of our children; -1: it keeps none, or shows it to nobody here */
};

/* Makes this process the one that orphans among its descendants become children of, and opens what ending them takes if that
 * will be needed: `listed`. 0, or -errno. */
int tg_sweep_open(struct tg_sweep *ret_sweep, int listed);

/* Sends SIGKILL, once, to what can be found of the tree. The root leads its group as long as it is not reaped: `led`.
 * Returns how many children it has found where finding them takes long for many, else 0. */
int tg_strike(struct tg_sweep *sweep, int root, int led);

/* Lets those go on that were killed and are held by something that can be taken from them. */
void tg_sweep_release(const struct tg_sweep *sweep);

/* How many processes of the tree are left that are not children of this one. */
int tg_others(int root);

/* Sends a signal to those descendants of this process that are in process group `group`, whose leader is gone. */
void tg_signal_descendants(int group, int signal);

/* Sends a signal to the group of a root that is not reaped. */
static inline void tg_signal_led(int root, int signal)
{
    /* If it has not made its group yet: what it has blocked now it will get before its program begins. */
    if (tg_kill(-root, signal) == -ESRCH)
        tg_kill(root, signal);
}

#endif
