/* sweep.h - kills the processes of a tree from its guard. Each platform has its own implementation. */
#ifndef TG_SWEEP_H
#define TG_SWEEP_H

#include "sys.h"

/* Descriptors that have to be opened before the root runs: after that a process of the same user may lower our limits
 * (prlimit(2)). */
struct tg_sweep {
    int children;   /* the kernel's list of our children; -1: not available */
};

/* Makes this process the adopter of orphans among its descendants. With `listed`, also opens what listing them
 * requires. Returns 0, or -errno. */
int tg_sweep_open(struct tg_sweep *ret_sweep, int listed);

/* Sends SIGKILL once to all processes of the tree that it finds. `led`: the root was not reaped, so it still leads its
 * group. Returns the number of children found if listing many of them is slow on this system, else 0. */
int tg_kill_pass(struct tg_sweep *sweep, int root, int led);

/* Releases killed processes that something holds back, if possible. */
void tg_sweep_release(const struct tg_sweep *sweep);

/* Returns the number of processes of the tree that are not children of this one. */
int tg_others(int root);

/* Sends a signal to the descendants of this process in process group `group`, whose leader was reaped. */
void tg_signal_descendants(int group, int signal);

/* Sends a signal to the group of a root that was not reaped. */
static inline void tg_signal_led(int root, int signal)
{
    /* The root may not have created its group yet. It has all signals blocked then, and gets the signal before its
     * program begins. */
    if (tg_kill(-root, signal) == -ESRCH)
        tg_kill(root, signal);
}

#endif
