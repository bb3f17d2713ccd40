/* bsd/queue.c - event queue of an engine: a kqueue of lifelines and processes. */
#include "../queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/event.h>
#include <sys/time.h>
#include <unistd.h>

enum { BATCH = 64 };

const int tg_queue_exit_oneshot = 1;

int tg_queue_open(void)
{
    int queue = kqueue();
    if (queue < 0)
        return -errno;
    fcntl(queue, F_SETFD, FD_CLOEXEC);
    return queue;
}

/* A forked process does not inherit kqueues (kqueue(2)). The number may belong to another file there, so close it only
 * in the owner. */
void tg_queue_close(int queue, int owned)
{
    if (owned)
        close(queue);
}

static int change(int queue, int ident, int filter, int flags, unsigned notes, void *data)
{
    struct kevent event;
    EV_SET(&event, (uintptr_t)ident, (short)filter, (unsigned short)flags, notes, 0, data);
    return kevent(queue, &event, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

int tg_queue_add(int queue, int fd, void *data)
{
    return change(queue, fd, EVFILT_READ, EV_ADD, 0, data);
}

void tg_queue_remove(int queue, int fd)
{
    change(queue, fd, EVFILT_READ, EV_DELETE, 0, NULL);
}

/* Returns -ESRCH if the process has already ended. */
int tg_queue_add_child(int queue, int pid, int pidfd, void *data)
{
    (void)pidfd;
    return change(queue, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, data);
}

void tg_queue_remove_child(int queue, int pid, int pidfd)
{
    (void)pidfd;
    change(queue, pid, EVFILT_PROC, EV_DELETE, NOTE_EXIT, NULL);
}

int tg_queue_take(int queue, void **ret_data, int max)
{
    struct kevent ready[BATCH];
    const struct timespec at_once = {0, 0};
    int n = kevent(queue, NULL, 0, ready, max < BATCH ? max : BATCH, &at_once);
    for (int i = 0; i < n; i++)
        ret_data[i] = ready[i].udata;
    return n < 0 ? -errno : n;
}
