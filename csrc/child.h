/* child.h - what a new process does before it runs its program. */
#ifndef TG_CHILD_H
#define TG_CHILD_H

#include "sys.h"
#include "treeguard.h"

/* A range of descriptors, both ends included. */
struct tg_fd_range {
    uint32_t first;
    uint32_t last;
};

struct tg_child {
    const char *program;
    char *const *argv;
    char *const *envp;
    const char *cwd;            /* NULL: keep the parent's, or `directory` */
    const int32_t *pass;        /* descriptors that stay open across the exec */
    const struct tg_fd_range *close_ranges;  /* ranges of descriptors to close */
    uint32_t npass;
    uint32_t nclose_ranges;
    int32_t stdio[3];           /* descriptors that become 0, 1 and 2 */
    struct tg_options options;
    const struct tg_attributes *attributes; /* NULL: none. Some of them need memory of the child's own:
                                             * tg_attributes_need_memory */
    int32_t directory;          /* descriptor of the working directory; -1: none */
    int32_t cgroup;             /* directory of a cgroup to move to if the child was not created in it; -1: none */
    int32_t joined;             /* cgroup.procs of a cgroup to move to, opened by a user who may do that; -1: none */
    int32_t parent;             /* process id of the parent whose end kills the child; 0: none */
    int32_t inherit_signals;    /* signal dispositions are already correct, do not reset them */
    int32_t inherit_stdio;      /* the standard streams are in place, and without close-on-exec */
    uint64_t address_space;     /* limit on the mapped address space in bytes; 0: none */
    tg_sigset ignore;
    tg_sigset mask;             /* signals blocked in the program */
    uint32_t *table;            /* futex word that the parent waits on while the child uses the parent's table of
                                 * descriptors; NULL: the child has its own table */
    int32_t status_fd;          /* pipe to report a fault if memory is not shared; -1: memory is shared */
    struct tg_fault fault;      /* fault of the child; step stays TG_STEP_NONE if the program started */
};

/* Entry point of the new process. All signals must be blocked. Uses system calls only, and very little stack. */
_Noreturn void tg_child_run(struct tg_child *child);

/* Platform-specific functions. */

/* Closes a range of descriptors, except `but`. */
void tg_close_fd_range(struct tg_fd_range range, int but);

/* Replaces the shared table of descriptors by a private copy that keeps only the descriptors below `first`. Then sets
 * the futex word and wakes the parent. Returns 0, or -errno. */
long tg_leave_table(uint32_t *table, uint32_t first);

/* Requests SIGKILL at the end of the parent, whose process id must be `parent`. Returns 0, or -errno. */
long tg_die_with_parent(int parent);

/* Opens the working directory for tg_child.directory. Returns a descriptor, or -errno. */
long tg_open_directory(void);

/* Moves this process into a cgroup, given its directory. Returns 0, or -errno. */
long tg_join_cgroup(int cgroup);

#endif
