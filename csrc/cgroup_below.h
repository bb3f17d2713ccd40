/* cgroup_below.h - a cgroup with all that is below it, at any depth, without libc.
 *
 * Whoever may write in a leaf may make cgroups in it: more than a stack or a table of descriptors holds, and of any mode. So
 * nothing here is recursive; the way up is "..". */
#ifndef TG_CGROUP_BELOW_H
#define TG_CGROUP_BELOW_H

#include <stdint.h>

/* As openat(2), close-on-exec. What somebody has locked by its mode is unlocked, for it is its owner's that we are. */
long tg_cgroup_open(int dir, const char *name, int flags);

/* Writes a text to a file of a cgroup. 0, or -errno. */
long tg_cgroup_write(int dir, const char *name, const char *text);

/* Reads a file of a cgroup, and ends it with a NUL. Returns its length, or -errno. */
long tg_cgroup_read(int dir, const char *name, char *ret_text, unsigned long size);

/* Removes a cgroup that is empty, also from a directory that was locked by its mode. 0, or -errno. */
long tg_cgroup_remove_at(int dir, const char *name);

/* Sends SIGKILL to every process in a cgroup and below, each by its handle, but to this one and to `spared`. */
void tg_kill_below(int dir, int spared);

/* Removes what is below a cgroup. It is to be tried again as long as some is left. 0, or -errno: it could not be looked at. */
long tg_remove_below(int dir);

#endif
