/* linux/freezer.h - releases killed processes that a cgroup v1 freezer holds, without libc.
 *
 * With cgroup v1 a SIGKILL takes effect only after its process is thawed. With cgroup v2 it takes effect at once
 * (cgroups(7)). */
#ifndef TG_FREEZER_H
#define TG_FREEZER_H

/* Releases a killed process that is frozen by moving it to the root of the freezer hierarchy, where it ends. This thaws
 * no other process. It needs write access there. */
void tg_release_frozen(int pid);

#endif
