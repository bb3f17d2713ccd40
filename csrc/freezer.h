/* freezer.h - processes that a freezer of cgroup version 1 holds, without libc.
 *
 * There a SIGKILL waits for as long as its process is frozen; with version 2 it does not (cgroups(7)). */
#ifndef TG_FREEZER_H
#define TG_FREEZER_H

/* Lets a process go on that was killed and is frozen: moved to where nothing is frozen, it ends. Nobody else is thawed. It takes
 * the right to write there. */
void tg_release_frozen(int pid);

#endif
