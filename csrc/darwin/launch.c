/* darwin/launch.c - starts a guard on macOS.
 *
 * posix_spawn(2) is a single system call on macOS. Its cost does not depend on the parent's memory, no fork handlers
 * run, and it closes all descriptors that are not named (POSIX_SPAWN_CLOEXEC_DEFAULT), including those that other
 * threads open at the same time. */
#include "../bsd/launch.h"

#include <spawn.h>
#include <unistd.h>

/* posix_spawn waits for the exec. It cannot ignore a signal, take a terminal or swap the standard streams. */
static int can_be_spawned(const struct tg_launch *l)
{
    const struct tg_child *child = &l->child;
    int can = !child->ignore && child->options.terminal < 0 && !child->parent && !child->inherit_signals;
    for (int i = 0; i < 3; i++)
        can = can && (child->stdio[i] == i || child->stdio[i] > 2);
    return can;
}

static int add_file_actions(posix_spawn_file_actions_t *actions, const struct tg_child *child)
{
    int err = 0;
    for (int i = 0; i < 3 && !err; i++) {
        if (child->stdio[i] != i)
            err = posix_spawn_file_actions_adddup2(actions, child->stdio[i], i);
        else if (fcntl(i, F_GETFD) >= 0)
            err = posix_spawn_file_actions_addinherit_np(actions, i);
    }
    for (uint32_t i = 0; i < child->npass && !err; i++)
        err = posix_spawn_file_actions_addinherit_np(actions, child->pass[i]);
    if (child->cwd && !err)
        err = posix_spawn_file_actions_addchdir_np(actions, child->cwd);
    return err;
}

static int set_attributes(posix_spawnattr_t *attributes, const struct tg_child *child)
{
    sigset_t mask, all;
    sigfillset(&all);
    sigemptyset(&mask);
    int err = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
                                                       POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_CLOEXEC_DEFAULT);
    if (!err)
        err = posix_spawnattr_setpgroup(attributes, 0);
    if (!err)
        err = posix_spawnattr_setsigdefault(attributes, &all);
    return err ? err : posix_spawnattr_setsigmask(attributes, child->mask == TG_ALL_SIGNALS ? &all : &mask);
}

/* posix_spawn returns an errno without the failing step, so determine the step afterwards. */
long tg_launch_quick(struct tg_launch *l)
{
    struct tg_child *child = &l->child;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid = 0;
    if (!can_be_spawned(l))
        return 0;
    int err = posix_spawn_file_actions_init(&actions);
    if (err)
        return -err;
    err = posix_spawnattr_init(&attributes);
    if (!err) {
        err = add_file_actions(&actions, child);
        if (!err)
            err = set_attributes(&attributes, child);
        if (!err && (err = posix_spawn(&pid, child->program, &actions, &attributes, child->argv, child->envp)))
            child->fault.step = child->cwd && access(child->cwd, X_OK) < 0 ? TG_STEP_CWD : TG_STEP_EXEC;
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return err ? -err : (long)pid;
}
