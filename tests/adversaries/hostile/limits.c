/* limits.c - lowering a guard's limits, one by one. They cannot be raised again without privileges. */
#define _GNU_SOURCE
#include "hostile.h"

#include <sys/resource.h>

static void lower(const char *step, int resource)
{
    struct rlimit none = {0, 0};
    told_ret(step, prlimit(victim, resource, &none, NULL));
}

void limit_nofile(void) { lower("prlimit", RLIMIT_NOFILE); }
void limit_as(void) { lower("prlimit", RLIMIT_AS); }
void limit_data(void) { lower("prlimit", RLIMIT_DATA); }
void limit_stack(void) { lower("prlimit", RLIMIT_STACK); }
void limit_fsize(void) { lower("prlimit", RLIMIT_FSIZE); }
void limit_sigpending(void) { lower("prlimit", RLIMIT_SIGPENDING); }
void limit_nproc(void) { lower("prlimit", RLIMIT_NPROC); }
void limit_msgqueue(void) { lower("prlimit", RLIMIT_MSGQUEUE); }
void limit_rttime(void) { lower("prlimit", RLIMIT_RTTIME); }
void limit_memlock(void) { lower("prlimit", RLIMIT_MEMLOCK); }
void limit_core(void) { lower("prlimit", RLIMIT_CORE); }

/* The kernel kills what is found at work beyond it. */
void limit_cpu(void) { lower("prlimit", RLIMIT_CPU); }

/* All but the one that kills. */
void limit_all(void)
{
    for (int resource = 0; resource < RLIM_NLIMITS; resource++)
        if (resource != RLIMIT_CPU)
            lower("prlimit", resource);
}
