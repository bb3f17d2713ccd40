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

/* O_SEARCH needs no permission to read the directory (macOS 12, FreeBSD 13). */
long tg_open_directory(void)
{
#ifdef O_SEARCH
    return tg_result(open(".", O_SEARCH | O_DIRECTORY | O_CLOEXEC));
#else
    return tg_result(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
#endif
}
