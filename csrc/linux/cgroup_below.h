/* linux/cgroup_below.h - operations on a cgroup and all cgroups below it, at any depth, without libc.
 *
 * A process with write access to a leaf can create cgroups below it: more than fit on a stack or in a table of
 * descriptors, and with any mode. So these functions are not recursive, and they go up by "..". */
#ifndef TG_CGROUP_BELOW_H
#define TG_CGROUP_BELOW_H

#include <stdint.h>

/* openat(2) with close-on-exec. If the mode denies access, it changes the mode, which the owner may do. */
long tg_cgroup_open(int dir, const char *name, int flags);

/* Writes a text to a file of a cgroup. Returns 0, or -errno. */
long tg_cgroup_write(int dir, const char *name, const char *text);

/* Reads a file of a cgroup and terminates the text with a NUL. Returns its length, or -errno. */
long tg_cgroup_read(int dir, const char *name, char *ret_text, unsigned long size);

/* Removes an empty cgroup, also from a directory whose mode denies it. Returns 0, or -errno. */
long tg_cgroup_remove_at(int dir, const char *name);

/* Sends SIGKILL through handles to every process in a cgroup and below it, except this process and `spared`. */
void tg_kill_below(int dir, int spared);

/* Removes the cgroups below a cgroup. The caller must retry while any are left. Returns 0, or -errno if the directory
 * could not be opened. */
long tg_remove_below(int dir);

#endif
