/* bsd/rights.c - plain messages: there are no handles of processes to be sent. */
#include "../rights.h"

long tg_send_with(int socket, const void *bytes, size_t size, int fd)
{
    (void)fd;
    return tg_send(socket, bytes, size, MSG_DONTWAIT);
}

long tg_recv_with(int socket, void *ret_bytes, size_t size, int *ret_fd)
{
    *ret_fd = -1;
    return tg_recv(socket, ret_bytes, size);
}
