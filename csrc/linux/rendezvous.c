/* linux/rendezvous.c - an abstract address (unix(7)), without libc. It is no file: nothing is left when the guard ends, and
 * it can be bound again by nobody while the guard lives. It belongs to the guard's network namespace. */
#include "../rendezvous.h"

#include "../sys.h"
#include "../wire.h"

#include <sys/un.h>

/* linux/socket.h, 6.5. The number is that of all machines that treeguard is built for. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* BACKLOG: connections that wait while another process is taking the tree over. ORDER_MS: how long a connection may take
 * to say what it wants. The guard does nothing else meanwhile, but only processes of its user get there, which could as
 * well stop it. */
enum { BACKLOG = 8, ORDER_MS = 100 };

#ifndef SCM_CREDENTIALS
#define SCM_CREDENTIALS 2
#endif

/* struct ucred, which needs a feature macro. */
struct peer {
    int32_t pid;
    uint32_t user;
    uint32_t group;
};

long tg_rendezvous_open(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unsigned length = 0;
    /* The NUL in front makes it abstract; what follows counts in full. */
    while (name[length] && length < sizeof address.sun_path - 1) {
        address.sun_path[length + 1] = name[length];
        length++;
    }
    long fd = tg_sys3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    long ret = tg_sys3(SYS_bind, fd, &address, offsetof(struct sockaddr_un, sun_path) + 1 + length);
    /* The credentials that a caller sees are those of the process that listens. */
    if (ret == 0)
        ret = tg_sys2(SYS_listen, fd, BACKLOG);
    if (ret == 0)
        return fd;
    tg_close((int)fd);
    return ret;
}

/* Returns whether a caller orders the guard to be taken over, before the time is up. */
static int wants_tree(int fd)
{
    struct tg_order order;
    struct pollfd ready = {fd, POLLIN, 0};
    return tg_poll(&ready, 1, ORDER_MS) > 0 && tg_recv(fd, &order, sizeof order) == sizeof order &&
           order.order == TG_ORDER_TAKE;
}

/* Returns a pidfd of the process at the other end. Before 6.5 its number leads there: if it has ended and its number was
 * reused, its end of the connection is closed, which the guard sees as well. */
static long hold_peer(int fd, int pid)
{
    int pidfd = -1;
    uint32_t size = sizeof pidfd;
    if (tg_sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
        return pidfd;
    return tg_sys2(SYS_pidfd_open, pid, 0);
}

long tg_rendezvous_accept(int listener, int *ret_pid, int *ret_pidfd)
{
    struct peer peer = {0, 0, 0};
    uint32_t size = sizeof peer;
    long fd = tg_sys4(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return fd;
    long ret = tg_sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    /* A process outside of this pid namespace has no number here. */
    if (ret == 0 && (peer.user != tg_geteuid() || peer.pid <= 0))
        ret = -EPERM;
    if (ret == 0 && !wants_tree((int)fd))
        ret = -EPROTO;
    if (ret == 0)
        ret = hold_peer((int)fd, peer.pid);
    if (ret >= 0) {
        *ret_pid = peer.pid;
        *ret_pidfd = (int)ret;
        return fd;
    }
    tg_close((int)fd);
    return ret;
}

long tg_rendezvous_name_senders(int lifeline)
{
    int on = 1;
    return tg_sys5(SYS_setsockopt, lifeline, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
}

long tg_rendezvous_receive(int lifeline, void *ret_bytes, size_t size, int *ret_sender)
{
    /* Room for credentials alone: the kernel drops descriptors that are sent along. */
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct peer))];
    } control;
    struct iovec bytes = {ret_bytes, size};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    long got = tg_sys3(SYS_recvmsg, lifeline, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
    int named = got > 0 && message.msg_controllen >= CMSG_LEN(sizeof(struct peer)) &&
                control.header.cmsg_level == SOL_SOCKET && control.header.cmsg_type == SCM_CREDENTIALS;
    *ret_sender = named ? ((const struct peer *)(const void *)CMSG_DATA(&control.header))->pid : 0;
    return got;
}
