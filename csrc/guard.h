/* guard.h */
#ifndef TG_GUARD_H
#define TG_GUARD_H

/* The guard's main. wire.h tells what argv holds. Returns an exit status, or ends the process itself. */
int tg_guard(int argc, char **argv, char **envp);

#endif
