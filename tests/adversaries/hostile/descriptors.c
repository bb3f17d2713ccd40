/* descriptors.c - taking the descriptors of a guard, or of its supervisor, and speaking through them. */
#define _GNU_SOURCE
#include "hostile.h"

#include "../../../csrc/treeguard.h"
#include "../../../csrc/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 256 };

static int taken[MOST];
static int ntaken;

static void let_go(void)
{
    while (ntaken > 0)
        close(taken[--ntaken]);
}

/* All that it has, but the one that the test names, since it needs that to talk to a supervisor. */
static void take(void)
{
    int err = EBADF, spared = place ? atoi(place) : -1;
    let_go();
    for (int fd = 0; fd < MOST; fd++) {
        if (fd == spared)
            continue;
        int got = (int)syscall(SYS_pidfd_getfd, victim_handle, fd, 0);
        if (got >= 0)
            taken[ntaken++] = got;
        else if (errno != EBADF)
            err = errno;
    }
    told("pidfd_getfd", ntaken ? 0 : err);
}

/* They stay open here: nobody sees the end of a lifeline that somebody holds. */
void take_descriptors(void)
{
    take();
}

/* The same in a session of its own, where nothing tells any more whose this process is. */
void flee_with_descriptors(void)
{
    if (round_number == 0)
        setsid();
    for (char **each = environ; each && *each; each++)
        memset(*each, 0, strlen(*each));
    take();
}

void open_descriptors(void)
{
    int err = ENOENT, opened = 0;
    for (int fd = 0; fd < MOST; fd++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/fd/%d", victim, fd);
        int got = open(path, O_RDONLY | O_NONBLOCK);
        if (got < 0 && errno == ENXIO)
            opened++; /* a socket: the file was found, and cannot be opened so */
        else if (got < 0 && errno != ENOENT)
            err = errno;
        if (got >= 0 && round_number > 0)
            close(got);
        opened += got >= 0;
    }
    told("open", opened ? 0 : err);
}

static int is_lifeline(int fd)
{
    int kind;
    socklen_t size = sizeof kind;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) == 0 && kind == TG_LIFELINE_KIND;
}

static void say(const void *message, size_t size)
{
    int err = ENOTSOCK;
    for (int i = 0; i < ntaken; i++)
        if (is_lifeline(taken[i]))
            err = send(taken[i], message, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
    told("send", ntaken ? err : EBADF);
}

/* A last word in a guard's name: that nothing is left. */
void forge_empty(void)
{
    struct tg_event event = {.kind = TG_EMPTY, .pid = root, .code = 0};
    take();
    say(&event, sizeof event);
}

/* Both sides see the other one's end. */
void hang_up(void)
{
    int err = ENOTSOCK;
    take();
    for (int i = 0; i < ntaken; i++)
        if (is_lifeline(taken[i]))
            err = shutdown(taken[i], SHUT_RDWR) < 0 ? errno : 0;
    told("shutdown", ntaken ? err : EBADF);
}

/* The same at the other end, which is the supervisor's. */
void hang_up_above(void)
{
    hang_up();
}

/* Orders in a supervisor's name, for all its guards: to send SIGCONT to their roots, which asks for nothing. */
void give_orders(void)
{
    struct tg_order order = {TG_ORDER_SIGNAL, SIGCONT};
    take();
    say(&order, sizeof order);
}

/* Reads away what a guard tells, or what it is told. */
void steal_events(void)
{
    static char event[4096];
    if (round_number == 0)
        take();
    for (int i = 0; i < ntaken; i++)
        if (is_lifeline(taken[i]))
            while (recv(taken[i], event, sizeof event, MSG_DONTWAIT) > 0)
                ;
    told("recv", ntaken ? 0 : EBADF);
}
