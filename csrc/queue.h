/* queue.h - the one wait for all trees. One file a system behind it. */
#ifndef TG_QUEUE_H
#define TG_QUEUE_H

/* A descriptor that turns readable when there is something to take; or -errno. */
int tg_queue_open(void);

/* To be called with `owned` 0 in a forked copy: some systems give a copy no queue, and the number to somebody else. */
void tg_queue_close(int queue, int owned);

/* Whether the end of a child is told once only. */
extern const int tg_queue_tells_once;

/* From now on, or no longer, tell `who` as long as `fd` has something. 0, or -errno. */
int tg_queue_add(int queue, int fd, void *who);
void tg_queue_remove(int queue, int fd);

/* The same for the end of a child, which may be told before the child can be waited for. `pidfd`: its
 * handle, or -1. 0, or -errno: it will not be told. */
int tg_queue_add_child(int queue, int pid, int pidfd, void *who);
void tg_queue_remove_child(int queue, int pid, int pidfd);

/* Hands over whom there is something to tell, without waiting. Returns their number, or -errno. */
int tg_queue_take(int queue, void **ret_who, int max);

#endif
