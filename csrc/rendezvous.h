/* rendezvous.h - where the guard of a released tree waits for its next supervisor. Each platform has its own
 * implementation. */
#ifndef TG_RENDEZVOUS_H
#define TG_RENDEZVOUS_H

#include <stddef.h>

/* Listens at an address that the name stands for. Returns the descriptor, or -errno. */
long tg_rendezvous_open(const char *name);

/* Accepts a process of the own user that wants to be the supervisor. Returns its connection, and stores its process id and
 * a pidfd of it. Returns -errno if the peer is another user's, if it sent anything else, or if descriptors are short. */
long tg_rendezvous_accept(int listener, int *ret_pid, int *ret_pidfd);

/* Makes the kernel name the sender of each message on a lifeline. Returns 0, or -errno. */
long tg_rendezvous_name_senders(int lifeline);

/* tg_recv that stores the process id of the sender, too; 0: not known. */
long tg_rendezvous_receive(int lifeline, void *ret_bytes, size_t size, int *ret_sender);

#endif
