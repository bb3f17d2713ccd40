/* rights.h - messages that carry a handle of a process. Each platform has its own implementation. */
#ifndef TG_RIGHTS_H
#define TG_RIGHTS_H

#include "sys.h"

/* As tg_send without waiting, with a copy of a descriptor. */
long tg_send_with(int socket, const void *bytes, size_t size, int fd);

/* As tg_recv. Stores the first descriptor that came along, close-on-exec, and closes others; -1: none came. */
long tg_recv_with(int socket, void *ret_bytes, size_t size, int *ret_fd);

#endif
