/* child_linux.c - what of the child half is Linux's own. The law of child.c holds here too. */
#include "child.h"

#include "direntry.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <sys/prctl.h>

/* For kernels before 5.9 and filters that forbid close_range: what is open stands in /proc/self/fd. Closing moves
 * the listing along, so it is read again until a pass closes nothing. */
TG_RAW static int close_listed(struct tg_gap gap, int but)
{
    _Alignas(struct tg_direntry) char buffer[1024];
    long dir = tg_sys4(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (dir < 0)
        return (int)dir;
    int again = 1;
    while (again) {
        long got;
        again = 0;
        tg_sys3(SYS_lseek, dir, 0, 0);
        while ((got = tg_sys3(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
            for (long at = 0; at < got;) {
                const struct tg_direntry *e = (const struct tg_direntry *)(buffer + at);
                int fd = tg_direntry_number(e);
                at += e->size;
                if (fd < 0 || (uint32_t)fd < gap.first || (uint32_t)fd > gap.last || fd == dir || fd == but)
                    continue;
                if (tg_close(fd) == 0)
                    again = 1;
            }
        }
    }
    tg_close((int)dir);
    return 0;
}

TG_RAW void tg_close_gap(struct tg_gap gap, int but)
{
    if (but >= 0 && gap.first <= (uint32_t)but && (uint32_t)but <= gap.last) {
        if (gap.first < (uint32_t)but)
            tg_close_gap((struct tg_gap){gap.first, (uint32_t)but - 1}, -1);
        if ((uint32_t)but < gap.last)
            tg_close_gap((struct tg_gap){(uint32_t)but + 1, gap.last}, -1);
        return;
    }
    if (gap.first == gap.last) {
        tg_close((int)gap.first);
        return;
    }
    if (tg_sys3(SYS_close_range, gap.first, gap.last, 0) == 0)
        return;
    if (gap.last - gap.first < 16 || close_listed(gap, but) < 0) {
        /* Without /proc the limit on descriptors is the only bound, and it may have been lowered since: beyond this
         * many, nothing is looked for. */
        uint32_t last = gap.last < 65536 ? gap.last : 65536;
        for (uint32_t fd = gap.first; fd <= last; fd++)
            tg_close((int)fd);
    }
}

/* A copy of the whole table would cost the parent's every open descriptor twice, here and in the closing
 * (CLOSE_RANGE_UNSHARE, 5.9). The parent touches no descriptor before it is told. */
TG_RAW long tg_leave_table(uint32_t *table, uint32_t first)
{
    long ret = tg_sys3(SYS_close_range, first, INT32_MAX, TG_CLOSE_RANGE_UNSHARE);
    if (ret < 0)
        ret = tg_sys1(SYS_unshare, CLONE_FILES);
    if (ret < 0)
        return ret;
    __atomic_store_n(table, 1, __ATOMIC_RELEASE);
    tg_sys3(SYS_futex, table, FUTEX_WAKE, 1);
    return 0;
}

/* The signal is armed first and the parent looked at afterwards: one that died in between has already been
 * replaced by another, and one that dies from here on sends it (prctl(2), PR_SET_PDEATHSIG). */
TG_RAW long tg_die_with_parent(int parent)
{
    long ret = tg_sys5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (ret < 0)
        return ret;
    return tg_getppid() == parent ? 0 : -ESRCH;
}

TG_RAW long tg_join_cgroup(int cgroup)
{
    long ret, fd = tg_sys4(SYS_openat, cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    ret = tg_write((int)fd, "0", 1);
    tg_close((int)fd);
    return ret < 0 ? ret : 0;
}
