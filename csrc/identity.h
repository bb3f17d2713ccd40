/* identity.h - tells a child of ours from a later process with the same process id. A host may reap a child that it has
 * not started (waitpid(-1), or SIGCHLD ignored). Then the kernel can reuse the process id, even for another child of
 * ours. Each platform has its own implementation. */
#ifndef TG_IDENTITY_H
#define TG_IDENTITY_H

#include <stdint.h>

struct rusage;

struct tg_identity {
    uint64_t inode;     /* inode of its pidfds; 0: not known */
    int64_t started;    /* upper bound of its start time, in the unit of struct tg_stat; -1: not known */
    int adopted;        /* it is not a child of ours */
};

/* Returns whether pidfds have unique inodes, given a pidfd. */
int tg_identity_by_inode(int pidfd);

/* Records the identity of a child after its launch. Takes over its pidfd, or -1. */
void tg_identity_note(struct tg_identity *ret_identity, int pid, int pidfd_take);

/* Checks which process has the process id. Returns 1 for the child, 0 for another process, and a negative value if no
 * process has it or the check failed. Stores a handle of the child, or -1. */
int tg_identity_hold(const struct tg_identity *identity, int pid, int *ret_pidfd);

/* wait4 for a child by its handle, independent of the process id. Returns -ECHILD if the child was already reaped.
 * Without a handle (negative) it uses the process id. */
long tg_wait_held(int pidfd, int pid, int *ret_status, int options, struct rusage *ret_usage);

#endif
