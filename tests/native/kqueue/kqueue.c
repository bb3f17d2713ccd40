/* kqueue.c - the part of kqueue(2) that csrc/ uses, implemented with epoll, pidfds and signalfds.
 *
 * It is as strict as the systems that it replaces: a process that has ended cannot be registered (macOS), the end of a
 * process is reported once, and a forked copy has no queue. It is not thread-safe. */
#include <sys/event.h>
#include <sys/procctl.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 1024, BATCH = 64 };

struct entry {
    struct kevent event;
    int queue;  /* 0: the entry is free */
    int fd;     /* in the epoll set */
};

static struct entry entries[MOST];
static int queues[MOST];
static int nqueues;

int shim_refuse_next_process;

/* Returns whether a number still belongs to a queue. It may belong to another file by now. */
static int is_queue(int fd)
{
    char path[32], target[32] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target - 1) > 0 && strstr(target, "eventpoll");
}

static void close_copies(void)
{
    for (int i = 0; i < nqueues; i++)
        if (is_queue(queues[i]))
            close(queues[i]);
    nqueues = 0;
    memset(entries, 0, sizeof entries);
}

int kqueue(void)
{
    static int once;
    int queue = epoll_create1(0);
    if (!once++)
        pthread_atfork(NULL, NULL, close_copies);
    if (queue >= 0 && nqueues < MOST)
        queues[nqueues++] = queue;
    return queue;
}

static struct entry *find(int queue, const struct kevent *change)
{
    for (int i = 0; i < MOST; i++)
        if (entries[i].queue == queue && entries[i].event.filter == change->filter &&
            entries[i].event.ident == change->ident)
            return &entries[i];
    return NULL;
}

static int has_ended(int pid)
{
    char path[64], text[512], *end;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 1;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    end = strrchr(text, ')');
    return !end || end[2] == 'Z' || end[2] == 'X';
}

static int open_process(int pid)
{
    if (shim_refuse_next_process || has_ended(pid)) {
        shim_refuse_next_process = 0;
        errno = ESRCH;
        return -1;
    }
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int open_signal(int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void drop(struct entry *e)
{
    epoll_ctl(e->queue, EPOLL_CTL_DEL, e->fd, NULL);
    if (e->event.filter != EVFILT_READ)
        close(e->fd);
    memset(e, 0, sizeof *e);
}

static int listen_to(struct entry *e, int fd)
{
    struct epoll_event ready = {.events = EPOLLIN, .data.ptr = e};
    e->fd = fd;
    return epoll_ctl(e->queue, EPOLL_CTL_ADD, fd, &ready);
}

static int add(int queue, const struct kevent *change)
{
    const struct kevent none = {0};
    struct entry *e = find(0, &none);
    int fd = change->filter == EVFILT_READ   ? (int)change->ident
             : change->filter == EVFILT_PROC ? open_process((int)change->ident)
                                             : open_signal((int)change->ident);
    if (fd < 0)
        return -1;
    *e = (struct entry){*change, queue, fd};
    if (listen_to(e, fd) == 0)
        return 0;
    memset(e, 0, sizeof *e);
    return -1;
}

static int change_one(int queue, const struct kevent *change)
{
    struct entry *e = find(queue, change);
    if (change->flags & EV_ADD) {
        if (e)
            drop(e);
        return add(queue, change);
    }
    if (!e) {
        errno = ENOENT;
        return -1;
    }
    drop(e);
    return 0;
}

static struct kevent told(struct entry *e, unsigned events)
{
    struct kevent event = e->event;
    struct signalfd_siginfo info;
    int bytes = 0;
    event.flags = 0;
    if (event.filter == EVFILT_READ) {
        ioctl(e->fd, FIONREAD, &bytes);
        event.data = bytes;
        event.flags = events & (EPOLLHUP | EPOLLRDHUP) ? EV_EOF : 0;
    } else if (event.filter == EVFILT_SIGNAL) {
        event.data = read(e->fd, &info, sizeof info) > 0;
        event.flags = EV_CLEAR;
    } else {
        event.flags = EV_EOF | EV_ONESHOT;
        drop(e);
    }
    return event;
}

int kevent(int queue, const struct kevent *changes, int nchanges, struct kevent *ret_events, int nevents,
           const struct timespec *timeout)
{
    struct epoll_event ready[BATCH];
    for (int i = 0; i < nchanges; i++)
        if (change_one(queue, &changes[i]) < 0)
            return -1;
    if (nevents == 0)
        return 0;
    int milliseconds = timeout ? (int)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000) : -1;
    int n = epoll_wait(queue, ready, nevents < BATCH ? nevents : BATCH, milliseconds);
    for (int i = 0; i < n; i++)
        ret_events[i] = told(ready[i].data.ptr, ready[i].events);
    return n;
}

static int is_part(unsigned fd)
{
    for (int i = 0; i < MOST; i++)
        if (entries[i].queue && entries[i].event.filter != EVFILT_READ && entries[i].fd == (int)fd)
            return 1;
    return 0;
}

int shim_close_range(unsigned first, unsigned last, int flags)
{
    const unsigned most = 256;
    for (unsigned fd = first; fd <= last && fd < most; fd++)
        if (!is_part(fd))
            close((int)fd);
    return last < most ? 0 : (close_range)(first > most ? first : most, last, flags);
}

void shim_tell_end(int pid)
{
    for (int i = 0; i < MOST; i++) {
        struct entry *e = &entries[i];
        if (!e->queue || e->event.filter != EVFILT_PROC || e->event.ident != (uintptr_t)pid)
            continue;
        epoll_ctl(e->queue, EPOLL_CTL_DEL, e->fd, NULL);
        close(e->fd);
        listen_to(e, eventfd(1, EFD_CLOEXEC));
    }
}
