/* linux/queue.c - event queue of an engine: an epoll set of lifelines and pidfds. */
#include "../queue.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 64 };

const int tg_queue_exit_oneshot = 0;

int tg_queue_open(void)
{
    int queue = epoll_create1(EPOLL_CLOEXEC);
    return queue < 0 ? -errno : queue;
}

void tg_queue_close(int queue, int owned)
{
    (void)owned;
    close(queue);
}

int tg_queue_add(int queue, int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    return epoll_ctl(queue, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Closing the descriptor is not enough: a copy of it in a forked process keeps the registration alive (epoll(7)). */
void tg_queue_remove(int queue, int fd)
{
    struct epoll_event none = {0};
    epoll_ctl(queue, EPOLL_CTL_DEL, fd, &none);
}

int tg_queue_add_child(int queue, int pid, int pidfd, void *data)
{
    (void)pid;
    return pidfd < 0 ? -ENOSYS : tg_queue_add(queue, pidfd, data);
}

void tg_queue_remove_child(int queue, int pid, int pidfd)
{
    (void)pid;
    if (pidfd >= 0)
        tg_queue_remove(queue, pidfd);
}

int tg_queue_take(int queue, void **ret_data, int max)
{
    struct epoll_event ready[BATCH];
    int n = epoll_wait(queue, ready, max < BATCH ? max : BATCH, 0);
    for (int i = 0; i < n; i++)
        ret_data[i] = ready[i].data.ptr;
    return n < 0 ? -errno : n;
}
