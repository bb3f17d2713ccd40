/* windows/limits.c - limits of a job. Each limit is read back after it was set: a system may accept a limit and not
 * keep it. */
#include "job.h"

/* Windows 8; older headers lack it. */
#ifndef JOB_OBJECT_CPU_RATE_CONTROL_ENABLE
#define JOB_OBJECT_CPU_RATE_CONTROL_ENABLE 0x1
#define JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP 0x4
#endif

enum { CPU_RATE_CONTROL = 15 };     /* JobObjectCpuRateControlInformation */

/* The members of JOBOBJECT_CPU_RATE_CONTROL_INFORMATION that are used. */
struct cpu_rate {
    DWORD flags;
    DWORD rate;
};

static int set_basic(HANDLE job, const JOBOBJECT_EXTENDED_LIMIT_INFORMATION *limits, DWORD flag)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION now = {0};
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION wanted = *limits;
    return SetInformationJobObject(job, JobObjectExtendedLimitInformation, &wanted, sizeof wanted) &&
           QueryInformationJobObject(job, JobObjectExtendedLimitInformation, &now, sizeof now, NULL) &&
           (now.BasicLimitInformation.LimitFlags & flag) == flag && now.JobMemoryLimit == limits->JobMemoryLimit &&
           now.BasicLimitInformation.ActiveProcessLimit == limits->BasicLimitInformation.ActiveProcessLimit;
}

static int set_cpu(HANDLE job, DWORD rate)
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
    /* A limit beyond the address space has no effect. */
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
    return (flags == JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE || set_basic(job, &limits, flags)) && (!cpu || set_cpu(job, cpu));
}

static int is_limit_kept(uint64_t memory, uint32_t processes, uint32_t cpu)
{
    HANDLE job = tg_job_open();
    int kept = job && tg_job_limit(job, memory, processes, cpu);
    if (job)
        CloseHandle(job);
    return kept;
}

int tg_job_limits(void)
{
    return is_limit_kept(1 << 30, 0, 0) | is_limit_kept(0, 1000, 0) << 1 | is_limit_kept(0, 0, 5000) << 2;
}
