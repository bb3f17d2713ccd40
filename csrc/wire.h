/* wire.h - protocol between library and guard.
 *
 * The guard's command line is: what it shows, struct tg_handover in hexadecimal (handover.h), program, then the root's argv. The
 * guard inherits everything else that the root gets (environment, directory, descriptors, ignored signals) and passes it
 * on. On the lifeline, a SOCK_SEQPACKET socket, the guard sends struct tg_event and receives struct tg_order. */
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
/* The guard's argv[0] is for other processes to read, in /proc/PID/cmdline: its name, its state, the root's process id,
 * the number of the tree, and the supervisor's `title`. The guard writes state and root in place, so each state has the
 * same length, and the root has room. */
#define TG_STATE_STARTING "starting  "
#define TG_STATE_SUPERVISED "supervised"
#define TG_STATE_RELEASED "released  "
#define TG_STATE_ENDING "ending    "
/* The next argument while a tree is released: the name in struct tg_release. After it was taken over: this, and the process
 * id of its supervisor. */
#define TG_SHOWN_OWNER "owner="
#define TG_SHOWN_STATE TG_GUARD_NAME " "
#define TG_SHOWN_ROOT TG_SHOWN_STATE TG_STATE_STARTING " root="
#define TG_SHOWN_TREE TG_SHOWN_ROOT "0          tree="
/* These replace the struct: be the root of a trial (trial.h). */
#define TG_GUARD_TRIAL "trial"
#define TG_GUARD_REACH "reach"
/* This and the supervisor's group replace all of it: be a relay (relay.h). */
#define TG_GUARD_RELAY "relay"

/* What a guard is given; struct tg_attributes follows if the root has any. Descriptors are -1 if there is none. No member may need padding. */
struct tg_handover {
    uint64_t leaf;          /* name of the leaf to create in `cgroup` */
    int32_t lifeline;       /* descriptor */
    int32_t supervisor;     /* descriptor: a pidfd of the supervisor; -1: not supported by this system */
    int32_t supervisor_pid;
    int32_t launcher;       /* descriptor: a pidfd of the process that started the supervisor; -1: not supported, or not
                             * asked for */
    int32_t launcher_pid;   /* its end, too, ends the tree; 0: it does not */
    int32_t cgroup;         /* descriptor: directory of the manager's cgroup */
    int32_t leaf_made;      /* the leaf already exists and has limits */
    int32_t lease;          /* descriptor: a page with a time stamp (struct tg_spec) */
    uint32_t lease_ms;      /* maximum age of the time stamp */
    struct tg_options options;  /* of the root */
};

/* RELEASE: from now on the tree outlives its supervisor; struct tg_release. RETAIN: no longer. TAKE: the first message of
 * a process that wants to be the supervisor of a released tree. */
enum { TG_ORDER_SIGNAL, TG_ORDER_KILL, TG_ORDER_RELEASE, TG_ORDER_RETAIN, TG_ORDER_TAKE };

struct tg_order {
    int32_t order;
    int32_t signal;
};

/* TG_RELEASE_NAME: room for a name with its NUL. TG_TITLE_ROOM: what the guard shows of it has room in the text of struct
 * tg_handover. */
enum { TG_RELEASE_NAME = 80, TG_TITLE_ROOM = 2 * sizeof(struct tg_handover) };

_Static_assert(TG_RELEASE_NAME <= TG_TITLE_ROOM, "what is shown has room");

struct tg_release {
    struct tg_order order;
    char name[TG_RELEASE_NAME];     /* of the abstract address where the guard can be reached, and of a mark in the
                                     * manager's cgroup */
};

#endif
