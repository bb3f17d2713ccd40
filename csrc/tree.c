/* tree.c - the life of a tree in the library: start, events, signals, release. */
#include "tree.h"

#include "attributes.h"
#include "lifeline.h"
#include "queue.h"
#include "usage.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a start without a guard waits for the exec before it continues, in milliseconds: see tg_launch_done. */
enum { EXEC_WAIT_MS = 5 };

struct tg_event tg_tree_event(const struct tg_tree *tree, int kind)
{
    return (struct tg_event){.tag = tree->tag, .kind = kind, .pid = tree->root, .code = -1};
}

struct tg_event tg_tree_failed(struct tg_tree *tree, int step, int err)
{
    struct tg_event event = tg_tree_event(tree, TG_FAILED);
    event.step = step;
    event.err = err;
    return event;
}

int tg_tree_reap(struct tg_tree *tree, int options, int *ret_status, struct rusage *ret_usage)
{
    if (tree->reaped)
        return 1;
    int held = !tree->guarded || tree->closing ? tree->fd : -1;
    struct pollfd end = {held, POLLIN, 0};
    /* An adopted guard is not ours to reap. One that has not taken us for its supervisor is none of ours. */
    if (tree->adopted && tree->root && held >= 0 && tg_poll(&end, 1, 0) == 0)
        return 0;
    long ret = tree->adopted ? -ECHILD : tg_wait_held(held, tree->pid, ret_status, options | TG_WAIT_ANY, ret_usage);
    if (ret == 0 || ret == -EINTR)
        return 0;
    if (ret < 0)
        *ret_status = -1;
    else
        tg_usage_from(&tree->total, ret_usage);
    tree->reaped = 1;
    if (tree->guarded && tree->closing)
        tg_tree_count_leaving(tree, -1);
    return 1;
}

void tg_tree_count_leaving(struct tg_tree *tree, int change)
{
    __atomic_add_fetch(&tree->engine->leaving, change, __ATOMIC_RELAXED);
}

void tg_tree_unwatch(struct tg_tree *tree)
{
    if (tree->watched)
        tg_queue_remove_child(tree->engine->queue, tree->pid, tree->fd);
    tree->watched = 0;
}

int tg_tree_poll_instead(struct tg_tree *tree, struct tg_event *ret_event)
{
    tg_tree_unwatch(tree);
    *ret_event = tg_tree_event(tree, TG_CLOSING);
    return 1;
}

static struct tg_tree *refuse(struct tg_tree *tree, int step, int err, struct tg_fault *reterr_fault)
{
    *reterr_fault = (struct tg_fault){step, err};
    if (tree)
        tree->reaped = 1;
    tg_tree_free(tree);
    return NULL;
}

/* Keep signals blocked until the child has reset their handlers: a handler that runs in the child would run in our
 * memory. Restore the host's mask before returning. */
static int launch(struct tg_tree *tree, int want_pidfd)
{
    tg_held_signals held;
    tg_hold_signals(&held);
    int ret = tg_launch(&tree->start->launch, want_pidfd);
    tg_release_signals(&held);
    tree->pid = tree->start->launch.pid;
    return ret;
}

/* The order of the steps matters. Both ends of the lifeline are in engine->in_flight while they are open here, so that
 * a forked copy can close its copies of them (tg_engine_forked). The queue watches the lifeline before the launch, so
 * that a failure leaves no process behind. The guard's end is closed here after the launch, so that the lifeline closes
 * when the guard ends. */
static struct tg_tree *spawn_with_guard(struct tg_tree *tree, const struct tg_spec *spec, struct tg_fault *reterr_fault)
{
    struct tg_engine *engine = tree->engine;
    int *ends = engine->in_flight;
    int step = TG_STEP_LIFELINE, err = -tg_lifeline_open(ends);
    engine->latest = tree->fd = ends[0];
    int slotted = !err && tg_engine_crowded(engine) && tg_engine_take_slot(engine, ends[1]);
    if (!err && !(tree->start = tg_start_new(spec, engine, slotted ? engine->slot : ends[1])))
        step = TG_STEP_MEMORY, err = ENOMEM;
    else if (!err)
        tree->start->launch.share_table = slotted;
    if (!err && !tree->alone)
        step = TG_STEP_ENGINE, err = -tg_queue_add(engine->queue, tree->fd, tree);
    tree->watched = !err && !tree->alone;
    if (!err)
        step = TG_STEP_CLONE, err = -launch(tree, engine->by_inode);
    if (!err)
        tg_identity_note(&tree->identity, tree->pid, tree->start->launch.pidfd);
    if (err && step == TG_STEP_CLONE && tree->start->launch.child.fault.step)
        step = tree->start->launch.child.fault.step == TG_STEP_CWD ? TG_STEP_CWD : TG_STEP_GUARD;
    if (slotted)
        tg_engine_clear_slot(engine);
    if (ends[1] >= 0)
        close(ends[1]);
    ends[0] = ends[1] = -1;
    return err ? refuse(tree, step, err, reterr_fault) : tree;
}

