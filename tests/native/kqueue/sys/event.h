/* sys/event.h - the part of kqueue(2) that csrc/ uses, for Linux: implemented with epoll, pidfds and signalfds
 * (kqueue.c). */
#ifndef SHIM_EVENT_H
#define SHIM_EVENT_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_PROC (-5)
#define EVFILT_SIGNAL (-6)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_EOF 0x8000

#define NOTE_EXIT 0x80000000u

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned fflags;
    intptr_t data;
    void *udata;
};

#define EV_SET(event, i, f, fl, ff, d, u) \
    (*(event) = (struct kevent){.ident = (i), .filter = (f), .flags = (fl), .fflags = (ff), .data = (d), .udata = (u)})

int kqueue(void);
int kevent(int queue, const struct kevent *changes, int nchanges, struct kevent *ret_events, int nevents,
           const struct timespec *timeout);

/* For tests: makes the next registration of a process fail with ESRCH. */
extern int shim_refuse_next_process;

/* For tests: reports the end of a process that lives, like a kernel that reports an end before the process can be
 * waited for. */
void shim_tell_end(int pid);

#endif
