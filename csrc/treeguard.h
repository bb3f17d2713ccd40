/* treeguard.h - the one header that Python sees.
 *
 * What stands between two cdef marks is handed to cffi as it is (build_ffi.py cuts it out: what is common to all systems,
 * and what this one has), so it keeps to the C that cffi parses: no macros with values, no includes, no attributes. */
#ifndef TREEGUARD_H
#define TREEGUARD_H

#include <stddef.h>
#include <stdint.h>

/* cdef: begin */

/* Where something failed. An error is always a step and an errno; Python makes the words. */
enum tg_step {
    TG_STEP_NONE,
    TG_STEP_ENGINE,     /* the event queue */
    TG_STEP_MEMORY,     /* memory for the tree */
    TG_STEP_LIFELINE,   /* the socket to the guard */
    TG_STEP_CLONE,      /* the new process */
    TG_STEP_GROUP,      /* its process group */
    TG_STEP_PARENT,     /* its parent-death signal */
    TG_STEP_CWD,        /* its working directory */
    TG_STEP_STDIO,      /* its standard streams */
    TG_STEP_PASS_FDS,   /* the descriptors passed on to it */
    TG_STEP_LIMIT,      /* the limit on its address space */
    TG_STEP_TERMINAL,   /* making its group the terminal's foreground group */
    TG_STEP_EXEC,       /* its program */
    TG_STEP_GUARD,      /* the guard's program */
    TG_STEP_CGROUP,     /* its cgroup */
    TG_STEP_LEASE,      /* the page with the supervisor's stamp */
    TG_STEP_SUBREAPER,  /* the guard adopting orphans */
    TG_STEP_WATCH,      /* the guard watching its children */
    TG_STEP_JOB,        /* its job object */
    TG_STEP_ISOLATION,  /* keeping its signals from guard and supervisor */
    TG_STEPS            /* their number */
};

struct tg_fault {
    int32_t step;
    int32_t err;
};

/* Everything that a tree's start needs, converted and checked. Nothing of it is kept after the call. On Windows strings
 * are UTF-16 and end with a NUL of that: `args` is one command line, `env` ends with an empty string, and handles stand for
 * descriptors; guard, lease, cgroup, terminal and ignored signals are none. */
struct tg_spec {
    const char *guard;      /* path of the guard's executable; NULL: no guard, a process group alone */
    const char *program;    /* path of the root's executable: no search is done */
    const char *args;       /* nargs strings, each with its NUL, one after another; argv[0] first */
    const char *env;        /* nenv strings NAME=value, likewise */
    const char *cwd;        /* working directory; NULL: the caller's */
    const int32_t *fds;     /* nfds descriptors to hand on under their own numbers, ascending, each >= 3 */
    const int32_t *handles; /* of each of these its handle, on Windows */
    size_t args_size;
    size_t env_size;
    uint32_t nargs;
    uint32_t nenv;
    uint32_t nfds;
    int32_t stdio[3];       /* descriptors that become 0, 1 and 2; -1: the null device */
    int32_t lease;          /* a file whose first 8 bytes are a time of CLOCK_MONOTONIC in ns, renewed by the supervisor
                             * as long as it works; -1: none */
    uint32_t lease_ms;      /* the guard ends the tree when that is longer ago */
    int32_t cgroup;         /* directory of a cgroup that the guard makes a leaf for the tree in; -1: none */
    uint64_t leaf;          /* the leaf's name there */
    int32_t leaf_made;      /* it is there already, with limits */
    uint64_t job_memory;    /* limits of a job: bytes that all may commit together, 0: none; */
    uint32_t job_processes; /* processes that live at a time, 0: none; */
    uint32_t job_cpu;       /* and of each 10,000 cycles of the machine, 0: all */
    int32_t new_session;    /* the root leads a session of its own, without a controlling terminal */
    int32_t isolated;       /* the root and its descendants can signal and trace nobody else; takes a guard */
    int32_t terminal;       /* a terminal that the root's group is brought to the foreground of; -1: none */
    uint64_t address_space; /* bytes that each process of the tree may map; 0: no limit */
    uint64_t ignore;        /* bit n-1: the root ignores signal n; all others are at their default */
};

/* What getrusage tells; the sum over a process and the descendants that it waited for. */
struct tg_usage {
    int64_t user_us;
    int64_t system_us;
    int64_t max_rss_kib;
    int64_t minor_faults;
    int64_t major_faults;
    int64_t voluntary_switches;
    int64_t involuntary_switches;
};