static struct tg_tree *spawn_without_guard(struct tg_tree *tree, const struct tg_spec *spec,
                                           struct tg_fault *reterr_fault)
{
    int ret = (int)tg_check_reach(spec->attributes);
    if (ret < 0)
        return refuse(tree, TG_STEP_USER, -ret, reterr_fault);
    tree->start = tg_start_new(spec, tree->engine, -1);
    if (!tree->start)
        return refuse(tree, TG_STEP_MEMORY, ENOMEM, reterr_fault);
    tree->start->launch.share_table = tg_engine_crowded(tree->engine);
    ret = launch(tree, 1);
    if (ret < 0)
        return refuse(tree, TG_STEP_CLONE, -ret, reterr_fault);
    tree->engine->latest = tree->fd = tree->start->launch.pidfd;
    if (tree->alone)
        return tree;
    tree->watched = tg_queue_add_child(tree->engine->queue, tree->pid, tree->fd, tree) == 0;
    if (tree->fd >= 0 && !tree->watched) {
        /* The root may have started other processes already, so it is too late to refuse. Poll the tree instead. */
        close(tree->fd);
        tree->fd = -1;
    }
    tg_launch_done(&tree->start->launch, EXEC_WAIT_MS);
    return tree;
}

int tg_tree_next(struct tg_source *source, struct tg_event *ret_event)
{
    struct tg_tree *tree = (struct tg_tree *)source;
    if (!tree->ops->next(tree, ret_event))
        return 0;
    ret_event->polled = tg_tree_polled(tree);
    return 1;
}

struct tg_tree *tg_tree_spawn(struct tg_engine *engine, const struct tg_spec *spec, uint64_t tag,
                              struct tg_fault *reterr_fault)
{
    if (!tg_engine_owned(engine))
        return refuse(NULL, TG_STEP_ENGINE, EPERM, reterr_fault);
    for (int i = 0; i < 3; i++)
        if (spec->stdio[i] == -1 && tg_engine_null(engine) < 0)
            return refuse(NULL, TG_STEP_STDIO, errno, reterr_fault);
    struct tg_tree *tree = calloc(1, sizeof *tree);
    if (!tree)
        return refuse(NULL, TG_STEP_MEMORY, ENOMEM, reterr_fault);
    tree->source.next = tg_tree_next;
    tree->engine = engine;
    tree->tag = tag;
    tree->fd = tree->init = -1;
    tree->guarded = spec->guard != NULL;
    tree->alone = spec->alone;
    tree->ops = tree->guarded ? &tg_tree_guard_ops : &tg_tree_pgrp_ops;
    tree->inside = (spec->options.isolated & TG_ISOLATE_PIDS) != 0;
    tree->cgroup = spec->cgroup;
    tree->leaf = spec->leaf;
    return (tree->guarded ? spawn_with_guard : spawn_without_guard)(tree, spec, reterr_fault);
}

int tg_tree_poll(struct tg_tree *tree, struct tg_event *ret_event)
{
    if (!tg_engine_owned(tree->engine) || !tree->ops->poll(tree, ret_event))
        return 0;
    ret_event->polled = tg_tree_polled(tree);
    return 1;
}

int tg_tree_signal(struct tg_tree *tree, int signal)
{
    return tg_engine_owned(tree->engine) ? tree->ops->signal(tree, signal) : -EPERM;
}

int tg_tree_kill(struct tg_tree *tree)
{
    return tg_engine_owned(tree->engine) ? tree->ops->kill(tree) : -EPERM;
}

int tg_tree_wake(struct tg_tree *tree)
{
    return tg_engine_owned(tree->engine) ? tree->ops->wake(tree) : -EPERM;
}

int tg_tree_dismiss(struct tg_tree *tree, int empty)
{
    return tg_engine_owned(tree->engine) ? tree->ops->dismiss(tree, empty) : -EPERM;
}

int tg_tree_leaving(const struct tg_tree *tree)
{
    return tree->guarded && tree->closing && !tree->reaped;
}

int tg_tree_pid(const struct tg_tree *tree)
{
    return tree->pid;
}

int tg_tree_init(const struct tg_tree *tree)
{
    return tree->init;
}

int tg_tree_polled(const struct tg_tree *tree)
{
    /* Without a guard the queue reports neither the exec nor the state of the group after the end of its leader. */
    return !tree->watched || (!tree->guarded && (tree->start || tree->reaped));
}

static void unregister(struct tg_tree *tree)
{
    if (!tree->guarded || tree->closing) {
        tg_queue_remove_child(tree->engine->queue, tree->pid, tree->fd);
        return;
    }
    tg_queue_remove(tree->engine->queue, tree->fd);
    if (!tree->reaped)
        shutdown(tree->fd, SHUT_RDWR);
}

void tg_tree_free(struct tg_tree *tree)
{
    if (!tree)
        return;
    if (tree->closing && !tree->reaped)
        tg_tree_count_leaving(tree, -1);
    /* A forked copy must not change the queue or shut down the lifeline: both are shared with the owner. */
    if (tree->watched && tg_engine_owned(tree->engine))
        unregister(tree);
    if (tree->fd >= 0)
        close(tree->fd);
    if (tree->init >= 0)
        close(tree->init);
    tg_start_free(&tree->start);
    free(tree);
}
