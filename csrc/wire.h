/* wire.h - protocol between library and guard.
 *
 * The guard's command line is: name, options, program, then the root's argv. Options are decimal numbers separated by
 * commas, in the order of enum tg_option. The guard inherits everything else that the root gets (environment,
 * directory, descriptors, ignored signals) and passes it on. On the lifeline, a SOCK_SEQPACKET socket, the guard sends
 * struct tg_event and receives struct tg_order. */
#ifndef TG_WIRE_H
#define TG_WIRE_H

#include "treeguard.h"

/* macOS does not support SOCK_SEQPACKET for AF_UNIX. lifeline.c configures the stream so that messages stay in one
 * piece. */
#ifndef TG_LIFELINE_KIND
#ifdef __APPLE__
#define TG_LIFELINE_KIND SOCK_STREAM
#else
#define TG_LIFELINE_KIND SOCK_SEQPACKET
#endif
#endif

#define TG_GUARD_NAME "treeguard-guard"
/* These replace the options: be the root of a trial (trial.h). */
#define TG_GUARD_TRIAL "trial"
#define TG_GUARD_REACH "reach"

enum tg_option {
    TG_OPT_LIFELINE,        /* descriptor */
    TG_OPT_SUPERVISOR,      /* descriptor: a pidfd of the supervisor; -1: not supported by this system */
    TG_OPT_SUPERVISOR_PID,
    TG_OPT_TERMINAL,        /* descriptor, or -1 */
    TG_OPT_CGROUP,          /* descriptor: directory of the manager's cgroup, or -1 */
    TG_OPT_LEASE,           /* descriptor: a page with a time stamp (struct tg_spec), or -1 */
    TG_OPT_LEASE_MS,        /* maximum age of the time stamp */
    TG_OPT_LEAF,            /* name of the leaf to create there: a number */
    TG_OPT_LEAF_MADE,       /* the leaf already exists and has limits */
    TG_OPT_NEW_SESSION,     /* the root leads its own session */
    TG_OPT_ISOLATED,        /* the root enters its own domain (isolation.h) */
    TG_OPTIONS
};

enum { TG_ORDER_SIGNAL, TG_ORDER_KILL };

struct tg_order {
    int32_t order;
    int32_t signal;
};

#endif