enum tg_kind {
    TG_STARTED = 1,     /* the root runs its program; pid */
    TG_FAILED = 2,      /* there is no tree and will be none; step, err. Last event. */
    TG_STOPPED = 3,     /* the root was stopped; signal */
    TG_CONTINUED = 4,   /* the root was continued */
    TG_ENDED = 5,       /* the root ended; code or signal, usage */
    TG_EMPTY = 6,       /* nothing of the tree is left, guard included; root as in TG_ENDED. Last event. */
    TG_LOST = 7,        /* the guard died, or said that the tree was empty when it was not; pid of the root, signal of the
                         * guard. Last event. */
    TG_CLOSING = 8      /* the last event waits for the guard's end, which no descriptor tells: see tg_tree_poll */
};

struct tg_event {
    uint64_t tag;           /* the tree's, as given to tg_tree_spawn */
    int32_t kind;
    int32_t pid;            /* of the root; 0: not known */
    int32_t step;
    int32_t err;
    int64_t code;           /* exit code of the root; -1: it was killed by a signal, or it is not known */
    int32_t signal;         /* signal that killed or stopped the root (TG_LOST: killed the guard), or 0 */
    int64_t oom_kills;      /* processes that were killed for the limit on memory of a leaf that was made with limits */
    struct tg_usage usage;  /* of the root */
    struct tg_usage total;  /* of the tree: what was reaped in it */
};

struct tg_engine;
struct tg_tree;

/* An engine tells what happens to its trees. On POSIX it is one descriptor that turns readable when any of them has something
 * to say; it belongs to the process that opened it: in a forked copy every call says -EPERM and does nothing. */
struct tg_engine *tg_engine_open(struct tg_fault *reterr_fault);
/* Hands over up to `max` events without waiting. Returns their number. */
int tg_engine_drain(struct tg_engine *engine, struct tg_event *ret_events, int max);
/* Closes the descriptors of the engine; its trees must have been freed. Also right in a forked copy. */
void tg_engine_close(struct tg_engine *engine);

/* Starts a tree. With a guard this returns before the program runs: TG_STARTED or TG_FAILED tells. Without,
 * it waits for a moment (on Windows until the program is there), and TG_STARTED or TG_FAILED comes from tg_tree_poll. NULL:
 * nothing was started. */
struct tg_tree *tg_tree_spawn(struct tg_engine *engine, const struct tg_spec *spec, uint64_t tag,
                              struct tg_fault *reterr_fault);
/* Looks after what no descriptor tells: the exec of a guardless root, the end of a guard. Returns 1 with an
 * event, 0 with none. */
int tg_tree_poll(struct tg_tree *tree, struct tg_event *ret_event);
/* Sends a signal to the root's group. 0, or -errno: -ESRCH when it is known to be gone. */
int tg_tree_signal(struct tg_tree *tree, int signal);
/* Ends the tree by force. 0, or -errno. */
int tg_tree_kill(struct tg_tree *tree);
/* The process that is our child: the guard, or without one the root. Its number stays its own until the tree was told
 * to be gone. */
int tg_tree_pid(const struct tg_tree *tree);
/* Whether what comes next of this tree is told by no descriptor, so that tg_tree_poll must be called. */
int tg_tree_polled(const struct tg_tree *tree);
/* Lets go. A guard that still lives ends its tree by itself. Also right in a forked copy. */
void tg_tree_free(struct tg_tree *tree);

/* The same, for callers that an exception may reach between the return of a call and the storing of what it returned:
 * results are written before. The events that are not told yet are `count`, and a polled one has a kind. What was closed or
 * freed is NULL from then on; again is no error. */
void tg_engine_open_kept(struct tg_engine **ret_engine, struct tg_fault *reterr_fault);
void tg_engine_drain_kept(struct tg_engine *engine, struct tg_event *ret_events, int max, int32_t *ret_count);
void tg_engine_close_kept(struct tg_engine **engine);
void tg_tree_spawn_kept(struct tg_engine *engine, const struct tg_spec *spec, uint64_t tag, struct tg_tree **ret_tree,
                        struct tg_fault *reterr_fault);
void tg_tree_poll_kept(struct tg_tree *tree, struct tg_event *ret_event);
void tg_tree_free_kept(struct tg_tree **tree);

/* cdef: end */

#ifdef _WIN32
/* cdef: begin win32 */
/* After a call that failed GetLastError tells what Windows itself says of it. */

/* Waits until there is something to hand over, no longer than that (-1: without end): 1, 0 or -errno. For one thread at a
 * time; the only call that may be made while another thread makes one. */
int tg_engine_wait(struct tg_engine *engine, int timeout_ms);
/* Ends that wait, with nothing to hand over. */
void tg_engine_wake(struct tg_engine *engine);

