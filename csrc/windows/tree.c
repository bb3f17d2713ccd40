/* windows/tree.c - the life of a tree in a job: start, events, request to end, kill, release. */
#include "job.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

/* The exit code that Python's subprocess passes to TerminateProcess. */
enum { KILLED = 1 };

static struct tg_event event_of(const struct tg_tree *tree, int kind)
{
    struct tg_event event = {0};
    event.tag = tree->tag;
    event.kind = kind;
    event.pid = (int32_t)tree->pid;
    event.code = -1;
    return event;
}

static struct tg_tree *refuse(struct tg_tree *tree, int step, struct tg_fault *reterr_fault)
{
    *reterr_fault = tg_fault_now(step);
    tg_tree_free(tree);
    return NULL;
}

static int watch(HANDLE job, HANDLE port, ULONG_PTR key)
{
    JOBOBJECT_ASSOCIATE_COMPLETION_PORT association;
    association.CompletionKey = (void *)key;
    association.CompletionPort = port;
    return SetInformationJobObject(job, JobObjectAssociateCompletionPortInformation, &association, sizeof association);
}

struct tg_tree *tg_tree_spawn(struct tg_engine *engine, const struct tg_spec *spec, uint64_t tag,
                              struct tg_fault *reterr_fault)
{
    struct tg_tree *tree = calloc(1, sizeof *tree);
    SetLastError(ERROR_OUTOFMEMORY);
    if (!tree)
        return refuse(NULL, TG_STEP_MEMORY, reterr_fault);
    tree->engine = engine;
    tree->tag = tag;
    tree->key = tg_engine_enter(engine, tree);
    if (!tree->key)
        return refuse(tree, TG_STEP_MEMORY, reterr_fault);
    tree->job = tg_job_open();
    if (!tree->job || !watch(tree->job, engine->port, tree->key) ||
        !tg_job_limit(tree->job, spec->job_memory, spec->job_processes, spec->job_cpu))
        return refuse(tree, TG_STEP_JOB, reterr_fault);
    if (!tg_root_start(tree, spec, reterr_fault)) {
        tg_tree_free(tree);
        return NULL;
    }
    return tree;
}

/* The port reports an end while the process is still being torn down. Its exit code is final once its handle is
 * signalled. */
static int root_is_gone(const struct tg_tree *tree)
{
    return WaitForSingleObject(tree->root, 0) == WAIT_OBJECT_0;
}

static int job_is_empty(const struct tg_tree *tree)
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION now;
    return QueryInformationJobObject(tree->job, JobObjectBasicAccountingInformation, &now, sizeof now, NULL) &&
           now.ActiveProcesses == 0;
}

static struct tg_event end_of(const struct tg_tree *tree, int kind)
{
    struct tg_event event = event_of(tree, kind);
    DWORD code;
    if (GetExitCodeProcess(tree->root, &code))
        event.code = code;
    tg_usage_of_root(tree->root, &event.usage);
    tg_usage_of_job(tree->job, &event.total);
    return event;
}

static int take_due(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (!tree->started_reported) {
        tree->started_reported = 1;
        *ret_event = event_of(tree, TG_STARTED);
        return 1;
    }
    if (tree->zero && root_is_gone(tree) && job_is_empty(tree)) {
        *ret_event = end_of(tree, TG_EMPTY);
        return 1;
    }
    if (tree->root_ended && !tree->ended_reported && root_is_gone(tree)) {
        tree->ended_reported = 1;
        *ret_event = end_of(tree, TG_ENDED);
        return 1;
    }
    return 0;
}

int tg_tree_poll(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (!take_due(tree, ret_event))
        return 0;
    ret_event->polled = tg_tree_polled(tree);
    return 1;
}

int tg_tree_take_message(struct tg_tree *tree, DWORD message, DWORD pid, struct tg_event *ret_event)
{
    switch (message) {
    case JOB_OBJECT_MSG_NEW_PROCESS:
        /* A process was being created while the job was terminated, so terminate the job again. */
        if (tree->killed)
            TerminateJobObject(tree->job, KILLED);
        return 0;
    case JOB_OBJECT_MSG_EXIT_PROCESS:
    case JOB_OBJECT_MSG_ABNORMAL_EXIT_PROCESS:
        if (pid != tree->pid)
            return 0;
        tree->root_ended = 1;
        break;
    case JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO:
        tree->zero = 1;
        break;
    default:
        return 0;
    }
    if (!tree->started_reported || !tg_tree_poll(tree, ret_event))
        *ret_event = event_of(tree, TG_CLOSING);
    return 1;
}

int tg_tree_pid(const struct tg_tree *tree)
{
    return (int)tree->pid;
}

int tg_tree_polled(const struct tg_tree *tree)
{
    return !tree->started_reported || tree->zero || (tree->root_ended && !tree->ended_reported);
}

int tg_tree_signal(struct tg_tree *tree, int signal)
{
    signal &= ~TG_ASK;
    if (signal != SIGTERM && signal != SIGBREAK)
        return -EINVAL;
    return root_is_gone(tree) ? -ESRCH : tg_ask(tree->pid);
}

int tg_tree_kill(struct tg_tree *tree)
{
    tree->killed = 1;
    return TerminateJobObject(tree->job, KILLED) ? 0 : -tg_errno(GetLastError());
}

void tg_tree_free(struct tg_tree *tree)
{
    if (!tree)
        return;
    if (tree->key)
        tg_engine_leave(tree->engine, tree->key);
    tg_close(tree->job);
    tg_close(tree->root);
    free(tree);
}
