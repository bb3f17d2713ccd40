/* treeguard.h - the interface for Python.
 *
 * build_ffi.py extracts the text between two cdef marks, for all systems and for the current one, and passes it to
 * cffi. So that text is limited to the C that cffi parses: no macros with values, no includes, no attributes. */
#ifndef TREEGUARD_H
#define TREEGUARD_H

#include <stddef.h>
#include <stdint.h>

/* cdef: begin */

/* The step that failed. An error is always a step and an errno. Python turns them into a message. */
enum tg_step {
    TG_STEP_NONE,
    TG_STEP_ENGINE,     /* the event queue */
    TG_STEP_MEMORY,     /* memory for the tree */
    TG_STEP_LIFELINE,   /* the socket to the guard */
    TG_STEP_CLONE,      /* the new process */
    TG_STEP_PROCESS_GROUP,  /* its process group or session */
    TG_STEP_PARENT,     /* its parent-death signal */
    TG_STEP_CWD,        /* its working directory */
    TG_STEP_STDIO,      /* its standard streams */
    TG_STEP_PASS_FDS,   /* the descriptors passed on to it */
    TG_STEP_LIMIT,      /* the limit on its address space */
    TG_STEP_TERMINAL,   /* making its group the terminal's foreground group */
    TG_STEP_PTY,        /* making a terminal that of its session */
    TG_STEP_EXEC,       /* its program */
    TG_STEP_GUARD,      /* the guard's program */
    TG_STEP_CGROUP,     /* its cgroup */
    TG_STEP_LEASE,      /* the page with the supervisor's time stamp */
    TG_STEP_SUBREAPER,  /* the guard adopting orphans */
    TG_STEP_WATCH,      /* the guard watching its children */
    TG_STEP_JOB,        /* its job object */
    TG_STEP_ISOLATION,  /* keeping its signals from guard and supervisor */
    TG_STEP_NICE,       /* its nice value */
    TG_STEP_OOM_SCORE_ADJ,  /* its weight for the OOM killer */
    TG_STEP_CPU_AFFINITY,   /* the CPUs that it may use */
    TG_STEP_RLIMITS,    /* its resource limits */
    TG_STEP_GROUPS,     /* its supplementary groups */
    TG_STEP_GROUP,      /* its group */
    TG_STEP_USER,       /* its user. EACCES: the process that would have to signal it may not */
    TG_STEP_PID_NAMESPACE,  /* new user, mount and PID namespaces, and their init */
    TG_STEP_USER_MAP,   /* the user and the group that the user namespace has */
    TG_STEP_MOUNT_PROC, /* /proc of the namespace */
    TG_STEPS            /* number of steps */
};

struct tg_fault {
    int32_t step;
    int32_t err;
};

/* Bits of tg_options.isolated: the tree can signal and trace nothing outside; it is in a PID namespace (Linux). */
enum tg_isolation { TG_ISOLATE_SIGNALS = 1, TG_ISOLATE_PIDS = 2 };

/* What a root is given and its guard must not have. It goes down unchanged: from tg_spec to the guard (struct tg_handover
 * in wire.h) and to the code between clone and exec (struct tg_child in child.h), which sets it. */
struct tg_options {
    int32_t terminal;       /* a terminal whose foreground group becomes the root's group; -1: none */
    int32_t new_session;    /* the root leads its own session. Its controlling terminal is `terminal`, which no other
                             * session may have; only as a standard stream does that stay open. -1: it has none */
    int32_t isolated;       /* enum tg_isolation; requires a guard */
};

/* In a spec's stdio. A stream that is close-on-exec is not inherited: the child has the null device instead. */
enum { TG_INHERIT = -2 };

/* Sizes of arrays below, which cffi parses as numbers only. */
enum { TG_CPU_WORDS = 16, TG_RLIMITS = 16, TG_MAX_GROUPS = 1024 };

/* Soft and hard limit. UINT64_MAX: no limit. */
struct tg_rlimit {
    uint64_t soft;
    uint64_t hard;
};

