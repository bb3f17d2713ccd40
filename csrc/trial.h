/* trial.h - whether this host lets a guard do its work, found out by doing it. */
#ifndef TG_TRIAL_H
#define TG_TRIAL_H

/* Makes an orphan in a session of its own, adopts, finds, kills and reaps it. 0, or the errno of what failed. */
int tg_trial(void);

#endif
