/* windows/inside.c - the members of a tree's job: their list, their resource usage, suspending and resuming them. */
#include "job.h"

#include <errno.h>
#include <psapi.h>
#include <stdlib.h>
#include <string.h>

/* Lists the processes of a job. The list may grow during the query, so retry with a larger buffer. Returns NULL with
 * GetLastError on failure. */
static JOBOBJECT_BASIC_PROCESS_ID_LIST *list_of(HANDLE job)
{
    DWORD room = 64;
    for (;;) {
        DWORD size = (DWORD)(sizeof(JOBOBJECT_BASIC_PROCESS_ID_LIST) + room * sizeof(ULONG_PTR));
        JOBOBJECT_BASIC_PROCESS_ID_LIST *list = calloc(1, size);
        if (!list) {
            SetLastError(ERROR_OUTOFMEMORY);
            return NULL;
        }
        if (QueryInformationJobObject(job, JobObjectBasicProcessIdList, list, size, NULL) &&
            list->NumberOfProcessIdsInList >= list->NumberOfAssignedProcesses)
            return list;
        DWORD error = list->NumberOfAssignedProcesses > room ? ERROR_MORE_DATA : GetLastError();
        room = room * 2 + list->NumberOfAssignedProcesses;
        free(list);
        if (error != ERROR_MORE_DATA) {
            SetLastError(error);
            return NULL;
        }
    }
}

int tg_tree_members(const struct tg_tree *tree, int32_t *ret_pids, int max)
{
    JOBOBJECT_BASIC_PROCESS_ID_LIST *list = list_of(tree->job);
    if (!list)
        return -tg_errno(GetLastError());
    int n = (int)list->NumberOfProcessIdsInList;
    for (int i = 0; i < n && i < max; i++)
        ret_pids[i] = (int32_t)list->ProcessIdList[i];
    free(list);
    return n;
}

/* Opens a member. The handle makes sure that later calls refer to the process that was checked. Returns NULL if it is
 * not a member or cannot be opened. */
static HANDLE member(const struct tg_tree *tree, DWORD pid, DWORD access)
{
    BOOL in = FALSE;
    HANDLE process = OpenProcess(access | PROCESS_QUERY_INFORMATION, FALSE, pid);
    if (process && IsProcessInJob(process, tree->job, &in) && in)
        return process;
    if (process)
        CloseHandle(process);
    return NULL;
}

int tg_tree_has(const struct tg_tree *tree, int32_t pid)
{
    HANDLE process = member(tree, (DWORD)pid, SYNCHRONIZE);
    int alive = process && WaitForSingleObject(process, 0) == WAIT_TIMEOUT;
    if (process)
        CloseHandle(process);
    return alive;
}

/* Exported by ntdll since Windows XP, but not declared in any header. */
typedef LONG(NTAPI *suspend_call)(HANDLE process);
typedef void (*any_function)(void);

int tg_tree_suspend(const struct tg_tree *tree, int32_t pid, int suspended)
{
    HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    const char *name = suspended ? "NtSuspendProcess" : "NtResumeProcess";
    suspend_call call = ntdll ? (suspend_call)(any_function)GetProcAddress(ntdll, name) : NULL;
    if (!call)
        return -ENOSYS;
    HANDLE process = member(tree, (DWORD)pid, PROCESS_SUSPEND_RESUME);
    if (!process)
        return -ESRCH;
    LONG status = call(process);
    CloseHandle(process);
    return status < 0 ? -EACCES : 0;
}

static int64_t resident(const struct tg_tree *tree, DWORD pid)
{
    PROCESS_MEMORY_COUNTERS memory;
    int64_t bytes = 0;
    HANDLE process = member(tree, pid, PROCESS_QUERY_INFORMATION | PROCESS_VM_READ);
    if (process && K32GetProcessMemoryInfo(process, &memory, sizeof memory))
        bytes = (int64_t)memory.WorkingSetSize;
    if (process)
        CloseHandle(process);
    return bytes;
}

int tg_tree_stats(const struct tg_tree *tree, struct tg_stats *ret)
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION times;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION peak;
    if (!QueryInformationJobObject(tree->job, JobObjectBasicAccountingInformation, &times, sizeof times, NULL) ||
        !QueryInformationJobObject(tree->job, JobObjectExtendedLimitInformation, &peak, sizeof peak, NULL))
        return -tg_errno(GetLastError());
    JOBOBJECT_BASIC_PROCESS_ID_LIST *list = list_of(tree->job);
    if (!list)
        return -tg_errno(GetLastError());
    memset(ret, 0, sizeof *ret);
    ret->user_us = times.TotalUserTime.QuadPart / 10;
    ret->system_us = times.TotalKernelTime.QuadPart / 10;
    ret->peak_memory = (int64_t)peak.PeakJobMemoryUsed;
    ret->processes = (int32_t)list->NumberOfProcessIdsInList;
    for (DWORD i = 0; i < list->NumberOfProcessIdsInList; i++)
        ret->memory += resident(tree, (DWORD)list->ProcessIdList[i]);
    free(list);
    return 0;
}
