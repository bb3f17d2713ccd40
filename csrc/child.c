/* child.c - the child half of a start: the code between clone and exec.
 *
 * This code may run in memory that the parent uses at the same time (CLONE_VM, vfork). A libc call could take a lock or
 * change a global of the parent. So this file uses no libc, no allocation, no locks and no globals. A test checks its
 * symbols. */
#include "child.h"

#include "attributes.h"
#include "isolation.h"

_Noreturn TG_RAW static void fail(struct tg_child *child, int step, long err)
{
    child->fault.step = step;
    child->fault.err = (int32_t)-err;
    if (child->status_fd >= 0)
        tg_write(child->status_fd, &child->fault, sizeof child->fault);
    tg_exit(127);
}

/* Exec resets handled signals to their default action but keeps ignored signals ignored. Set all dispositions here: the
 * signal mask may be opened before the exec, and a handler of the parent must never run in the child. */
TG_RAW static void reset_signals(tg_sigset ignore)
{
    for (int n = 1; n <= TG_NSIG; n++)
        if (n != SIGKILL && n != SIGSTOP)
            tg_sigaction(n, (ignore & TG_SIGNAL_BIT(n)) != 0);
}

/* Keeps only the descriptors below the last close range and those that become standard streams. */
TG_RAW static long leave_parents_table(const struct tg_child *child)
{
    uint32_t first = child->close_ranges[child->nclose_ranges - 1].first;
    for (int i = 0; i < 3; i++)
        if (child->stdio[i] >= (int32_t)first)
            first = (uint32_t)child->stdio[i] + 1;
    return tg_leave_table(child->table, first);
}

/* Places the standard streams. Duplicating onto 0, 1 or 2 could overwrite a source that is itself one of these, so move
 * such sources to higher numbers first. */
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
            /* A standard stream that is closed in the parent stays closed in the child. */
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
    int terminal = child->options.terminal, session = child->options.new_session;
    /* SIGTTOU is blocked, so a background process may take the foreground (tcsetpgrp(3)). A session's terminal begins
     * with the group of its leader in the foreground. */
    long ret = session ? tg_control_terminal(terminal) : tg_foreground(terminal, (int32_t)tg_getpid());
    if (ret < 0)
        fail(child, session ? TG_STEP_PTY : TG_STEP_TERMINAL, ret);
    if (session && terminal > 2)
        tg_close(terminal);
}

/* The kernel forgets the parent-death signal when the user or the group of a process changes (prctl(2)), so request it
 * again. */
/* The memory of the environment is this child's or its parent's own, made for this start. */
TG_RAW static void put_own_pid(char *const *envp, uint32_t length)
{
    for (; *envp; envp++) {
        char *value = *envp;
        while (*value && *value != '=')
            value++;
        uint32_t n = 0;
        while (*value && value[n + 1] == '#')
            n++;
        if (n != length || value[n + 1])
            continue;
        long pid = tg_getpid();
        char *end = value + 2;
        for (long rest = pid; rest >= 10; rest /= 10)
            end++;
        for (*end = 0; end > value + 1; pid /= 10)
            *--end = (char)('0' + pid % 10);
    }
}

TG_RAW static void set_attributes(struct tg_child *child)
{
    int step;
    long ret = tg_set_attributes(child->attributes, &step);
    if (ret < 0)
        fail(child, step, ret);
    if (child->parent && (ret = tg_die_with_parent(child->parent)) < 0)
        fail(child, TG_STEP_PARENT, ret);
    if (child->attributes->given & TG_GIVEN_IGNORE_CHILD)
        tg_sigaction(SIGCHLD, 1);
    if (child->attributes->given & TG_GIVEN_BLOCKED)
        child->mask = child->attributes->blocked;
    if (child->attributes->given & TG_GIVEN_OWN_PID)
        put_own_pid(child->envp, child->attributes->own_pid);
}

/* The order of the steps matters. The parent waits until the child has its own table of descriptors, so that comes
 * first. The standard streams move before the ranges are closed, because a range may contain their sources. The
 * terminal's foreground group must exist before the terminal takes it. The directory is entered as the supervisor's
 * user, as subprocess does it. Attributes come last: a change of user loses the privileges that other steps may need,
 * and a limit on descriptors could leave no number for that of the isolation. Signals reach the child only after their
 * handlers are reset. */
_Noreturn TG_RAW void tg_child_run(struct tg_child *child)
{
    long ret;
    if (child->table && (ret = leave_parents_table(child)) < 0)
        fail(child, TG_STEP_CLONE, ret);
    ret = child->options.new_session ? tg_lead_session() : tg_lead_group();
    if (ret < 0)
        fail(child, TG_STEP_PROCESS_GROUP, ret);
    if (child->cgroup >= 0 && (ret = tg_join_cgroup(child->cgroup)) < 0)
        fail(child, TG_STEP_CGROUP, ret);
    /* Its own number, in whatever PID namespace, is 0. */
    if (child->joined >= 0 && (ret = tg_write(child->joined, "0", 1)) < 0)
        fail(child, TG_STEP_CGROUP, ret);
    if (child->parent && (ret = tg_die_with_parent(child->parent)) < 0)
        fail(child, TG_STEP_PARENT, ret);
    if (!child->inherit_signals)
        reset_signals(child->ignore);
    if (child->cwd && (ret = tg_chdir(child->cwd)) < 0)
        fail(child, TG_STEP_CWD, ret);
    if (child->directory >= 0 && (ret = tg_fchdir(child->directory)) < 0)
        fail(child, TG_STEP_CWD, ret);
    if (!child->inherit_stdio)
        move_stdio(child);
    for (uint32_t i = 0; i < child->npass; i++)
        if ((ret = tg_fcntl(child->pass[i], F_SETFD, 0)) < 0)
            fail(child, TG_STEP_PASS_FDS, ret);
    for (uint32_t i = 0; i < child->nclose_ranges; i++)
        tg_close_fd_range(child->close_ranges[i], child->status_fd);
    if (child->options.terminal >= 0)
        take_terminal(child);
    if (child->address_space && (ret = tg_limit_address_space(child->address_space)) < 0)
        fail(child, TG_STEP_LIMIT, ret);
    if ((child->options.isolated & TG_ISOLATE_PIDS) && (ret = tg_settle_inside()) < 0)
        fail(child, TG_STEP_MOUNT_PROC, ret);
    if ((child->options.isolated & TG_ISOLATE_SIGNALS) && (ret = tg_isolate()) < 0)
        fail(child, TG_STEP_ISOLATION, ret);
    if (child->attributes)
        set_attributes(child);
    if (child->mask != TG_ALL_SIGNALS)
        tg_sigmask(child->mask);
    ret = tg_exec(child->program, child->argv, child->envp);
    fail(child, TG_STEP_EXEC, ret);
}
