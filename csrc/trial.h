/* trial.h - the root of a tree that is started to find out whether this host lets trees be ended. */
#ifndef TG_TRIAL_H
#define TG_TRIAL_H

#include <stdint.h>

/* The orphan's answer to a byte on its standard input, a socket. A pid of 0 says that it leaves without having been killed:
 * only SIGKILL ends it before it can say so. */
struct tg_trial_answer {
    int32_t pid;
    int32_t parent;
};

/* TG_GUARD_TRIAL: leaves an orphan in a session of its own behind, which stays until it is killed or the other end of its
 * standard input closes. TG_GUARD_REACH: tries whether its signals reach its guard, and sends none. 0, or the errno of what
 * failed. */
int tg_trial(const char *what);

#endif
