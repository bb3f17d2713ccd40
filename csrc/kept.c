/* kept.c - results are written to where the caller keeps them.
 *
 * Python handles signals when a C function has returned, before it stores what that returned: a tree, or a batch of
 * events, would be lost with an exception of the handler's. What is written before the return is not. */
#include "treeguard.h"

#ifndef _WIN32
#include <unistd.h>

void tg_close_kept(int32_t *fd)
{
    int closed = *fd;
    *fd = -1;
    if (closed >= 0)
        close(closed);
}
#endif

void tg_engine_open_kept(struct tg_engine **ret_engine, struct tg_fault *reterr_fault)
{
    *ret_engine = tg_engine_open(reterr_fault);
}

void tg_engine_drain_kept(struct tg_engine *engine, struct tg_event *ret_events, int max, int32_t *ret_count)
{
    int count = tg_engine_drain(engine, ret_events, max);
    *ret_count = count < 0 ? 0 : count;
}

void tg_engine_close_kept(struct tg_engine **engine)
{
    struct tg_engine *closed = *engine;
    *engine = NULL;
    if (closed)
        tg_engine_close(closed);
}

void tg_tree_spawn_kept(struct tg_engine *engine, const struct tg_spec *spec, uint64_t tag, struct tg_tree **ret_tree,
                        struct tg_fault *reterr_fault)
{
    *ret_tree = tg_tree_spawn(engine, spec, tag, reterr_fault);
}

void tg_tree_poll_kept(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (!tg_tree_poll(tree, ret_event))
        ret_event->kind = 0;
}

void tg_tree_free_kept(struct tg_tree **tree)
{
    struct tg_tree *freed = *tree;
    *tree = NULL;
    tg_tree_free(freed);
}
