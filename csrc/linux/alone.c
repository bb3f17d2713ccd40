/* alone.c - trees that one caller waits for by itself, without the engine's queue. Most commands end at once, and are
 * waited for by who has started them: registering them with the queue and asking that would take longer than the wait. */
#include "../queue.h"
#include "../tree.h"

#include <poll.h>
#include <time.h>

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int tg_tree_attend_kept(struct tg_tree *tree, int timeout_ms, struct tg_event ret_told[2])
{
    int64_t until = now_ms() + timeout_ms;
    struct tg_event event;
    /* A signal handler may have forked. */
    if (!tree || !tg_engine_owned(tree->engine))
        return TG_ATTENDED;
    for (int moved = 1; moved;) {
        int64_t left = until - now_ms();
        struct pollfd ends = {.fd = tree->fd, .events = POLLIN};
        if (left <= 0 || tree->fd < 0)
            return TG_ATTENDED;
        int n = poll(&ends, 1, (int)left);
        if (n <= 0)
            return n < 0 && errno == EINTR ? TG_ATTENDED_SIGNAL : TG_ATTENDED;
        /* A guard that is about to end has another descriptor. If nothing else came of an event, the host has to look
         * by itself, or this would be a busy loop. */
        int closing = tree->closing;
        moved = 0;
        while (tree->ops->poll(tree, &event)) {
            int more = event.kind != TG_STARTED;
            ret_told[more] = event;
            moved = 1;
            if (more && event.kind == TG_EMPTY && ret_told[0].kind) {
                ret_told[0].kind = 0;
                return TG_ATTENDED_OVER;
            }
            if (more)
                return TG_ATTENDED;
        }
        moved |= tree->closing != closing;
    }
    return TG_ATTENDED;
}

void tg_tree_join(struct tg_tree *tree, struct tg_event told[2])
{
    if (!tree->alone || !tg_engine_owned(tree->engine))
        return;
    int queue = tree->engine->queue;
    if (!tree->reaped && (!tree->guarded || tree->closing))
        tree->watched = tg_queue_add_child(queue, tree->pid, tree->fd, tree) == 0;
    else if (!tree->reaped)
        tree->watched = tg_queue_add(queue, tree->fd, tree) == 0;
    tree->alone = !tree->watched;
    told[1].polled = tg_tree_polled(tree);
    told[0].polled = told[1].polled || told[1].kind;
}
