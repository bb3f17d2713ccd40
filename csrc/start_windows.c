/* start_windows.c - the birth of a root inside of its job. */
#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* Windows 10; older headers don't know it. */
#ifndef PROC_THREAD_ATTRIBUTE_JOB_LIST
#define PROC_THREAD_ATTRIBUTE_JOB_LIST 0x0002000D
#endif

/* Tests have roots started in the other way by setting this. */
#ifndef TG_WITHOUT_JOB_LIST
#define TG_WITHOUT_JOB_LIST 0
#endif

enum { ATTRIBUTES = 2, REFUSED = 1 };

/* Attributes point to what they are made of, so that lives as long as they do. */
struct birth {
    struct tg_inherited inherited;
    HANDLE jobs[2];         /* the outer one first: the second is nested in it */
    STARTUPINFOEXW info;
    wchar_t *command_line;  /* CreateProcess may write into it */
};

static const wchar_t *wide(const char *text)
{
    return (const wchar_t *)(const void *)text;
}

static int list_attributes(struct birth *b)
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
        /* What fails before Windows 10 is made up for before the root runs. */
        UpdateProcThreadAttribute(list, 0, PROC_THREAD_ATTRIBUTE_JOB_LIST, b->jobs, sizeof b->jobs, NULL, NULL);
    return UpdateProcThreadAttribute(list, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, b->inherited.list,
                                     b->inherited.count * sizeof(HANDLE), NULL, NULL);
}

static int prepare(struct birth *b, const struct tg_spec *spec, struct tg_fault *reterr_fault)
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
    info->hStdInput = b->inherited.stdio[0];
    info->hStdOutput = b->inherited.stdio[1];
    info->hStdError = b->inherited.stdio[2];
    info->cbReserved2 = b->inherited.runtime_size;
    info->lpReserved2 = b->inherited.runtime;
    return 1;
}

static void forget(struct birth *b)
{
    if (b->info.lpAttributeList) {
        DeleteProcThreadAttributeList(b->info.lpAttributeList);
        free(b->info.lpAttributeList);
    }
    free(b->command_line);
    tg_inherited_close(&b->inherited);
}

/* CreateProcess tells neither which of its paths was wrong nor how. */
static struct tg_fault why(const struct tg_spec *spec)
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

/* Before Windows 10 nobody is born in a job, and not everything that CreateProcess starts is what it was told to start: a
 * script's interpreter may be born elsewhere. So the root is looked at before it runs, put where it is not yet, and ended if
 * that fails. */
static int put_into_jobs(const struct birth *b, const PROCESS_INFORMATION *made)
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

static int give_birth(struct birth *b, const struct tg_spec *spec, PROCESS_INFORMATION *ret, struct tg_fault *reterr_fault)
{
    /* A console group of its own: CTRL_BREAK reaches the root's and no other. */
    DWORD flags = CREATE_UNICODE_ENVIRONMENT | CREATE_NEW_PROCESS_GROUP | EXTENDED_STARTUPINFO_PRESENT | CREATE_SUSPENDED;
    if (!CreateProcessW(wide(spec->program), b->command_line, NULL, NULL, TRUE, flags, (void *)(uintptr_t)spec->env,
                        wide(spec->cwd), &b->info.StartupInfo, ret)) {
        *reterr_fault = why(spec);
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
    struct birth b = {0};
    PROCESS_INFORMATION made;
    b.jobs[0] = tree->engine->job;
    b.jobs[1] = tree->job;
    int good = prepare(&b, spec, reterr_fault) && give_birth(&b, spec, &made, reterr_fault);
    forget(&b);
    if (good) {
        tree->root = made.hProcess;
        tree->pid = made.dwProcessId;
    }
    return good;
}
