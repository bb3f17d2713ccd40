/* stops.h - limits how many stops and continuations of the root a guard reports. */
#ifndef TG_STOPS_H
#define TG_STOPS_H

#include <stdint.h>

/* A tree can stop and continue its root at any rate. The guard sends this many reports at once and after that one per
 * interval. It always reports the last state. */
enum { TG_STOPS_AT_ONCE = 32, TG_STOP_INTERVAL_MS = 20 };

struct tg_stops {
    int kind;       /* of the latest change that is not reported yet: TG_STOPPED or TG_CONTINUED; 0: none */
    int signal;     /* and its signal */
    int counted;    /* reports that count against the limit */
    int64_t expiry; /* when one of these stops counting, in the time of tg_clock */
};

/* Records a change, given the status from wait. It replaces a change that is not reported yet. */
void tg_stops_record(struct tg_stops *stops, int status);

/* Takes the recorded change if there is one and the limit allows a report. Returns 1, else 0. */
int tg_stops_take(struct tg_stops *stops, int *ret_kind, int *ret_signal);

#endif
