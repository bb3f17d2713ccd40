/* linux/rights.c - messages that carry a handle, by SCM_RIGHTS (unix(7)). */
#include "../rights.h"

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

long tg_send_with(int socket, const void *bytes, size_t size, int fd)
{
    union control control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    *(int *)(void *)CMSG_DATA(&control.header) = fd;
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
    }
    return tg_sys3(SYS_sendmsg, socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* There is room for one descriptor, and the kernel closes others. */
long tg_recv_with(int socket, void *ret_bytes, size_t size, int *ret_fd)
{
    union control control = {.room = {0}};
    struct iovec part = {ret_bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    long got = tg_sys3(SYS_recvmsg, socket, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
    int came = got >= 0 && message.msg_controllen >= CMSG_LEN(sizeof(int)) && control.header.cmsg_type == SCM_RIGHTS;
    *ret_fd = came ? *(int *)(void *)CMSG_DATA(&control.header) : -1;
    return got;
}
