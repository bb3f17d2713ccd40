/* lifeline.h - the socket between supervisor and guard. */
#ifndef TG_LIFELINE_H
#define TG_LIFELINE_H

/* Creates a connected pair with close-on-exec, above the standard streams. Returns 0, or -errno. After an error the
 * caller must close the descriptors in `ret_ends` that are not -1. */
int tg_lifeline_open(int ret_ends[2]);

#endif
