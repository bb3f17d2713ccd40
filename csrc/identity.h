/* identity.h - our child, told from whoever has its number later. A host may reap what it has not started (waitpid(-1), or
 * SIGCHLD ignored): then the number is given away, and may be another child's. One file a kind of system behind it. */
#ifndef TG_IDENTITY_H
#define TG_IDENTITY_H

#include <stdint.h>

struct rusage;

struct tg_identity {
    uint64_t inode;     /* of its pidfds; 0: not known */
    int64_t started;    /* when it was started at the latest, in the unit of struct tg_stat; -1: not known */
};

/* Whether the pidfds of each process have an inode of their own, given one. */
int tg_identity_by_inode(int pidfd);

/* To be called when the child has been launched. Takes over its pidfd, or -1. */
void tg_identity_note(struct tg_identity *ret_identity, int pid, int pidfd_take);

/* Who has the number: 1, the child; 0, another; negative: nobody, or that cannot be told. Gives a handle of the child, or
 * -1. */
int tg_identity_hold(const struct tg_identity *identity, int pid, int *ret_pidfd);

/* wait4 for a child that is held by a handle, whoever has its number: -ECHILD when it was reaped already. Without a handle
 * (negative) it goes by the number. */
long tg_wait_held(int pidfd, int pid, int *ret_status, int options, struct rusage *ret_usage);

#endif
