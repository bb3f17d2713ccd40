/* launch.h - the parent half of a start: creates a process without waiting for its program. Each platform has its own
 * implementation. */
#ifndef TG_LAUNCH_H
#define TG_LAUNCH_H

#include "child.h"

/* Ways to create a process, in order of preference. The library keeps the first one that the kernel and its filters
 * allow. Systems other than Linux have one way of their own, and TG_METHOD_FORK. */
enum tg_method {
    TG_METHOD_CLONE3,   /* 5.3 */
    TG_METHOD_CLONE,    /* if a filter forbids clone3 */
    TG_METHOD_FORK      /* copies memory and reports through a pipe: for emulators, for machines without assembly here,
                         * and for attributes that need memory of their own */
};

/* The new process uses this structure until tg_launch_done returns 1. It must not be moved or freed before. */
struct tg_launch {
    struct tg_child child;
    uint32_t running;   /* the kernel clears and wakes it when the child has run its program or ended; 2: the child also
                         * uses our table of descriptors */
    int32_t quick;      /* the program is known to start at once, so waiting for its exec is acceptable */
    int32_t pid;
    int32_t pidfd;      /* if requested and available; else negative */
    int32_t cgroup;     /* directory of a cgroup to create the child in; -1: the parent's */
    int32_t share_table;    /* do not copy the table of descriptors: see tg_launch */
    int32_t sibling;        /* the child's parent is our parent (CLONE_PARENT); Linux only */
    int32_t status_fd;  /* our end of the pipe of TG_METHOD_FORK; else -1 */
    _Alignas(16) char stack[8192];
};

/* Starts child->program. The caller must have blocked all signals. `want_pidfd` requests a pidfd. With `share_table`
 * the child starts on our table of descriptors, and this function waits until the child has left it. That takes less
 * time than copying a table of thousands of descriptors. Returns 0, or -errno: then there is no process, and
 * child.fault may name a step. */
int tg_launch(struct tg_launch *launch, int want_pidfd);

/* Waits up to `timeout` milliseconds for the exec. Returns 1 if the program runs, or if the child ended without it;
 * then child.fault has the reason, and the process still has to be reaped. Returns 0 if neither happened yet. Use a
 * timeout that is longer than a tick of the kernel (mostly 4 ms). For a shorter one the kernel programs the timer
 * hardware and cancels it again, which costs a fifth of an exec in a virtual machine. */
int tg_launch_done(struct tg_launch *launch, int timeout);

/* TG_METHOD_FORK, shared by all platforms. Returns the process id, or -errno. */
long tg_fork_child(struct tg_launch *launch);
int tg_fork_done(struct tg_launch *launch, int timeout);

/* Starts with a later method, for tests. */
void tg_launch_method(enum tg_method method);

/* Runs code in our memory, on our table of descriptors, in a process of its own. tg_launch_done tells when it has ended.
 * Returns its process id, or -errno; Linux only. */
long tg_launch_helper(struct tg_launch *launch, void (*run)(struct tg_child *));

/* As tg_fork, and the child's parent is our parent. Linux only. */
long tg_fork_sibling(void);

int tg_pidfd_open(int pid);

#endif
