/* job.h - the inside of the Windows engine: one completion port, and a job a tree in a job around all.
 *
 * These files keep to the C that MSVC compiles too. */
#ifndef TG_JOB_H
#define TG_JOB_H

#include "treeguard.h"

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

enum { TG_BATCH = 64 };

/* Where a completion key leads to. Messages of a tree that has been freed stay in the port, so a key that was given
 * away before must not lead to the next tree of its slot. */
struct tg_slot {
    struct tg_tree *tree;   /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct tg_engine {
    HANDLE port;
    HANDLE job;             /* around all trees: it dies with the supervisor, whoever else holds a tree's handle */
    SRWLOCK lock;           /* guards what follows, between the waiting thread and the others */
    OVERLAPPED_ENTRY ready[TG_BATCH];   /* taken from the port by the waiting thread, not yet told */
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
    HANDLE root;            /* kept open, so that its process id is nobody else's */
    DWORD pid;
    int started_told;
    int root_ended;         /* the port said so */
    int ended_told;
    int zero;               /* the port said that no process is active */
    int killed;
};

/* An errno for what GetLastError told. */
int tg_errno(DWORD error);
struct tg_fault tg_fault_now(int step);
/* CloseHandle, NULL being none. Keeps GetLastError: after a fault it has still to be told. */
void tg_close(HANDLE handle);

/* engine: 0 for no memory, else the tree's key. */
ULONG_PTR tg_engine_enter(struct tg_engine *engine, struct tg_tree *tree);
void tg_engine_leave(struct tg_engine *engine, ULONG_PTR key);

/* A job that kills what is in it when its last handle is closed, and lets nobody break away. NULL: GetLastError. */
HANDLE tg_job_open(void);

/* Sets limits on a job (struct tg_spec) and reads them back. 0: not all are kept, GetLastError. */
int tg_job_limit(HANDLE job, uint64_t memory, uint32_t processes, uint32_t cpu);

/* Whether a message of the port has something to tell of its tree: 1 with an event. */
int tg_tree_told(struct tg_tree *tree, DWORD message, DWORD pid, struct tg_event *ret_event);

/* What the root and the tree used so far. */
void tg_usage_of_root(HANDLE root, struct tg_usage *ret);
void tg_usage_of_job(HANDLE job, struct tg_usage *ret);

/* Creates the root of a tree inside of its job. */
int tg_root_start(struct tg_tree *tree, const struct tg_spec *spec, struct tg_fault *reterr_fault);

/* What the root inherits: duplicates, so that nothing of the caller's is made inheritable for others to inherit. */
struct tg_inherited {
    HANDLE *list;           /* all of them, each once */
    DWORD count;
    HANDLE stdio[3];
    BYTE *runtime;          /* for the C runtime of the root: which handle is which descriptor */
    WORD runtime_size;
};
int tg_inherit(const struct tg_spec *spec, struct tg_inherited *ret, struct tg_fault *reterr_fault);
void tg_inherited_close(struct tg_inherited *inherited);

/* Asks a root to end: CTRL_BREAK to its console group, WM_CLOSE to its windows. 0; -ENOTSUP if neither reached it. */
int tg_ask(DWORD pid);

#endif
