/* cgroup.h - a leaf of the cgroup v2 tree for one tree of processes, without libc. */
#ifndef TG_CGROUP_H
#define TG_CGROUP_H

#include <stdint.h>

/* How the cgroups are named that supervisors step aside to (treeguard/_core/cgroup/controllers.py); their process ids follow. */
#define TG_CGROUP_PLACE "treeguard-supervisor."

struct tg_cgroup {
    int manager;    /* directory of the manager's cgroup, that the leaf is in; -1: no cgroup at all */
    int leaf;       /* directory of the leaf; -1: none */
    int kill;       /* its cgroup.kill, opened before the root runs: a limit on descriptors may be lowered later; -1: none */
    uint64_t name;  /* of the leaf: a number */
    int made;       /* the leaf was there already, with limits */
    int supervisor; /* process id, never to be killed with what is in the leaf; 0: there is none */
    int trespassed; /* guard or supervisor were once found in the leaf */
};

/* Makes the leaf, or opens the one that was made already. 0, or -errno: then there is none. */
int tg_cgroup_make(struct tg_cgroup *cgroup);

/* For a root that does not begin: thaws manager's cgroup and leaf, where somebody may have frozen one of them. */
void tg_cgroup_let_begin(const struct tg_cgroup *cgroup);

/* How many processes of the leaf were killed for want of memory; 0 where it has no limits. */
int64_t tg_cgroup_oom_kills(const struct tg_cgroup *cgroup);

/* Sends SIGKILL to everything in the leaf and below it, at once where the kernel can (5.14). 0, or -errno; -EAGAIN: before
 * 5.14 everything has to stand still for that, and does not yet; -EBUSY: guard or supervisor are or were in it. */
int tg_cgroup_kill(struct tg_cgroup *cgroup);

/* The same one by one: what the kill as a whole does not hit. That is a process whose main thread has ended while others
 * live (seen on 6.18), and all there is in a leaf that cannot be killed as a whole. */
void tg_cgroup_kill_listed(const struct tg_cgroup *cgroup);

/* Removes the leaf with all below it. 0, or -EBUSY: it is to be tried again, since a process lives in it. Or -EMFILE: what is
 * below it cannot be listed, since the limit on descriptors was lowered. */
int tg_cgroup_remove(struct tg_cgroup *cgroup);

/* Removes the manager's cgroup if nothing is left in it: for the last guard of a manager that is gone. */
void tg_cgroup_remove_manager(const struct tg_cgroup *cgroup);

#endif
