/* windows/job.c - creates jobs and reads their resource usage. */
#include "job.h"

#include <psapi.h>

HANDLE tg_job_open(void)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    HANDLE job = CreateJobObjectW(NULL, NULL);
    if (!job)
        return NULL;
    /* Without JOB_OBJECT_LIMIT_BREAKAWAY_OK no process can break away. */
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if (!SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits)) {
        tg_close(job);
        return NULL;
    }
    return job;
}

static int64_t microseconds(LONGLONG hundreds_of_ns)
{
    return hundreds_of_ns / 10;
}

static int64_t file_time(FILETIME time)
{
    return microseconds((LONGLONG)(((ULONGLONG)time.dwHighDateTime << 32) | time.dwLowDateTime));
}

void tg_usage_of_root(HANDLE root, struct tg_usage *ret)
{
    FILETIME created, ended, system, user;
    PROCESS_MEMORY_COUNTERS memory = {0};
    if (GetProcessTimes(root, &created, &ended, &system, &user)) {
        ret->user_us = file_time(user);
        ret->system_us = file_time(system);
    }
    if (K32GetProcessMemoryInfo(root, &memory, sizeof memory)) {
        ret->max_rss_kib = (int64_t)(memory.PeakWorkingSetSize / 1024);
        /* Windows does not distinguish the two kinds of faults. */
        ret->minor_faults = memory.PageFaultCount;
    }
}

void tg_usage_of_job(HANDLE job, struct tg_usage *ret)
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION times;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION memory;
    if (QueryInformationJobObject(job, JobObjectBasicAccountingInformation, &times, sizeof times, NULL)) {
        ret->user_us = microseconds(times.TotalUserTime.QuadPart);
        ret->system_us = microseconds(times.TotalKernelTime.QuadPart);
        ret->minor_faults = times.TotalPageFaultCount;
    }
    /* The value of the largest process, and committed instead of resident memory: a job has no other value. */
    if (QueryInformationJobObject(job, JobObjectExtendedLimitInformation, &memory, sizeof memory, NULL))
        ret->max_rss_kib = (int64_t)(memory.PeakProcessMemoryUsed / 1024);
}
