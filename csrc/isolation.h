/* isolation.h - putting guard and supervisor out of reach of a tree's signals. One file a kind of system behind it. */
#ifndef TG_ISOLATION_H
#define TG_ISOLATION_H

/* From now on this process, and all that descends from it, can neither signal nor trace a process that does not. It gains no
 * privileges by exec any more (no_new_privs). Cannot be taken back. Called between fork and exec, so the law of child.c holds.
 * 0, or -errno. */
long tg_isolate(void);

#endif
