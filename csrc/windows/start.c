/* windows/start.c - starts a root inside its job. */
#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* Windows 10; older headers lack it. */
#ifndef PROC_THREAD_ATTRIBUTE_JOB_LIST
#define PROC_THREAD_ATTRIBUTE_JOB_LIST 0x0002000D
#endif

/* Tests set this to use the fallback for older systems. */
#ifndef TG_WITHOUT_JOB_LIST
#define TG_WITHOUT_JOB_LIST 0
#endif

enum { ATTRIBUTES = 2, REFUSED = 1 };

/* Attributes point to this data, so it has to live as long as they do. */
struct root_start {
    struct tg_inherited inherited;
    HANDLE jobs[2];         /* the outer job first: the second is nested in it */
    STARTUPINFOEXW info;
    wchar_t *command_line;  /* CreateProcess may write to it */
};

static const wchar_t *wide(const char *text)
{
    return (const wchar_t *)(const void *)text;
}

static int list_attributes(struct root_start *b)
{
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(NULL, ATTRIBUTES, 0, &size);
    LPPROC_THREAD_ATTRIBUTE_LIST list = malloc(size);
    if (!list) {
        SetLastError(ERROR_OUTOFMEMORY);
        return 0;
    }
    if (!InitializeProcThreadAttributeList(list, ATTRIBUTES, 0, &size)) {
        free(list);
        return 0;
    }
    b->info.lpAttributeList = list;
    if (!TG_WITHOUT_JOB_LIST)
        /* This fails before Windows 10. put_into_jobs makes up for it before the root runs. */
        UpdateProcThreadAttribute(list, 0, PROC_THREAD_ATTRIBUTE_JOB_LIST, b->jobs, sizeof b->jobs, NULL, NULL);
    return UpdateProcThreadAttribute(list, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, b->inherited.list,
                                     b->inherited.count * sizeof(HANDLE), NULL, NULL);
}

static int prepare(struct root_start *b, const struct tg_spec *spec, struct tg_fault *reterr_fault)
{
    if (!tg_inherit(spec, &b->inherited, reterr_fault))
        return 0;
    size_t size = (wcslen(wide(spec->args)) + 1) * sizeof(wchar_t);
    b->command_line = malloc(size);
    if (!b->command_line) {
        SetLastError(ERROR_OUTOFMEMORY);
        *reterr_fault = tg_fault_now(TG_STEP_MEMORY);
        return 0;
    }
    memcpy(b->command_line, spec->args, size);
    if (!list_attributes(b)) {
        *reterr_fault = tg_fault_now(TG_STEP_JOB);
        return 0;
    }
    STARTUPINFOW *info = &b->info.StartupInfo;
    info->cb = sizeof b->info;
    info->dwFlags = STARTF_USESTDHANDLES;
    if (spec->show_window >= 0) {
        info->dwFlags |= STARTF_USESHOWWINDOW;
        info->wShowWindow = (WORD)spec->show_window;
    }
    info->hStdInput = b->inherited.stdio[0];
    info->hStdOutput = b->inherited.stdio[1];
    info->hStdError = b->inherited.stdio[2];
    info->cbReserved2 = b->inherited.runtime_size;
    info->lpReserved2 = b->inherited.runtime;
    return 1;
}

static void release(struct root_start *b)
{
    if (b->info.lpAttributeList) {
        DeleteProcThreadAttributeList(b->info.lpAttributeList);
        free(b->info.lpAttributeList);
    }
    free(b->command_line);
    tg_inherited_close(&b->inherited);
}

/* CreateProcess does not report which path was wrong. */
static struct tg_fault exec_fault(const struct tg_spec *spec)
{
    struct tg_fault fault = tg_fault_now(TG_STEP_EXEC);
    if (spec->cwd && (fault.err == ENOENT || fault.err == ENOTDIR)) {
        DWORD attributes = GetFileAttributesW(wide(spec->cwd));
        if (attributes == INVALID_FILE_ATTRIBUTES)
            return tg_fault_now(TG_STEP_CWD);
        if (!(attributes & FILE_ATTRIBUTE_DIRECTORY) || fault.err == ENOTDIR) {
            fault.step = TG_STEP_CWD;
            fault.err = ENOTDIR;
        }
    }
    return fault;
}

static int is_in(HANDLE process, HANDLE job)
{
    BOOL found = FALSE;
    return IsProcessInJob(process, job, &found) && found;
}

/* Puts a suspended root into its jobs and resumes it.
 *
 * Before Windows 10 a process cannot be created in a job. CreateProcess may also start another program than the given
 * one, such as the interpreter of a script, and that may be created outside of the job. So check the root before it
 * runs, assign it to the jobs that it is not in, and end it if that fails. */
static int put_into_jobs(const struct root_start *b, const PROCESS_INFORMATION *made)
{
    int good = 1;
    for (int i = 0; good && i < 2; i++)
        good = is_in(made->hProcess, b->jobs[i]) || AssignProcessToJobObject(b->jobs[i], made->hProcess);
    if (good && ResumeThread(made->hThread) != (DWORD)-1)
        return 1;
    DWORD error = GetLastError();
    TerminateProcess(made->hProcess, REFUSED);
    WaitForSingleObject(made->hProcess, INFINITE);
    SetLastError(error);
    return 0;
}

static int create_root(struct root_start *b, const struct tg_spec *spec, PROCESS_INFORMATION *ret,
                       struct tg_fault *reterr_fault)
{
    /* The root gets its own console group, so that CTRL_BREAK reaches only this group. */
    DWORD flags = CREATE_UNICODE_ENVIRONMENT | CREATE_NEW_PROCESS_GROUP | EXTENDED_STARTUPINFO_PRESENT |
                  CREATE_SUSPENDED | spec->creationflags;
    if (!CreateProcessW(wide(spec->program), b->command_line, NULL, NULL, TRUE, flags, (void *)(uintptr_t)spec->env,
                        wide(spec->cwd), &b->info.StartupInfo, ret)) {
        *reterr_fault = exec_fault(spec);
        return 0;
    }
    int good = put_into_jobs(b, ret);
    if (!good)
        *reterr_fault = tg_fault_now(TG_STEP_JOB);
    tg_close(ret->hThread);
    if (!good)
        tg_close(ret->hProcess);
    return good;
}

int tg_root_start(struct tg_tree *tree, const struct tg_spec *spec, struct tg_fault *reterr_fault)
{
    struct root_start b = {0};
    PROCESS_INFORMATION made;
    b.jobs[0] = tree->engine->job;
    b.jobs[1] = tree->job;
    int good = prepare(&b, spec, reterr_fault) && create_root(&b, spec, &made, reterr_fault);
    release(&b);
    if (good) {
        tree->root = made.hProcess;
        tree->pid = made.dwProcessId;
    }
    return good;
}