/* Bits of tg_attributes.given. */
enum tg_given {
    TG_GIVEN_UMASK = 1,
    TG_GIVEN_NICE = 2,
    TG_GIVEN_OOM_SCORE_ADJ = 4,
    TG_GIVEN_CPU_AFFINITY = 8,
    TG_GIVEN_RLIMITS = 16,
    TG_GIVEN_GROUPS = 32,
    TG_GIVEN_GROUP = 64,
    TG_GIVEN_USER = 128,
    TG_GIVEN_BLOCKED = 256,
    TG_GIVEN_IGNORE_CHILD = 512,
    TG_GIVEN_OWN_PID = 1024,
    TG_GIVEN_LAUNCHER = 2048,
    TG_GIVEN_LAUNCHER_PID = 4096
};

/* What the root has otherwise than its supervisor and its guard. It goes down as tg_options does, but most trees have
 * none. Members whose bit is not in `given` have no effect. */
struct tg_attributes {
    uint64_t cpu_affinity[16];      /* bit n % 64 of word n / 64: CPU n, as in the kernel's masks. Linux only */
    struct tg_rlimit rlimits[16];   /* by the number of the resource, as in setrlimit(2) */
    uint64_t blocked;       /* bit n-1: signal n is blocked */
    uint32_t given;         /* enum tg_given */
    uint32_t which_rlimits; /* bit n: rlimits[n] is set */
    uint32_t umask;
    int32_t nice;           /* added to the nice value, as by nice(2) */
    int32_t oom_score_adj;  /* of /proc/PID/oom_score_adj. Linux only */
    uint32_t user;
    uint32_t group;
    uint32_t ignore_child;  /* SIGCHLD is ignored, which its guard must not do */
    uint32_t own_pid;       /* the process id of the root replaces each value of the environment that is this many
                             * characters long, all of them '#' */
    int32_t launcher;       /* a pidfd of the process that started the supervisor: its end also ends the tree. -1 if the
                             * system has no pidfds. Requires a guard */
    int32_t launcher_pid;   /* its process id; without a pidfd it is the supervisor's parent */
    uint32_t ngroups;       /* number of supplementary groups */
    uint32_t groups[1024];  /* last, because only those in use are handed over */
};

/* Everything that the start of a tree needs, converted and checked. The call keeps no reference to it. On Windows
 * strings are UTF-16 and end with a UTF-16 NUL, `args` is one command line, and `env` ends with an empty string.
 * Handles replace descriptors there, and guard, lease, cgroup, options, attributes and ignored signals are not used. */
struct tg_spec {
    const char *guard;      /* path of the guard's executable; NULL: no guard, only a process group */
    const char *title;      /* what the guard's command line shows besides state, root and tree (wire.h) */
    const char *program;    /* path of the root's executable; not searched for */
    const char *args;       /* nargs consecutive strings, each with its NUL; argv[0] first */
    const char *env;        /* nenv strings NAME=value, in the same format */
    const char *cwd;        /* working directory; NULL: the caller's */
    const int32_t *fds;     /* nfds descriptors to pass on under the same numbers, ascending, each >= 3 */
    const int32_t *handles; /* the handle of each of these, on Windows */
    size_t args_size;
    size_t env_size;
    uint32_t nargs;
    uint32_t nenv;
    uint32_t nfds;
    int32_t stdio[3];       /* descriptors that become 0, 1 and 2; -1: the null device; TG_INHERIT: this process's own */
    int32_t lease;          /* a file whose first 8 bytes are a time of CLOCK_MONOTONIC in ns, which the supervisor
                             * renews while it works; -1: none */
    uint32_t lease_ms;      /* the guard ends the tree if that time is longer ago */
    int32_t cgroup;         /* directory of a cgroup in which the guard creates a leaf for the tree; -1: none */
    uint64_t leaf;          /* name of the leaf in it */
    int32_t leaf_made;      /* the leaf already exists and has limits */
    int32_t alone;          /* Linux: the engine's descriptor does not report the tree until tg_tree_join */
    uint64_t job_memory;    /* limits of a job: bytes that all processes together may commit, 0: none; */
    uint32_t job_processes; /* processes that may live at a time, 0: none; */
    uint32_t job_cpu;       /* and CPU time out of 10,000 cycles of the machine, 0: all */
    uint32_t creationflags; /* Windows: further flags of CreateProcess */
    int32_t show_window;    /* Windows: how the first window is shown; -1: as the program likes */
    struct tg_options options;
    const struct tg_attributes *attributes; /* NULL: the root has none of its own */
    uint64_t address_space; /* bytes that each process of the tree may map; 0: no limit */
    uint64_t ignore;        /* bit n-1: the root ignores signal n; all other signals have their default action */
};

