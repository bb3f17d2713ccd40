/* attributes.c - sets what a root has otherwise than its supervisor. The rules of child.c apply here too. */
#include "attributes.h"

TG_RAW static long set_rlimits(const struct tg_attributes *a)
{
    long ret = 0;
    for (int resource = 0; resource < TG_RLIMITS && ret == 0; resource++)
        if (a->which_rlimits & 1u << resource)
            ret = tg_setrlimit(resource, a->rlimits[resource].soft, a->rlimits[resource].hard);
    return ret;
}

/* The order of the steps matters. A change of user loses privileges, so it comes last, and the groups before it: they
 * take a privilege too. Limits come after what may open a descriptor, since they may forbid that. umask(2) always
 * succeeds. */
TG_RAW long tg_set_attributes(const struct tg_attributes *a, int *ret_step)
{
    long ret = 0;
    if (a->given & TG_GIVEN_UMASK)
        tg_umask(a->umask);
    if (a->given & TG_GIVEN_NICE)
        *ret_step = TG_STEP_NICE, ret = tg_nice(a->nice);
    if (ret == 0 && a->given & TG_GIVEN_OOM_SCORE_ADJ)
        *ret_step = TG_STEP_OOM_SCORE_ADJ, ret = tg_set_oom_score_adj(a->oom_score_adj);
    if (ret == 0 && a->given & TG_GIVEN_CPU_AFFINITY)
        *ret_step = TG_STEP_CPU_AFFINITY, ret = tg_set_cpu_affinity(a->cpu_affinity);
    if (ret == 0 && a->given & TG_GIVEN_RLIMITS)
        *ret_step = TG_STEP_RLIMITS, ret = set_rlimits(a);
    if (ret == 0 && a->given & TG_GIVEN_GROUPS)
        *ret_step = TG_STEP_GROUPS, ret = tg_setgroups(a->ngroups, a->groups);
    if (ret == 0 && a->given & TG_GIVEN_GROUP)
        *ret_step = TG_STEP_GROUP, ret = tg_setgroup(a->group);
    if (ret == 0 && a->given & TG_GIVEN_USER)
        *ret_step = TG_STEP_USER, ret = tg_setuser(a->user);
    return ret;
}

/* kill(2): a sender's real or effective user must be the target's real or saved one, unless it is privileged. */
long tg_check_reach(const struct tg_attributes *a)
{
    if (!a || !(a->given & TG_GIVEN_USER) || a->user == tg_getuid() || a->user == tg_geteuid())
        return 0;
    return tg_privileges() == TG_MAY_CHANGE_USER ? -EACCES : 0;
}
