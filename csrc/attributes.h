/* attributes.h - what a root has otherwise than its supervisor: user and groups, limits, priorities. */
#ifndef TG_ATTRIBUTES_H
#define TG_ATTRIBUTES_H

#include "sys.h"
#include "treeguard.h"

/* Sets the attributes of this process. It runs between fork and exec, so the rules of child.c apply. Returns 0, or
 * -errno and the failed step. */
long tg_set_attributes(const struct tg_attributes *attributes, int *ret_step);

/* Returns whether a child with these attributes must not share the memory of its parent, because the kernel keeps a part
 * of them with the memory:
 *
 * - A change of user or group makes the memory undumpable, or dumpable if fs.suid_dumpable is 1 (commit_creds in
 *   kernel/cred.c). The parent would lose its core dumps and the files in /proc/PID, or a guard its protection.
 *   Moreover, processes of the new user would share memory with the parent's.
 * - A write to oom_score_adj counts for all processes that share the memory (__set_oom_adj in fs/proc/base.c). */
TG_RAW static inline int tg_attributes_need_memory(const struct tg_attributes *attributes)
{
    return attributes && attributes->given & (TG_GIVEN_USER | TG_GIVEN_GROUP | TG_GIVEN_OOM_SCORE_ADJ);
}

/* Returns the number of bytes that are in use. */
TG_RAW static inline size_t tg_attributes_size(const struct tg_attributes *attributes)
{
    return offsetof(struct tg_attributes, groups) + attributes->ngroups * sizeof attributes->groups[0];
}

/* Returns -EACCES if this process could start a root of the user that the attributes ask for, but not signal it. Else
 * returns 0: what else is missing shows when the user changes. */
long tg_check_reach(const struct tg_attributes *attributes);

/* Platform-specific functions. */
/* Return 0, or -errno. */
long tg_set_oom_score_adj(int adjustment);
long tg_set_cpu_affinity(const uint64_t cpus[TG_CPU_WORDS]);
enum { TG_MAY_CHANGE_USER = 1, TG_MAY_SIGNAL_ALL = 2 };
/* Returns these bits. */
int tg_privileges(void);

#endif
