/* stops.c - limits how many stops and continuations of the root a guard reports. */
#include "stops.h"

#include "sys.h"
#include "treeguard.h"

static const int64_t INTERVAL_NS = TG_STOP_INTERVAL_MS * 1000000;

void tg_stops_record(struct tg_stops *stops, int status)
{
    stops->kind = WIFSTOPPED(status) ? TG_STOPPED : TG_CONTINUED;
    stops->signal = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
}

static void expire(struct tg_stops *stops, int64_t now)
{
    if (!stops->counted || now < stops->expiry)
        return;
    int64_t expired = (now - stops->expiry) / INTERVAL_NS + 1;
    stops->counted = expired < stops->counted ? stops->counted - (int)expired : 0;
    stops->expiry += expired * INTERVAL_NS;
}

int tg_stops_take(struct tg_stops *stops, int *ret_kind, int *ret_signal)
{
    int64_t now = tg_clock();
    expire(stops, now);
    if (!stops->kind || stops->counted == TG_STOPS_AT_ONCE)
        return 0;
    if (!stops->counted++)
        stops->expiry = now + INTERVAL_NS;
    *ret_kind = stops->kind;
    *ret_signal = stops->signal;
    stops->kind = 0;
    return 1;
}
