/* bsd/child.c - the part of the child half that macOS and FreeBSD share. */
#include "../child.h"

/* They have no cgroups, so nothing calls this. */
long tg_join_cgroup(int cgroup)
{
    (void)cgroup;
    return -ENOSYS;
}

/* Nor this: launches never share the table of descriptors. */
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
