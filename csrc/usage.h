/* usage.h - converts the results of wait to struct tg_event. */
#ifndef TG_USAGE_H
#define TG_USAGE_H

#include "sys.h"
#include "treeguard.h"

static inline void tg_usage_from(struct tg_usage *ret, const struct rusage *ru)
{
    ret->user_us = (int64_t)ru->ru_utime.tv_sec * 1000000 + ru->ru_utime.tv_usec;
    ret->system_us = (int64_t)ru->ru_stime.tv_sec * 1000000 + ru->ru_stime.tv_usec;
#ifdef __APPLE__
    ret->max_rss_kib = ru->ru_maxrss / 1024;    /* macOS counts bytes, other systems KiB */
#else
    ret->max_rss_kib = ru->ru_maxrss;
#endif
    ret->minor_faults = ru->ru_minflt;
    ret->major_faults = ru->ru_majflt;
    ret->voluntary_switches = ru->ru_nvcsw;
    ret->involuntary_switches = ru->ru_nivcsw;
}

static inline void tg_status_into(struct tg_event *event, int status)
{
    event->code = WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) && WCOREDUMP(status) ? TG_DUMPED : -1;
    event->signal = WIFSIGNALED(status) ? WTERMSIG(status) : WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
}

#endif