/* The process ids of those in a tree's job, `max` of them at most. Returns how many there are, or -errno. */
int tg_tree_members(const struct tg_tree *tree, int32_t *ret_pids, int max);
/* Whether the process of that number is in the job: 1 or 0. */
int tg_tree_has(const struct tg_tree *tree, int32_t pid);
/* Suspends all threads of a member, or lets them go on. 0, or -errno: -ESRCH when it is none. */
int tg_tree_suspend(const struct tg_tree *tree, int32_t pid, int suspended);
struct tg_stats {
    int64_t user_us;
    int64_t system_us;
    int64_t memory;         /* bytes that are resident, summed up over the members */
    int64_t peak_memory;    /* bytes that were committed at most, by all together */
    int32_t processes;
};
/* What the tree has used, and uses. 0, or -errno. */
int tg_tree_stats(const struct tg_tree *tree, struct tg_stats *ret_stats);
/* Which limits this system keeps, found out by setting and reading them back: bit 0 memory, 1 processes, 2 cpu. */
int tg_job_limits(void);
/* cdef: end */
#else
/* cdef: begin posix */
int tg_engine_fd(const struct tg_engine *engine);
/* The version of Landlock's ABI here, and the first one that isolates; or -errno: there is no Landlock. */
int tg_isolation_abi(int *ret_needed);
/* In a forked copy: closes the descriptors that a concurrent spawn of the original had open at the fork. */
void tg_engine_forked(struct tg_engine *engine);
/* Open a file, another descriptor of one that is open, or a file without a name that is in memory alone (Linux 3.17, FreeBSD
 * 13), with a number above those of the standard streams, close-on-exec. 0, or -errno: it is -1, or as it was. */
int tg_open_kept(const char *path, int flags, int32_t *ret_fd);
int tg_copy_kept(int fd, int32_t *ret_fd);
int tg_memory_kept(const char *name, int32_t *ret_fd);
/* Closes a descriptor, which is -1 from then on: again is no error, and closes nobody else's. */
void tg_close_kept(int32_t *fd);
/* How many guards have said their last word and not ended yet. They end at once, unless somebody stops them. */
const int32_t *tg_engine_leaving(const struct tg_engine *engine);
/* A word that is 1, and 0 in a forked copy; it lasts as long as the engine. NULL where the system wipes no memory at a fork. */
const int32_t *tg_engine_witness(const struct tg_engine *engine);
/* Whether a tree's guard is one of these. */
int tg_tree_leaving(const struct tg_tree *tree);

/* Lets a guard go on that was stopped: any process of the same user may do that to it. Whether it was: 1 or 0, or -errno. To be
 * called now and then while a start or an end is late. */
int tg_tree_wake(struct tg_tree *tree);
/* Kills a guard that does not do what it was told. `empty`: nothing else of the tree is left; what comes next is TG_EMPTY, as
 * if the guard had said so, else TG_LOST. 0, or -errno. */
int tg_tree_dismiss(struct tg_tree *tree, int empty);
/* cdef: end */
#endif

#ifdef __linux__
/* cdef: begin linux */
/* A process, as /proc shows it. */
struct tg_process {
    int32_t pid;
    int32_t parent;
    int32_t group;
    int32_t session;
    int32_t state;          /* the character in /proc/PID/stat */
    int64_t started;        /* clock ticks after boot */
    int64_t reaped;         /* page faults of the children that it has waited for: each adds some */
};
/* All processes, `max` at most; one that was gone when it was looked at has no state. Returns how many there are, or
 * -errno. */
int tg_processes(struct tg_process *ret_processes, int max);
/* Whether orphans among the descendants of this process become its children. */
int tg_adopts(void);
/* cdef: end */
#endif

#if !defined(_WIN32) && !defined(__linux__)
/* cdef: begin bsd */
/* A process, as sysctl(3) tells of it; times in microseconds. `used` and `memory` are 0 where they may not be known. */
struct tg_seen {
    int32_t parent;
    int32_t group;
    int32_t session;
    int32_t state;          /* a character as in Linux's /proc: R, T or Z */
    int64_t started_us;     /* since 1970 */
    int64_t user_us;
    int64_t system_us;
    int64_t memory;         /* resident bytes */
    char name[32];
};
/* 0, or -errno. */
int tg_look(int pid, struct tg_seen *ret_seen);
/* The process ids of all. Returns their number, which may be more than there was room for, or -errno. */
int tg_list(int32_t *ret_pids, int max);
/* cdef: end */
#endif

#endif
