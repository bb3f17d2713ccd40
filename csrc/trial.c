/* trial.c - the root of a tree that is started to find out whether this host lets trees be ended. */
#include "trial.h"

#include "sys.h"

/* How long an orphan that nobody ends stays, in milliseconds: a trial that fails leaves nothing for long. */
enum { ORPHAN_LIFE = 2000 };

int tg_trial(void)
{
    long pid = tg_fork();
    if (pid == 0) {
        tg_lead_session();
        tg_poll(NULL, 0, ORPHAN_LIFE);
    }
    return pid < 0 ? (int)-pid : 0;
}
