/* sweep.h - killing what is left of a tree, from within the process that adopts its orphans. */
#ifndef TG_SWEEP_H
#define TG_SWEEP_H

/* Makes this process the one that orphans among its descendants become children of (Linux 3.4). 0, or -errno. */
int tg_adopt_orphans(void);

/* Sends SIGKILL to every child of this process, once. Returns how many there were, or -errno when they
 * cannot be listed. */
int tg_kill_children(void);

/* Sends a signal to those descendants of this process that are in process group `group`, whose leader is gone. */
void tg_signal_descendants(int group, int signal);

#endif
