/* limits_windows.c - limits of a job. Each is read back after it was set: a system may take what it does not keep. */
#include "job.h"

/* Windows 8; older headers don't know it. */
#ifndef JOB_OBJECT_CPU_RATE_CONTROL_ENABLE
#define JOB_OBJECT_CPU_RATE_CONTROL_ENABLE 0x1
#define JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP 0x4
#endif

enum { CPU_RATE_CONTROL = 15 };     /* JobObjectCpuRateControlInformation */

/* JOBOBJECT_CPU_RATE_CONTROL_INFORMATION, as far as it is used. */
struct cpu_rate {
    DWORD flags;
    DWORD rate;
};

static int keeps_basic(HANDLE job, const JOBOBJECT_EXTENDED_LIMIT_INFORMATION *limits, DWORD flag)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION now = {0};
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION wanted = *limits;
    return SetInformationJobObject(job, JobObjectExtendedLimitInformation, &wanted, sizeof wanted) &&
           QueryInformationJobObject(job, JobObjectExtendedLimitInformation, &now, sizeof now, NULL) &&
           (now.BasicLimitInformation.LimitFlags & flag) == flag && now.JobMemoryLimit == limits->JobMemoryLimit &&
           now.BasicLimitInformation.ActiveProcessLimit == limits->BasicLimitInformation.ActiveProcessLimit;
}

static int keeps_cpu(HANDLE job, DWORD rate)
{
    struct cpu_rate wanted = {JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP, 0}, now = {0, 0};
    wanted.rate = rate;
    return SetInformationJobObject(job, (JOBOBJECTINFOCLASS)CPU_RATE_CONTROL, &wanted, sizeof wanted) &&
           QueryInformationJobObject(job, (JOBOBJECTINFOCLASS)CPU_RATE_CONTROL, &now, sizeof now, NULL) &&
           now.flags == wanted.flags && now.rate == rate;
}

int tg_job_limit(HANDLE job, uint64_t memory, uint32_t processes, uint32_t cpu)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    DWORD flags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    /* What is beyond the address space limits nothing. */
    if (memory && memory <= SIZE_MAX) {
        flags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
        limits.JobMemoryLimit = (SIZE_T)memory;
    }
    if (processes) {
        flags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
        limits.BasicLimitInformation.ActiveProcessLimit = processes;
    }
    limits.BasicLimitInformation.LimitFlags = flags;
    SetLastError(ERROR_NOT_SUPPORTED);
    return (flags == JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE || keeps_basic(job, &limits, flags)) && (!cpu || keeps_cpu(job, cpu));
}

static int one_is_kept(uint64_t memory, uint32_t processes, uint32_t cpu)
{
    HANDLE job = tg_job_open();
    int kept = job && tg_job_limit(job, memory, processes, cpu);
    if (job)
        CloseHandle(job);
    return kept;
}

int tg_job_limits(void)
{
    return one_is_kept(1 << 30, 0, 0) | one_is_kept(0, 1000, 0) << 1 | one_is_kept(0, 0, 5000) << 2;
}