/* Resource usage from getrusage: the sum over a process and the descendants that it waited for. */
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
    TG_EMPTY = 6,       /* no process of the tree is left, including the guard; root as in TG_ENDED. Last event. */
    TG_LOST = 7,        /* the guard died, or reported an empty tree that was not empty; pid of the root, signal of the
                         * guard. Last event. */
    TG_CLOSING = 8,     /* the last event waits for the guard's end, which no descriptor reports: see tg_tree_poll */
    TG_RELEASED = 9     /* the guard has answered an order to release: see tg_tree_answer */
};

/* A code: a signal killed the root, which dumped core. */
enum { TG_DUMPED = -2 };

struct tg_event {
    uint64_t tag;           /* of the tree, as given to tg_tree_spawn */
    int32_t kind;
    int32_t pid;            /* of the root; 0: not known */
    int32_t step;
    int32_t err;
    int64_t code;           /* exit code of the root; -1: killed by a signal, or not known; TG_DUMPED */
    int32_t signal;         /* signal that killed or stopped the root (TG_LOST: killed the guard), or 0 */
    int32_t polled;         /* no descriptor reports the tree's next event: see tg_tree_poll */
    int64_t oom_kills;      /* processes that the OOM killer ended in a leaf that was created with limits */
    struct tg_usage usage;  /* of the root */
    struct tg_usage total;  /* of the tree: all processes that were reaped in it */
};

struct tg_engine;
struct tg_tree;

/* An engine reports the events of its trees. On POSIX it is one descriptor that becomes readable when any tree has an
 * event. It belongs to the process that opened it: in a forked copy every call returns -EPERM and does nothing. */
struct tg_engine *tg_engine_open(struct tg_fault *reterr_fault);
/* Stores up to `max` events without waiting. Returns their number. */
int tg_engine_drain(struct tg_engine *engine, struct tg_event *ret_events, int max);
/* Closes the descriptors of the engine. All its trees must have been freed. Safe in a forked copy. */
void tg_engine_close(struct tg_engine *engine);

/* Starts a tree. With a guard this returns before the program runs; TG_STARTED or TG_FAILED follows. Without a guard it
 * waits for a moment (on Windows until the program runs), and tg_tree_poll returns TG_STARTED or TG_FAILED. Returns
 * NULL if nothing was started. */
struct tg_tree *tg_tree_spawn(struct tg_engine *engine, const struct tg_spec *spec, uint64_t tag,
                              struct tg_fault *reterr_fault);
/* Checks for events that no descriptor reports: the exec of a root without a guard, the end of a guard. Returns 1 with
 * an event, 0 without. */
int tg_tree_poll(struct tg_tree *tree, struct tg_event *ret_event);
/* Or'ed to a signal: it asks for an end, so those that are stopped go on to hear it (SIGCONT). */
enum { TG_ASK = 1 << 16 };
/* Sends a signal to the root's group. Returns 0, or -errno: -ESRCH if it is known to be gone. */
int tg_tree_signal(struct tg_tree *tree, int signal);
/* Ends the tree by force. Returns 0, or -errno. */
int tg_tree_kill(struct tg_tree *tree);
/* Returns the process id of our child: the guard, or without one the root. The id is not reused until an event reports
 * that the tree is gone. */
int tg_tree_pid(const struct tg_tree *tree);
/* Returns whether no descriptor reports the next event of this tree, so that tg_tree_poll must be called. */
int tg_tree_polled(const struct tg_tree *tree);
/* Releases the tree. A guard that still lives ends its tree by itself. Safe in a forked copy. */
void tg_tree_free(struct tg_tree *tree);

/* The same functions for callers that an exception may interrupt between the return of a call and the storing of its
 * result: they store results before they return. `count` is the number of events that are not handled yet, and a polled
 * event has a kind. Closed or freed objects become NULL; closing or freeing them again is no error. */
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
/* After a failed call GetLastError returns the error of Windows itself. */

/* Waits for events up to the timeout (-1: forever). Returns 1, 0 or -errno. Only one thread at a time may call it. It
 * is the only function that may run while another thread is in a call. */
