/* bsd/child.c - what macOS and FreeBSD do not have, of the child half. Nothing calls these there. */
#include "../child.h"

long tg_join_cgroup(int cgroup)
{
    (void)cgroup;
    return -ENOSYS;
}

/* Launches never share the table of descriptors. */
long tg_leave_table(uint32_t *table, uint32_t first)
{
    (void)table, (void)first;
    return -ENOSYS;
}
