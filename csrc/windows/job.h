/* windows/job.h - internals of the Windows engine: one completion port, and one job per tree, nested in a job around
 * all trees.
 *
 * The Windows files use only the C that MSVC compiles. */
#ifndef TG_JOB_H
#define TG_JOB_H

#include "../treeguard.h"

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

enum { TG_BATCH = 64 };

/* Target of a completion key. Messages of a freed tree stay in the port, so a key must not lead to the next tree in its
 * slot: the generation tells them apart. */
struct tg_slot {
    struct tg_tree *tree;   /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct tg_engine {
    HANDLE port;
    HANDLE job;             /* around all trees: it ends with the supervisor, even if another process holds a handle of
                             * a tree */
    SRWLOCK lock;           /* protects the members below, shared by the waiting thread and the others */
    OVERLAPPED_ENTRY ready[TG_BATCH];   /* messages that the waiting thread has taken from the port and that are not
                                         * handled yet */
    ULONG ready_next;
    ULONG ready_end;
    struct tg_slot *slots;
    uint32_t nslots;
    uint32_t first_free;
};

struct tg_tree {
    struct tg_engine *engine;
    uint64_t tag;
    ULONG_PTR key;
    HANDLE job;
    HANDLE root;            /* kept open, so that its process id is not reused */
    DWORD pid;
    int started_reported;
    int root_ended;         /* the port has reported it */
    int ended_reported;
    int zero;               /* the port has reported that no process is active */
    int killed;
};

/* Returns the errno for a result of GetLastError. */
int tg_errno(DWORD error);
struct tg_fault tg_fault_now(int step);
/* CloseHandle that ignores NULL. It preserves GetLastError, which callers report after a fault. */
void tg_close(HANDLE handle);

/* Assigns a slot to a tree. Returns its key, or 0 if memory is short. tg_engine_leave frees the slot. */
ULONG_PTR tg_engine_enter(struct tg_engine *engine, struct tg_tree *tree);
void tg_engine_leave(struct tg_engine *engine, ULONG_PTR key);

/* Creates a job that kills its processes when its last handle is closed, and lets no process break away. Returns NULL
 * with GetLastError on failure. */
HANDLE tg_job_open(void);

/* Sets limits on a job (struct tg_spec) and reads them back. Returns 0 with GetLastError if the system does not keep
 * all of them. */
int tg_job_limit(HANDLE job, uint64_t memory, uint32_t processes, uint32_t cpu);

/* Handles a message of the port for its tree. Returns 1 with an event, else 0. */
int tg_tree_take_message(struct tg_tree *tree, DWORD message, DWORD pid, struct tg_event *ret_event);

/* Resource usage of the root and of the tree so far. */
void tg_usage_of_root(HANDLE root, struct tg_usage *ret);
void tg_usage_of_job(HANDLE job, struct tg_usage *ret);

/* Creates the root of a tree inside its job. */
int tg_root_start(struct tg_tree *tree, const struct tg_spec *spec, struct tg_fault *reterr_fault);

/* Handles that the root inherits. They are duplicates, so that none of the caller's handles becomes inheritable. */
struct tg_inherited {
    HANDLE *list;           /* all of them, each once */
    DWORD count;
    HANDLE stdio[3];
    BYTE *runtime;          /* block for the C runtime of the root: which handle is which descriptor */
    WORD runtime_size;
};
int tg_inherit(const struct tg_spec *spec, struct tg_inherited *ret, struct tg_fault *reterr_fault);
void tg_inherited_close(struct tg_inherited *inherited);

/* Asks a root to end: CTRL_BREAK to its console group, WM_CLOSE to its windows. Returns 0, or -ENOTSUP if neither
 * reached it. */
int tg_ask(DWORD pid);

#endif
