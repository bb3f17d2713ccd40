/* guard.h - entry point of the guard. */
#ifndef TG_GUARD_H
#define TG_GUARD_H

/* Main function of the guard. wire.h describes argv. Returns an exit status, or ends the process. */
int tg_guard(int argc, char **argv, char **envp);

#endif
