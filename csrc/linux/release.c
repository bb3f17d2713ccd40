/* linux/release.c - trees that outlive their supervisor, and taking them over: the library's side. */
#include "../queue.h"
#include "../tree.h"

#include "../wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int tg_tree_release(struct tg_tree *tree, const char *name)
{
    struct tg_release message = {.order = {TG_ORDER_RELEASE, 0}};
    if (!tg_engine_owned(tree->engine))
        return -EPERM;
    if (!tree->guarded || strlen(name) >= sizeof message.name)
        return -EINVAL;
    memcpy(message.name, name, strlen(name));
    tree->answer = 0;
    return tg_tree_order(tree, &message, sizeof message);
}

int tg_tree_retain(struct tg_tree *tree)
{
    if (!tg_engine_owned(tree->engine))
        return -EPERM;
    return tg_tree_order(tree, &(struct tg_order){TG_ORDER_RETAIN, 0}, sizeof(struct tg_order));
}

int tg_tree_answer(const struct tg_tree *tree)
{
    return tree->answer - 1;
}

static struct tg_tree *adopt(struct tg_engine *engine, int fd, int pid, struct tg_fault *reterr_fault)
{
    struct tg_tree *tree = tg_engine_owned(engine) ? calloc(1, sizeof *tree) : NULL;
    if (!tree) {
        *reterr_fault = (struct tg_fault){TG_STEP_MEMORY, tg_engine_owned(engine) ? ENOMEM : EPERM};
        return NULL;
    }
    tree->init = -1;
    tree->source.next = tg_tree_next;
    tree->ops = &tg_tree_guard_ops;
    tree->engine = engine;
    tree->guarded = tree->adopted = 1;
    tree->pid = pid;
    int pidfd = tg_pidfd_open(pid);
    tg_identity_note(&tree->identity, pid, engine->by_inode ? pidfd : -1);
    if (pidfd >= 0 && !engine->by_inode)
        close(pidfd);
    tree->identity.adopted = 1;
    int ret = pidfd < 0 ? pidfd : tg_queue_add(engine->queue, fd, tree);
    if (ret < 0) {
        *reterr_fault = (struct tg_fault){TG_STEP_ENGINE, -ret};
        free(tree);
        return NULL;
    }
    tree->fd = fd;
    tree->watched = 1;
    return tree;
}

void tg_tree_adopt_kept(struct tg_engine *engine, int fd, int pid, int cgroup, uint64_t leaf, uint64_t tag,
                        struct tg_tree **ret_tree, struct tg_fault *reterr_fault)
{
    struct tg_tree *tree = adopt(engine, fd, pid, reterr_fault);
    if (!tree) {
        close(fd);
        return;
    }
    tree->tag = tag;
    tree->cgroup = cgroup;
    tree->leaf = leaf;
    *ret_tree = tree;
    /* If the guard is gone or is another process's by now, the connection tells. */
    tg_tree_order(tree, &(struct tg_order){TG_ORDER_TAKE, 0}, sizeof(struct tg_order));
}
