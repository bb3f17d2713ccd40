/* windows/engine.c - one completion port for all trees, and the mapping of its messages to trees.
 *
 * An event loop cannot watch a port, so a thread waits for it (tg_engine_wait) and takes a batch of messages. The loop
 * handles the batch (tg_engine_drain). No other thread takes messages from the port, so they stay in order. */
#include "job.h"

#include <errno.h>
#include <stdlib.h>

enum { NO_SLOT = 0 };

/* A key is a slot number and a generation: 32 bits each, or 16 on machines with 32-bit pointers. */
#define KEY_SHIFT (sizeof(ULONG_PTR) * 4)
#define KEY_MASK (((ULONG_PTR)1 << KEY_SHIFT) - 1)
#define MAX_SLOTS ((uint32_t)1 << (KEY_SHIFT - 1))

struct tg_engine *tg_engine_open(struct tg_fault *reterr_fault)
{
    struct tg_engine *e = calloc(1, sizeof *e);
    if (!e) {
        SetLastError(ERROR_OUTOFMEMORY);
        *reterr_fault = tg_fault_now(TG_STEP_MEMORY);
        return NULL;
    }
    InitializeSRWLock(&e->lock);
    e->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (e->port)
        e->job = tg_job_open();
    if (!e->job) {
        *reterr_fault = tg_fault_now(e->port ? TG_STEP_JOB : TG_STEP_ENGINE);
        tg_engine_close(e);
        return NULL;
    }
    return e;
}

int tg_engine_wait(struct tg_engine *e, int timeout_ms)
{
    OVERLAPPED_ENTRY batch[TG_BATCH];
    ULONG n = 0;
    AcquireSRWLockExclusive(&e->lock);
    int full = e->ready_next < e->ready_end;
    ReleaseSRWLockExclusive(&e->lock);
    if (full)
        return 1;
    if (!GetQueuedCompletionStatusEx(e->port, batch, TG_BATCH, &n, timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms, FALSE))
        return GetLastError() == WAIT_TIMEOUT ? 0 : -tg_errno(GetLastError());
    AcquireSRWLockExclusive(&e->lock);
    for (ULONG i = 0; i < n; i++)
        e->ready[i] = batch[i];
    e->ready_next = 0;
    e->ready_end = n;
    ReleaseSRWLockExclusive(&e->lock);
    return 1;
}

void tg_engine_wake(struct tg_engine *e)
{
    PostQueuedCompletionStatus(e->port, 0, 0, NULL);
}

/* Returns the tree of a message; NULL if it was freed. The caller holds the lock. */
static struct tg_tree *tree_of(const struct tg_engine *e, ULONG_PTR key)
{
    ULONG_PTR number = key & KEY_MASK;
    if (number == NO_SLOT || number >= e->nslots || e->slots[number].generation != key >> KEY_SHIFT)
        return NULL;
    return e->slots[number].tree;
}

static int next_message(struct tg_engine *e, struct tg_tree **ret_tree, DWORD *ret_message, DWORD *ret_pid)
{
    int some = 0;
    AcquireSRWLockExclusive(&e->lock);
    if (e->ready_next < e->ready_end) {
        const OVERLAPPED_ENTRY *entry = &e->ready[e->ready_next++];
        *ret_tree = tree_of(e, entry->lpCompletionKey);
        *ret_message = entry->dwNumberOfBytesTransferred;
        /* Most job messages use this pointer as a process id. */
        *ret_pid = (DWORD)(ULONG_PTR)entry->lpOverlapped;
        some = 1;
    }
    ReleaseSRWLockExclusive(&e->lock);
    return some;
}

int tg_engine_drain(struct tg_engine *e, struct tg_event *ret_events, int max)
{
    struct tg_tree *tree;
    DWORD message, pid;
    int count = 0;
    while (count < max && next_message(e, &tree, &message, &pid))
        if (tree && tg_tree_take_message(tree, message, pid, &ret_events[count]))
            ret_events[count++].polled = tg_tree_polled(tree);
    return count;
}

static int grow(struct tg_engine *e)
{
    uint32_t n = e->nslots ? e->nslots * 2 : 64;
    struct tg_slot *slots = n <= MAX_SLOTS ? realloc(e->slots, n * sizeof *slots) : NULL;
    if (!slots)
        return 0;
    for (uint32_t i = n; i-- > e->nslots;) {
        slots[i].tree = NULL;
        slots[i].generation = 0;
        if (i == NO_SLOT)
            continue;
        slots[i].next_free = e->first_free;
        e->first_free = i;
    }
    e->slots = slots;
    e->nslots = n;
    return 1;
}

ULONG_PTR tg_engine_enter(struct tg_engine *e, struct tg_tree *tree)
{
    ULONG_PTR key = 0;
    AcquireSRWLockExclusive(&e->lock);
    if (e->first_free != NO_SLOT || grow(e)) {
        uint32_t number = e->first_free;
        e->first_free = e->slots[number].next_free;
        e->slots[number].tree = tree;
        key = ((ULONG_PTR)e->slots[number].generation << KEY_SHIFT) | number;
    }
    ReleaseSRWLockExclusive(&e->lock);
    return key;
}

void tg_engine_leave(struct tg_engine *e, ULONG_PTR key)
{
    uint32_t number = (uint32_t)(key & KEY_MASK);
    AcquireSRWLockExclusive(&e->lock);
    e->slots[number].tree = NULL;
    e->slots[number].generation = (uint32_t)((e->slots[number].generation + 1) & KEY_MASK);
    e->slots[number].next_free = e->first_free;
    e->first_free = number;
    ReleaseSRWLockExclusive(&e->lock);
}

void tg_engine_close(struct tg_engine *e)
{
    tg_close(e->job);
    tg_close(e->port);
    free(e->slots);
    free(e);
}
