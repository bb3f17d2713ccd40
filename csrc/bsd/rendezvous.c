/* bsd/rendezvous.c - stubs: these systems have no abstract addresses and no handles of processes, so a tree cannot be
 * released. */
#include "../rendezvous.h"

#include <errno.h>

long tg_rendezvous_open(const char *name)
{
    (void)name;
    return -ENOSYS;
}

long tg_rendezvous_name_senders(int lifeline)
{
    (void)lifeline;
    return -ENOSYS;
}

long tg_rendezvous_receive(int lifeline, void *ret_bytes, size_t size, int *ret_sender)
{
    (void)lifeline;
    (void)ret_bytes;
    (void)size;
    (void)ret_sender;
    return -ENOSYS;
}

long tg_rendezvous_accept(int listener, int *ret_pid, int *ret_pidfd)
{
    (void)listener;
    (void)ret_pid;
    (void)ret_pidfd;
    return -ENOSYS;
}
