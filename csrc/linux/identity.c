/* linux/identity.c - identifies processes by the inodes of their pidfds or by their start times.
 *
 * Since Linux 6.9 the inode of a pidfd is unique until the next boot (pidfs), so trees need not keep pidfds open. On
 * older kernels, and without pidfds, the start time identifies the child. That confuses the child with another process
 * only if the process id is reused within a clock tick of 10 ms after the child's start. */
#include "../identity.h"

#include "../above_stdio.h"
#include "../launch.h"
#include "../proc.h"

#include <sys/stat.h>
#include <sys/vfs.h>

/* Clock ticks per second of the times in /proc/pid/stat: USER_HZ, which is 100 on all but very old machines. */
enum { TICKS = 100, TICK_NS = 1000000000 / TICKS };

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* linux/magic.h: PID_FS_MAGIC */
#define PIDFS 0x50494446

int tg_identity_by_inode(int pidfd)
{
    struct statfs fs;
    return pidfd >= 0 && fstatfs(pidfd, &fs) == 0 && fs.f_type == PIDFS;
}

static uint64_t inode_of(int pidfd)
{
    struct stat stat;
    return fstat(pidfd, &stat) < 0 ? 0 : stat.st_ino;
}

void tg_identity_note(struct tg_identity *ret_identity, int pid, int pidfd_take)
{
    struct timespec now;
    (void)pid;
    clock_gettime(CLOCK_BOOTTIME, &now);
    *ret_identity = (struct tg_identity){0, (int64_t)now.tv_sec * TICKS + now.tv_nsec / TICK_NS, 0};
    if (pidfd_take >= 0) {
        ret_identity->inode = inode_of(pidfd_take);
        tg_close(pidfd_take);
    }
}

static int started_early_enough(const struct tg_identity *identity, int pid)
{
    struct tg_stat stat;
    int ret = tg_stat(pid, &stat);
    int ours = identity->adopted || stat.ppid == (int)tg_getpid();
    return ret < 0 ? ret : ours && stat.started <= identity->started;
}

int tg_identity_hold(const struct tg_identity *identity, int pid, int *ret_pidfd)
{
    int pidfd = tg_above_stdio(tg_pidfd_open(pid));
    int same = pidfd == -ESRCH ? -ESRCH
             : pidfd >= 0 && identity->inode ? inode_of(pidfd) == identity->inode
                                             : started_early_enough(identity, pid);
    *ret_pidfd = same > 0 && pidfd >= 0 ? pidfd : -1;
    if (pidfd >= 0 && *ret_pidfd < 0)
        tg_close(pidfd);
    return same;
}

/* Converts the result of waitid(2) to a status of wait4. */
static int status_from(const siginfo_t *info)
{
    return info->si_code == CLD_EXITED ? info->si_status << 8 : info->si_status | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

long tg_wait_held(int pidfd, int pid, int *ret_status, int options, struct rusage *ret_usage)
{
    siginfo_t info = {.si_pid = 0};
    if (pidfd < 0)
        return tg_wait(pid, ret_status, options, ret_usage);
    long ret = tg_sys5(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | options, ret_usage);
    if (ret == -ENOSYS || ret == -EPERM || ret == -EINVAL) {
        /* Before 5.4, or if a filter forbids P_PIDFD. A reaped process cannot be signalled. */
        if (tg_sys4(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == -ESRCH)
            return -ECHILD;
        return tg_wait(pid, ret_status, options, ret_usage);
    }
    if (ret == 0 && info.si_pid)
        *ret_status = status_from(&info);
    return ret < 0 ? ret : info.si_pid;
}
