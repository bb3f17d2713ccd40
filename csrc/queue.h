/* queue.h - the event queue of an engine. Each platform has its own implementation. */
#ifndef TG_QUEUE_H
#define TG_QUEUE_H

/* Returns a descriptor that becomes readable when events are pending, or -errno. */
int tg_queue_open(void);

/* Closes the queue. `owned` is 0 in a forked copy: on some systems the copy has no queue, and the number may belong to
 * another file. */
void tg_queue_close(int queue, int owned);

/* Whether the queue reports the end of a child only once. */
extern const int tg_queue_exit_oneshot;

/* Watches a descriptor: reports `data` while it is readable. Returns 0, or -errno. tg_queue_remove stops that. */
int tg_queue_add(int queue, int fd, void *data);
void tg_queue_remove(int queue, int fd);

/* Watches a child for its end, which may be reported before the child can be waited for. `pidfd` is its handle, or -1.
 * Returns 0, or -errno if the end will not be reported. */
int tg_queue_add_child(int queue, int pid, int pidfd, void *data);
void tg_queue_remove_child(int queue, int pid, int pidfd);

/* Stores the `data` of pending events without waiting. Returns their number, or -errno. */
int tg_queue_take(int queue, void **ret_data, int max);

#endif
