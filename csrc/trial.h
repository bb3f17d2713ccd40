/* trial.h - the root of a tree that is started to find out whether this host lets trees be ended. */
#ifndef TG_TRIAL_H
#define TG_TRIAL_H

/* Leaves an orphan in a session of its own behind, which waits to be killed. 0, or the errno of what failed. */
int tg_trial(void);

#endif
