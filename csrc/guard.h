/* guard.h - the state of a guard, and its parts. */
#ifndef TG_GUARD_H
#define TG_GUARD_H

#include "cgroup.h"
#include "launch.h"
#include "stops.h"
#include "sweep.h"
#include "treeguard.h"
#include "watch.h"
#include "wire.h"

struct guard {
    struct tg_watch watch;
    struct tg_sweep sweep;
    int root;           /* process id; ours to reap until `end` is filled */
    int init;           /* of the root's PID namespace, ours to reap; 0: none, or it was reaped */
    int launching;      /* the root has not run its program yet, so `argv` and `envp` are still needed */
    int ending;         /* the guard has to end the tree */
    int hung_up;        /* the lifeline is closed: the supervisor has ended, or will not hear of the guard any more */
    const volatile int64_t *lease;  /* time stamp that the supervisor renews while it works; NULL: no lease */
    int lease_ms;
    unsigned deaths;    /* number of reaped processes */
    int behind;         /* more children are waiting to be reaped, but orders come first */
    int dying;          /* number of deaths to wait for before the next pass: half of the children that the last pass
                         * found */
    int leaf_kills;     /* how often the leaf was killed as a whole */
    int has_others;     /* no child is left, but the tree or its cgroup has other processes */
    int listener;       /* where a process can take the tree over, so the tree outlives the supervisor; -1: nowhere */
    int knows_senders;  /* the kernel names the sender of each message on the lifeline */
    int marked;         /* the leaf has a mark of that name beside it */
    int was_released;   /* it has been without a supervisor: the parent is none any more */
    int owner;          /* process id of the first supervisor, whose cgroup `cgroup.manager` is */
    char address[TG_RELEASE_NAME];  /* the name of that place */
    struct tg_cgroup cgroup;
    struct tg_event end;    /* how the root ended; kind is 0 until then */
    struct tg_stops stops;  /* how the root was stopped or continued */
    struct tg_fd_range own_fds[5];  /* descriptors that the root must not inherit */
    char **argv;        /* what the guard shows (wire.h), struct tg_handover as text, the root's program and the root's argv */
    char **envp;
    struct tg_launch launch;
};

/* Returns whether the supervisor has ended. A closed lifeline does not prove it: any process of the same user can take
 * the supervisor's end of it and shut it down (pidfd_getfd(2)). */
int tg_guard_is_abandoned(const struct guard *guard);

/* Main function of the guard. wire.h describes argv. Returns an exit status, or ends the process. */
int tg_guard(int argc, char **argv, char **envp);

/* Trees that outlive their supervisors (guard_release.c). */
/* Lets the tree outlive its supervisor from now on, and reports that, or the error. `sender` is the process that orders
 * it. 0 means that the kernel has not named it: then the guard reports EAGAIN. */
void tg_guard_release(struct guard *guard, const char *name, int sender);
/* Takes that back, or completes a take-over: from now on the tree ends with its supervisor. */
void tg_guard_retain(struct guard *guard);
/* Removes the mark of the leaf, if it has one. */
void tg_guard_unmark(struct guard *guard);
/* Goes on without a supervisor, which has ended or hung up. */
void tg_guard_detach(struct guard *guard);
/* Goes on with the process that calls, if it may take the tree over. */
void tg_guard_attach(struct guard *guard);

/* What the guard tells (guard_report.c). */
void tg_guard_send(const struct guard *guard, const struct tg_event *event);
void tg_guard_report(const struct guard *guard, int kind, int signal);
/* Reports that the root runs, with a handle of the init if there is one. */
void tg_guard_report_start(const struct guard *guard);
/* Reports that there will be no tree, and ends the guard. */
_Noreturn void tg_guard_fail(struct guard *guard, int step, long err);

/* What other processes can read of the guard (guard_shown.c). `state` is one of TG_STATE_…. */
void tg_guard_show_state(const struct guard *guard, const char *state);
void tg_guard_show_root(const struct guard *guard);

/* The root, from its start to its end (guard_root.c). */
void tg_guard_start_root(struct guard *guard, const struct tg_handover *handover,
                         struct tg_attributes *attributes);
/* Waits up to `timeout` milliseconds for the root's exec, if it has not come yet, and reports it. */
void tg_guard_check_launch(struct guard *guard, int timeout);
/* Takes a status of the root from wait. */
void tg_guard_root_changed(struct guard *guard, int status, const struct rusage *usage);
/* Reports that the root was stopped or continued, if that was not reported yet and the limit allows it. */
void tg_guard_report_stop(struct guard *guard);

/* The end of the tree (guard_sweep.c). */
/* Reaps children. Returns 0 if the tree is empty. */
int tg_guard_reap(struct guard *guard);
/* Reports an empty tree, and ends the guard. */
_Noreturn void tg_guard_finish(struct guard *guard);
/* Kills and reaps until the tree is empty. */
_Noreturn void tg_guard_sweep(struct guard *guard);

#endif
