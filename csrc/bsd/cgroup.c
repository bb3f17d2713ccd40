/* bsd/cgroup.c - stubs for systems without cgroups. tg_cgroup_make always fails, so the guard never needs the other
 * functions. */
#include "../cgroup.h"

#include <errno.h>

int tg_cgroup_make(struct tg_cgroup *cgroup)
{
    cgroup->leaf = -1;
    return -ENOSYS;
}

void tg_cgroup_let_begin(const struct tg_cgroup *cgroup)
{
    (void)cgroup;
}

int64_t tg_cgroup_oom_kills(const struct tg_cgroup *cgroup)
{
    (void)cgroup;
    return 0;
}

int tg_cgroup_kill(struct tg_cgroup *cgroup)
{
    (void)cgroup;
    return -ENOSYS;
}

void tg_cgroup_kill_listed(const struct tg_cgroup *cgroup)
{
    (void)cgroup;
}

int tg_cgroup_remove(struct tg_cgroup *cgroup)
{
    (void)cgroup;
    return 0;
}

void tg_cgroup_remove_manager(const struct tg_cgroup *cgroup)
{
    (void)cgroup;
}

int tg_cgroup_mark(const struct tg_cgroup *cgroup, const char *name)
{
    (void)cgroup;
    (void)name;
    return -ENOSYS;
}

void tg_cgroup_unmark(const struct tg_cgroup *cgroup, const char *name)
{
    (void)cgroup;
    (void)name;
}
