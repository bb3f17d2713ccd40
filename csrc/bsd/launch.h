/* bsd/launch.h - the way of its own that macOS and FreeBSD each have to start a guard. */
#ifndef TG_BSD_LAUNCH_H
#define TG_BSD_LAUNCH_H

#include "../launch.h"

/* Starts a program that begins at once: the calling thread may wait for its exec. Returns its process id, -errno, or 0
 * if this way cannot do what is asked for, so that a fork has to. */
long tg_launch_quick(struct tg_launch *launch);

#endif
