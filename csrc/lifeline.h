/* lifeline.h - the socket between supervisor and guard. */
#ifndef TG_LIFELINE_H
#define TG_LIFELINE_H

/* Makes a connected pair, close-on-exec, above the standard streams. 0; or -errno, then `ret_ends` holds what there is to
 * be closed, and -1. */
int tg_lifeline_open(int ret_ends[2]);

#endif
