/* hostile.h - what the attacks of hostile/ share. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stddef.h>
#include <sys/types.h>

/* The process that is attacked. Its number may be given to a stranger when it has ended, so each round of an attack begins
 * with a look at `handle`, a pidfd (gone()), and signals go by that. */
extern pid_t victim;
extern int victim_handle;
/* The guard's parent. */
extern pid_t supervisor;
/* The root of the tree. */
extern pid_t root;
/* What stands behind the attack's name and "=", a directory or a number; or NULL. */
extern const char *place;
/* Which time it is that this attack is made, from 0. */
extern unsigned long round_number;

/* Tells of one step of an attack: 0 or an errno. Of the first round only. */
void told(const char *step, int err);
/* The same with what a call returned: -1 stands for errno. */
void told_ret(const char *step, long ret);
/* Whether the test has gone, or has had enough. Waits no longer than that, in milliseconds. */
int over(int timeout);
/* Whether the victim has ended. */
int gone(void);
/* Waits until it is over. */
_Noreturn void stay(void);
/* This program again, with this attack alone, without environment: a second part of it. */
_Noreturn void begin_anew(void);
/* Whether this is the second part. */
int begun_anew(void);

/* Writes a string into a file. 0, or an errno. */
int put(const char *path, const char *text);
int put_number(const char *path, long number);
/* The parent of a process, or 0. */
pid_t parent_of(pid_t pid);

/* Each attack is a function that makes it once. */
typedef void attack_fn(void);
/* What takes an attack back when it is over, if it does not end with its process; or NULL. */
extern attack_fn *undo;

/* targets.c */
void find_targets(void);
/* Makes an attack on each of them. */
void attack_targets(attack_fn *attack);
void gain_capabilities(void);
attack_fn enter;
/* signals.c */
attack_fn stop, stop_by_session, stop_newborns, resume, kill_guard, flood, flood_deaths;
/* trace.c */
attack_fn seize, attach, overwrite, overwrite_file;
/* limits.c */
attack_fn limit_nofile, limit_as, limit_data, limit_stack, limit_cpu, limit_fsize, limit_sigpending, limit_nproc, limit_msgqueue,
    limit_rttime, limit_memlock, limit_core, limit_all;
/* descriptors.c */
attack_fn take_descriptors, flee_with_descriptors, open_descriptors, forge_empty, hang_up, hang_up_above, give_orders, steal_events;
/* cgroups.c */
attack_fn move_guard_in, move_guard_out, move_guard_into_frozen, move_guard_into_freezer, move_self_out, move_self_into_freezer,
    move_supervisor_in, freeze_leaf, freeze_all, dig_deep, shut_files, forbid_cgroups;
/* settings.c */
attack_fn oom_score, coredump_filter, autogroup, timer_slack, nice_19, sched_idle, one_busy_cpu, io_idle, set_group;
/* flight.c */
attack_fn leave_leader, leave_leader_in_session, grow_heads, be_daemon;

#endif
