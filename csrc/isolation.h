/* isolation.h - protects guard and supervisor from a tree. Each platform has its own implementation. */
#ifndef TG_ISOLATION_H
#define TG_ISOLATION_H

/* From now on this process and its descendants can neither signal nor trace processes outside of this set. They gain no
 * privileges by exec any more (no_new_privs). This cannot be undone. It runs between fork and exec, so the rules of
 * child.c apply. Returns 0, or -errno. */
long tg_isolate(void);

/* For a root in a PID namespace of its own: gives it a /proc of that namespace, and takes from it the capabilities that
 * its exec would keep. The rules of child.c apply. Returns 0, or -errno. */
long tg_settle_inside(void);

#endif
