/* trial.h - root of a test tree that checks whether this host lets trees be ended. */
#ifndef TG_TRIAL_H
#define TG_TRIAL_H

#include <stdint.h>

/* Answer of the orphan to a byte on its standard input, which is a socket. A pid of 0 means that the orphan leaves
 * without having been killed. Only SIGKILL ends it before it can say so. */
struct tg_trial_answer {
    int32_t pid;
    int32_t parent;
};

/* TG_GUARD_TRIAL: leaves an orphan in its own session, which stays until it is killed or the other end of its standard
 * input closes. TG_GUARD_REACH: checks whether its signals reach its guard, without sending one. Returns 0, or the
 * errno of the failure. */
int tg_trial(const char *what);

#endif
