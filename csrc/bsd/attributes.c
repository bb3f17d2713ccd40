/* bsd/attributes.c - attributes on macOS and FreeBSD, which lack some of Linux's. Python refuses those. */
#include "../attributes.h"

long tg_set_oom_score_adj(int adjustment)
{
    (void)adjustment;
    return -ENOSYS;
}

long tg_set_cpu_affinity(const uint64_t cpus[TG_CPU_WORDS])
{
    (void)cpus;
    return -ENOSYS;
}

int tg_privileges(void)
{
    return tg_geteuid() == 0 ? TG_MAY_CHANGE_USER | TG_MAY_SIGNAL_ALL : 0;
}
