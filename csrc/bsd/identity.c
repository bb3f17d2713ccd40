/* bsd/identity.c - process identity on systems without process handles: the process id and the start time. */
#include "../identity.h"

#include "../proc.h"
#include "../sys.h"

int tg_identity_by_inode(int pidfd)
{
    (void)pidfd;
    return 0;
}

void tg_identity_note(struct tg_identity *ret_identity, int pid, int pidfd_take)
{
    struct tg_stat stat;
    (void)pidfd_take;
    *ret_identity = (struct tg_identity){0, tg_stat(pid, &stat) < 0 ? -1 : stat.started, 0};
}

int tg_identity_hold(const struct tg_identity *identity, int pid, int *ret_pidfd)
{
    struct tg_stat stat;
    int ret = tg_stat(pid, &stat);
    *ret_pidfd = -1;
    return ret < 0 ? ret : stat.started == identity->started;
}

long tg_wait_held(int pidfd, int pid, int *ret_status, int options, struct rusage *ret_usage)
{
    (void)pidfd;
    return tg_wait(pid, ret_status, options, ret_usage);
}