int tg_engine_wait(struct tg_engine *engine, int timeout_ms);
/* Ends that wait without an event. */
void tg_engine_wake(struct tg_engine *engine);

/* Stores the process ids of the members of a tree's job, at most `max`. Returns the number of members, or -errno. */
int tg_tree_members(const struct tg_tree *tree, int32_t *ret_pids, int max);
/* Returns whether the process with that id is in the job: 1 or 0. */
int tg_tree_has(const struct tg_tree *tree, int32_t pid);
/* Suspends or resumes all threads of a member. Returns 0, or -errno: -ESRCH if it is not a member. */
int tg_tree_suspend(const struct tg_tree *tree, int32_t pid, int suspended);
struct tg_stats {
    int64_t user_us;
    int64_t system_us;
    int64_t memory;         /* resident bytes, sum over the members */
    int64_t peak_memory;    /* peak of the bytes committed by all members together */
    int32_t processes;
};
/* Reads the resource usage of the tree. Returns 0, or -errno. */
int tg_tree_stats(const struct tg_tree *tree, struct tg_stats *ret_stats);
/* Returns the limits that this system enforces, determined by setting and reading them back: bit 0 memory, 1 processes,
 * 2 cpu. */
int tg_job_limits(void);
/* cdef: end */
#else
/* cdef: begin posix */
int tg_engine_fd(const struct tg_engine *engine);
/* Returns the version of Landlock's ABI, and stores the first version that isolates. Returns -errno if there is no
 * Landlock. */
int tg_isolation_abi(int *ret_needed);
/* In a forked copy: closes the descriptors of a spawn that was in progress in another thread at the fork. */
void tg_engine_forked(struct tg_engine *engine);
/* Returns which of n consecutive paths, each with its NUL, is the first that is a file which may be executed; -1: none. */
int tg_find(const char *paths, int n);
/* Open a file below an open directory (-1: the current one), duplicate a descriptor, create a file in memory without a
 * name (Linux 3.17, FreeBSD 13), or open a handle of a process (Linux 5.3). The new descriptor is above those of the
 * standard streams and close-on-exec. Return 0, or -errno; `ret_fd` is then -1, or unchanged. */
int tg_open_kept(int directory, const char *path, int flags, int32_t *ret_fd);
int tg_copy_kept(int fd, int32_t *ret_fd);
int tg_memory_kept(const char *name, int32_t *ret_fd);
int tg_pidfd_kept(int pid, int32_t *ret_fd);
/* Opens what one thread makes readable to wake another that polls it: an eventfd, which is both ends, or a pipe. Does
 * not block. */
int tg_waker_kept(int32_t *ret_reader, int32_t *ret_writer);
/* Opens a pseudo-terminal in the same way: our end, which does not block, and the one for a child. */
int tg_pty_kept(int32_t *ret_ours, int32_t *ret_childs);
/* Closes a descriptor and sets it to -1. Calling it again is no error and closes no other file. */
void tg_close_kept(int32_t *fd);
/* A close-on-exec pipe. Other owners may close its ends first, so `inode` tells whether a number still belongs to it. */
struct tg_pipe {
    int32_t ends[2];
    uint64_t inode;
};
/* Makes a pipe. Returns 0, or -errno. */
int tg_pipe_kept(struct tg_pipe *ret_pipe);
/* Closes one end (0: the one to read from), and leaves the other one to its other owner. */
void tg_pipe_give(struct tg_pipe *pipe, int closed);
/* Closes the ends that are still open. A second call has no effect. */
void tg_pipe_close(struct tg_pipe *pipe);
/* Returns the number of guards that have sent their last event and have not ended yet. They end at once, unless another
 * process stops them. */
const int32_t *tg_engine_leaving(const struct tg_engine *engine);
/* Returns a word that is 1, and 0 in a forked copy. It lives as long as the engine. NULL if the system cannot zero
 * memory at a fork. */
const int32_t *tg_engine_witness(const struct tg_engine *engine);
/* Returns whether a tree's guard is one of these. */
int tg_tree_leaving(const struct tg_tree *tree);
/* Returns a handle of the init of a tree in a PID namespace, which becomes readable when nothing is left in there; -1:
 * none. It is closed with the tree. */
