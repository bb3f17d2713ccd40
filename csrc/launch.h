/* launch.h - the parent half: a new process, without waiting for its program to begin. One file a system behind it. */
#ifndef TG_LAUNCH_H
#define TG_LAUNCH_H

#include "child.h"

/* How a process is made. The first that this kernel and its filters allow is kept for the process. Other systems than Linux
 * have one way of their own, and the last. */
enum tg_method {
    TG_METHOD_CLONE3,   /* 5.3 */
    TG_METHOD_CLONE,    /* where a filter forbids clone3 */
    TG_METHOD_FORK      /* copies memory, tells by a pipe: emulators, and machines without assembly here */
};

/* Belongs to the new process too until tg_launch_done says 1: it must not move or be freed before. */
struct tg_launch {
    struct tg_child child;
    uint32_t running;   /* the kernel clears and wakes it when the child has run its program or ended; 2: it also is on
                         * our table of descriptors */
    int32_t quick;      /* its program is known to begin at once: to wait for that stops nobody */
    int32_t pid;
    int32_t pidfd;      /* set if asked for and to be had, else negative */
    int32_t cgroup;     /* directory of a cgroup to be born in; -1: the parent's */
    int32_t share_table;    /* do not copy the table of descriptors: see tg_launch */
    int32_t status_fd;  /* of TG_METHOD_FORK: our end of the pipe; else -1 */
    _Alignas(16) char stack[8192];
};

/* Starts child->program. All signals must be blocked by the caller. `want_pidfd`: ask for a pidfd. `share_table`: begin on
 * our table of descriptors, and wait until the child has left it. That takes a moment, where copying a table of thousands
 * takes many.
 * Returns 0, or -errno: then there is no process, and child.fault may tell a step. */
int tg_launch(struct tg_launch *launch, int want_pidfd);

/* Waits up to `timeout` milliseconds. Returns 1 when the program runs, or the child ended without: then
 * child.fault tells why, and the process is still to be reaped. 0: not yet. A timeout had better be longer than a tick of
 * the kernel (mostly 4): a timer that is due before it is programmed into the processor and out of it again, which in a
 * virtual machine costs a fifth of an exec. */
int tg_launch_done(struct tg_launch *launch, int timeout);

/* The last method, shared by all systems. Returns the process id, or -errno. */
long tg_fork_child(struct tg_launch *launch);
int tg_fork_done(struct tg_launch *launch, int timeout);

/* Begins with a later method; for tests. */
void tg_launch_method(enum tg_method method);

int tg_pidfd_open(int pid);

#endif
