/* child.h - what a new process does to itself before it runs its program. */
#ifndef TG_CHILD_H
#define TG_CHILD_H

#include "sys.h"
#include "treeguard.h"

/* A run of descriptors, both ends included. */
struct tg_gap {
    uint32_t first;
    uint32_t last;
};

struct tg_child {
    const char *program;
    char *const *argv;
    char *const *envp;
    const char *cwd;            /* NULL: stay */
    const int32_t *pass;        /* descriptors that must survive the exec */
    const struct tg_gap *gaps;  /* descriptors that must not */
    uint32_t npass;
    uint32_t ngaps;
    int32_t stdio[3];           /* descriptors that become 0, 1 and 2 */
    int32_t terminal;           /* -1: none */
    int32_t cgroup;             /* directory of a cgroup to move to, for who was not born in it; -1: none */
    int32_t parent;             /* die with this parent, by its process id; 0: don't */
    int32_t new_session;        /* lead a session of its own, not only a group */
    int32_t isolated;           /* enter a domain of its own: see isolation.h */
    int32_t inherit_signals;    /* dispositions are as they should be: there is nothing to reset */
    uint64_t address_space;     /* bytes that may be mapped; 0: no limit */
    tg_sigset ignore;
    tg_sigset mask;             /* signals blocked in the program */
    uint32_t *table;            /* the table of descriptors is the parent's, who waits for this word to change; NULL: it is
                                 * our own */
    int32_t status_fd;          /* where a fault is written when memory is not shared; -1: it is */
    struct tg_fault fault;      /* of the child; step stays TG_STEP_NONE if the program was started */
};

/* Called in the new process with every signal blocked. Uses system calls only, and very little stack. */
_Noreturn void tg_child_run(struct tg_child *child);

/* What differs between systems. */

/* Closes a run of descriptors, except `but`. */
void tg_close_gap(struct tg_gap gap, int but);

/* Takes a table of descriptors of our own, with those below `first` alone, and then changes and wakes the word that the
 * parent waits for. 0, or -errno. */
long tg_leave_table(uint32_t *table, uint32_t first);

/* Asks for SIGKILL when the parent ends, whose process id this should be. 0, or -errno. */
long tg_die_with_parent(int parent);

/* Moves this process into a cgroup, given its directory. 0, or -errno. */
long tg_join_cgroup(int cgroup);

#endif
