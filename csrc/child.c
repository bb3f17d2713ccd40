/* child.c - the child half: between clone and exec.
 *
 * The law of this file: it may run in memory that another process is using at this moment. So no libc, no
 * allocation, no lock, no global; a symbol check holds it to that. */
#include "child.h"

#include "isolation.h"

_Noreturn TG_RAW static void fail(struct tg_child *child, int step, long err)
{
    child->fault.step = step;
    child->fault.err = (int32_t)-err;
    if (child->status_fd >= 0)
        tg_write(child->status_fd, &child->fault, sizeof child->fault);
    tg_exit(127);
}

/* Exec turns handled signals to their default by itself, but keeps ignored ones ignored. All are set here, since
 * the mask may open before exec, and a handler of the parent must never run in the child. */
TG_RAW static void reset_signals(tg_sigset ignore)
{
    for (int n = 1; n <= TG_NSIG; n++)
        if (n != SIGKILL && n != SIGSTOP)
            tg_sigaction(n, (ignore & TG_SIGNAL_BIT(n)) != 0);
}

/* Of our descriptors, those are all that is kept which stand below the last gap or become a standard stream. */
TG_RAW static long leave_table(const struct tg_child *child)
{
    uint32_t first = child->gaps[child->ngaps - 1].first;
    for (int i = 0; i < 3; i++)
        if (child->stdio[i] >= (int32_t)first)
            first = (uint32_t)child->stdio[i] + 1;
    return tg_leave_table(child->table, first);
}

/* A source that is itself 0, 1 or 2 could be overwritten before it is read: those step aside first. */
TG_RAW static void move_stdio(struct tg_child *child)
{
    long ret;
    int32_t source[3];
    for (int i = 0; i < 3; i++) {
        source[i] = child->stdio[i];
        if (source[i] == i || source[i] > 2)
            continue;
        ret = tg_fcntl(source[i], F_DUPFD_CLOEXEC, 3);
        if (ret < 0)
            fail(child, TG_STEP_STDIO, ret);
        source[i] = (int32_t)ret;
    }
    for (int i = 0; i < 3; i++) {
        if (source[i] == i) {
            /* Closed in the parent and meant to be inherited: it stays closed. */
            ret = tg_fcntl(i, F_SETFD, 0);
            if (ret < 0 && ret != -EBADF)
                fail(child, TG_STEP_STDIO, ret);
        } else {
            ret = tg_dup_onto(source[i], i);
            if (ret < 0)
                fail(child, TG_STEP_STDIO, ret);
        }
    }
}

TG_RAW static void take_terminal(struct tg_child *child)
{
    /* SIGTTOU is blocked, so a background process may do this (tcsetpgrp(3)). */
    long ret = tg_foreground(child->terminal, (int32_t)tg_getpid());
    if (ret < 0)
        fail(child, TG_STEP_TERMINAL, ret);
}

_Noreturn TG_RAW void tg_child_run(struct tg_child *child)
{
    long ret;
    if (child->table && (ret = leave_table(child)) < 0)
        fail(child, TG_STEP_CLONE, ret);
    ret = child->new_session ? tg_lead_session() : tg_lead_group();
    if (ret < 0)
        fail(child, TG_STEP_GROUP, ret);
    if (child->cgroup >= 0 && (ret = tg_join_cgroup(child->cgroup)) < 0)
        fail(child, TG_STEP_CGROUP, ret);
    if (child->parent && (ret = tg_die_with_parent(child->parent)) < 0)
        fail(child, TG_STEP_PARENT, ret);
    if (!child->inherit_signals)
        reset_signals(child->ignore);
    if (child->cwd && (ret = tg_chdir(child->cwd)) < 0)
        fail(child, TG_STEP_CWD, ret);
    move_stdio(child);
    for (uint32_t i = 0; i < child->npass; i++)
        if ((ret = tg_fcntl(child->pass[i], F_SETFD, 0)) < 0)
            fail(child, TG_STEP_PASS_FDS, ret);
    for (uint32_t i = 0; i < child->ngaps; i++)
        tg_close_gap(child->gaps[i], child->status_fd);
    if (child->terminal >= 0)
        take_terminal(child);
    if (child->address_space && (ret = tg_limit_address_space(child->address_space)) < 0)
        fail(child, TG_STEP_LIMIT, ret);
    /* Last, since it is what the program is held to, not what is done for it. */
    if (child->isolated && (ret = tg_isolate()) < 0)
        fail(child, TG_STEP_ISOLATION, ret);
    if (child->mask != TG_ALL_SIGNALS)
        tg_sigmask(child->mask);
    ret = tg_exec(child->program, child->argv, child->envp);
    fail(child, TG_STEP_EXEC, ret);
}
