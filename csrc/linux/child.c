/* linux/child.c - the Linux part of the child half. The rules of child.c apply here too. */
#include "../child.h"

#include "direntry.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <sys/prctl.h>

/* For kernels before 5.9 and filters that forbid close_range: reads the open descriptors from /proc/self/fd. Closing
 * descriptors shifts the listing, so repeat until a pass closes none. */
TG_RAW static int close_listed(struct tg_fd_range range, int but)
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
                if (fd < 0 || (uint32_t)fd < range.first || (uint32_t)fd > range.last || fd == dir || fd == but)
                    continue;
                if (tg_close(fd) == 0)
                    again = 1;
            }
        }
    }
    tg_close((int)dir);
    return 0;
}

TG_RAW void tg_close_fd_range(struct tg_fd_range range, int but)
{
    if (but >= 0 && range.first <= (uint32_t)but && (uint32_t)but <= range.last) {
        if (range.first < (uint32_t)but)
            tg_close_fd_range((struct tg_fd_range){range.first, (uint32_t)but - 1}, -1);
        if ((uint32_t)but < range.last)
            tg_close_fd_range((struct tg_fd_range){(uint32_t)but + 1, range.last}, -1);
        return;
    }
    if (range.first == range.last) {
        tg_close((int)range.first);
        return;
    }
    if (tg_sys3(SYS_close_range, range.first, range.last, 0) == 0)
        return;
    if (range.last - range.first < 16 || close_listed(range, but) < 0) {
        /* Without /proc the limit on descriptors is the only bound, and it may have been lowered after the descriptors
         * were opened. Stop at 65536. */
        uint32_t last = range.last < 65536 ? range.last : 65536;
        for (uint32_t fd = range.first; fd <= last; fd++)
            tg_close((int)fd);
    }
}

/* Copying the whole table would cost time for every open descriptor of the parent twice: for the copy and for closing.
 * CLOSE_RANGE_UNSHARE (5.9) copies the descriptors below `first` only. Order matters: the parent changes no descriptor
 * until the futex word changes, so unshare first and wake the parent afterwards. */
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

/* Arm the signal before checking the parent. If the parent has ended before the signal was armed, another process is
 * the parent by now and the check detects it. If it ends afterwards, the signal comes (prctl(2), PR_SET_PDEATHSIG). */
TG_RAW long tg_die_with_parent(int parent)
{
    long ret = tg_sys5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (ret < 0)
        return ret;
    return tg_getppid() == parent ? 0 : -ESRCH;
}

TG_RAW long tg_open_directory(void)
{
    return tg_sys4(SYS_openat, AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
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