int tg_tree_init(const struct tg_tree *tree);

/* Continues a guard that was stopped, which any process of the same user can do. Returns whether it was stopped: 1 or
 * 0, or -errno. Callers use it periodically while a start or an end is late. */
int tg_tree_wake(struct tg_tree *tree);
/* Kills a guard that does not obey. `empty`: no other process of the tree is left. The next event is then TG_EMPTY, as
 * if the guard had sent it, else TG_LOST. Returns 0, or -errno. */
int tg_tree_dismiss(struct tg_tree *tree, int empty);
/* cdef: end */
#endif

#ifdef __linux__
/* cdef: begin linux */
/* A process, from /proc. */
struct tg_process {
    int32_t pid;
    int32_t parent;
    int32_t group;
    int32_t session;
    int32_t state;          /* the character in /proc/PID/stat */
    int64_t started;        /* clock ticks after boot */
    int64_t reaped;         /* page faults of the children that it has waited for; each child adds some */
};
/* Stores all processes, at most `max`. A process that ended before it was read has no state. Returns the number of
 * processes, or -errno. */
int tg_processes(struct tg_process *ret_processes, int max);
/* Returns whether this process adopts the orphans among its descendants. */
int tg_adopts(void);
/* Kills descendants of a process that are being created faster than a list of all processes can show them, for at most
 * that long. Returns how many were killed, or -errno. */
int tg_chase(int ancestor, int milliseconds);

enum tg_attended {
    TG_ATTENDED = 0,        /* there is another event, or the time is over, or the tree has to be polled */
    TG_ATTENDED_SIGNAL = 1, /* a signal has arrived */
    TG_ATTENDED_OVER = 2    /* the root has run, and the tree is empty: ret_told[1] */
};
/* Waits until a tree that was started alone has another event than TG_STARTED, at most so long, or until a signal
 * arrives. Only orders may be given to the tree meanwhile; other trees of the engine may be used. `ret_told` are
 * TG_STARTED, if the tree is not empty yet, and that event. */
int tg_tree_attend_kept(struct tg_tree *tree, int timeout_ms, struct tg_event ret_told[2]);
/* From now on the engine's descriptor reports the tree, unless tg_tree_polled returns that it has to be polled. `told`
 * are the events that are not handled yet. */
void tg_tree_join(struct tg_tree *tree, struct tg_event told[2]);

/* Orders the guard to let its tree outlive this process, and to wait at an abstract address of that name, which has at most
 * 79 characters, for a process that takes the tree over. TG_RELEASED follows. If its `err` is EAGAIN, the order has to be
 * repeated: the guard has asked the kernel to name those who give it orders. If it is 0, freeing the tree leaves it alone
 * from then on. Returns 0, or -errno. */
int tg_tree_release(struct tg_tree *tree, const char *name);
/* Takes that order back, or completes a take-over: the tree ends with this process. Returns 0, or -errno. */
int tg_tree_retain(struct tg_tree *tree);
/* Returns the guard's answer to the order to release: 0, or an errno; -1: none yet. */
int tg_tree_answer(const struct tg_tree *tree);
/* Takes over a released tree: `fd` is connected to the address of its guard, `pid`, and belongs to the tree from now on, also
 * in the case of a failure. `cgroup` is the directory of its leaf's parent, or -1. TG_STARTED follows, and TG_ENDED if the
 * root has ended; or TG_FAILED, if the guard refused. The take-over is complete with tg_tree_retain; freeing the tree before
 * leaves it alone. */
void tg_tree_adopt_kept(struct tg_engine *engine, int fd, int pid, int cgroup, uint64_t leaf, uint64_t tag,
                        struct tg_tree **ret_tree, struct tg_fault *reterr_fault);
/* cdef: end */
#endif

#if !defined(_WIN32) && !defined(__linux__)
/* cdef: begin bsd */
/* A process, from sysctl(3). CPU times are in microseconds. Times and `memory` are 0 if they may not be read. */
struct tg_proc_info {
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
/* Returns 0, or -errno. */
int tg_proc_get(int pid, struct tg_proc_info *ret_info);
/* Stores the process ids of all processes. Returns their number, which may be larger than `max`, or -errno. */
int tg_list(int32_t *ret_pids, int max);
/* cdef: end */
#endif

#endif
