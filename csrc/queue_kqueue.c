/* queue_kqueue.c - the one wait for all trees: a kqueue of lifelines and processes. */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/event.h>
#include <sys/time.h>
#include <unistd.h>

enum { BATCH = 64 };

const int tg_queue_tells_once = 1;

int tg_queue_open(void)
{
    int queue = kqueue();
    if (queue < 0)
        return -errno;
    fcntl(queue, F_SETFD, FD_CLOEXEC);
    return queue;
}

/* A forked copy has no queue (kqueue(2)), so there its number may be anybody's. */
void tg_queue_close(int queue, int owned)
{
    if (owned)
        close(queue);
}

static int change(int queue, int ident, int filter, int flags, unsigned notes, void *who)
{
    struct kevent event;
    EV_SET(&event, (uintptr_t)ident, (short)filter, (unsigned short)flags, notes, 0, who);
    return kevent(queue, &event, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

int tg_queue_add(int queue, int fd, void *who)
{
    return change(queue, fd, EVFILT_READ, EV_ADD, 0, who);
}

void tg_queue_remove(int queue, int fd)
{
    change(queue, fd, EVFILT_READ, EV_DELETE, 0, NULL);
}

/* -ESRCH: it has ended already. */
int tg_queue_add_child(int queue, int pid, int pidfd, void *who)
{
    (void)pidfd;
    return change(queue, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, who);
}

void tg_queue_remove_child(int queue, int pid, int pidfd)
{
    (void)pidfd;
    change(queue, pid, EVFILT_PROC, EV_DELETE, NOTE_EXIT, NULL);
}

int tg_queue_take(int queue, void **ret_who, int max)
{
    struct kevent ready[BATCH];
    const struct timespec at_once = {0, 0};
    int n = kevent(queue, NULL, 0, ready, max < BATCH ? max : BATCH, &at_once);
    for (int i = 0; i < n; i++)
        ret_who[i] = ready[i].udata;
    return n < 0 ? -errno : n;
}
