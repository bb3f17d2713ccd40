/* cgroup.h - manages the cgroup v2 leaf of one tree, without libc. */
#ifndef TG_CGROUP_H
#define TG_CGROUP_H

#include <stdint.h>

/* Name prefix of the cgroups that supervisors move to (treeguard/_core/cgroup/controllers.py); the process id
 * follows. */
#define TG_CGROUP_PLACE "treeguard-supervisor."

struct tg_cgroup {
    int manager;    /* directory of the manager's cgroup, the parent of the leaf; -1: no cgroups are used */
    int leaf;       /* directory of the leaf; -1: none */
    int kill;       /* cgroup.kill of the leaf, opened before the root runs because a limit on descriptors may be
                     * lowered later; -1: none */
    uint64_t name;  /* name of the leaf, a number */
    int made;       /* the leaf already exists and has limits */
    int supervisor; /* process id of the supervisor, which must survive a kill of the leaf; 0: there is no supervisor */
    int alone;      /* no supervisor would do the guard's work if the guard died with its leaf */
    int trespassed; /* guard or supervisor were found in the leaf at least once */
};

/* Creates the leaf, or opens an existing one. Returns 0, or -errno if there is no leaf. */
int tg_cgroup_make(struct tg_cgroup *cgroup);

/* Thaws the manager's cgroup and the leaf, in case another process has frozen one of them. Called while the root has
 * not started its program. */
void tg_cgroup_let_begin(const struct tg_cgroup *cgroup);

/* Returns the number of processes in the leaf that the OOM killer ended; 0 if the leaf has no limits. */
int64_t tg_cgroup_oom_kills(const struct tg_cgroup *cgroup);

/* Sends SIGKILL to all processes in the leaf and below it, atomically where the kernel supports cgroup.kill (5.14).
 * Returns 0, or -errno. -EAGAIN: the kernel is older than 5.14 and the leaf is not completely frozen yet, which this
 * kill requires. -EBUSY: guard or supervisor are in the leaf or were in it. */
int tg_cgroup_kill(struct tg_cgroup *cgroup);

/* Sends SIGKILL to the processes one by one, to reach those that tg_cgroup_kill misses: processes whose main thread has
 * ended while other threads live (seen on 6.18), and all processes if the leaf cannot be killed as a whole. */
void tg_cgroup_kill_listed(const struct tg_cgroup *cgroup);

/* Removes the leaf and all cgroups below it. Returns 0, or -EBUSY if a process still lives in it and the caller must
 * retry, or -EMFILE if the cgroups below it cannot be listed because the limit on descriptors was lowered. */
int tg_cgroup_remove(struct tg_cgroup *cgroup);

/* Creates or removes a cgroup of that name beside the leaf. It tells managers that start later that the leaf belongs to a
 * guard that lives without a supervisor. Returns 0, or -errno. */
int tg_cgroup_mark(const struct tg_cgroup *cgroup, const char *name);
void tg_cgroup_unmark(const struct tg_cgroup *cgroup, const char *name);

/* Removes the manager's cgroup if it is empty. The last guard of a manager that has ended calls this. */
void tg_cgroup_remove_manager(const struct tg_cgroup *cgroup);

#endif
