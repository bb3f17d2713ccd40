/* child.c - the child half: between clone and exec.
 *
 * The law of this file: it may run in memory that another process is using at this moment. So no libc, no
 * allocation, no lock, no global; a symbol check holds it to that. */
#include "child.h"

#include "direntry.h"

#include <sys/ioctl.h>
#include <sys/prctl.h>

#if !TG_RAW_SYSCALLS
#include <unistd.h>
#endif

_Noreturn TG_RAW static void fail(struct tg_child *child, int step, long err)
{
    child->fault.step = step;
    child->fault.err = (int32_t)-err;
    if (child->status_fd >= 0)
        tg_sys3(SYS_write, child->status_fd, &child->fault, sizeof child->fault);
    for (;;)
        tg_sys1(SYS_exit_group, 127);
}

/* Exec turns handled signals to their default by itself, but keeps ignored ones ignored. All are set here, since
 * the mask may open before exec, and a handler of the parent must never run in the child. */
TG_RAW static void reset_signals(tg_sigset ignore)
{
    /* struct sigaction as the kernel has it; its size differs between machines, zeros do not. */
    struct {
        void (*handler)(int);
        unsigned long rest[7];
    } action = {SIG_DFL, {0, 0, 0, 0, 0, 0, 0}};
    for (int n = 1; n <= TG_NSIG; n++) {
        if (n == SIGKILL || n == SIGSTOP)
            continue;
        action.handler = (ignore & TG_SIGNAL_BIT(n)) ? SIG_IGN : SIG_DFL;
        tg_sys4(SYS_rt_sigaction, n, &action, NULL, sizeof(tg_sigset));
    }
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
        ret = tg_sys3(SYS_fcntl, source[i], F_DUPFD_CLOEXEC, 3);
        if (ret < 0)
            fail(child, TG_STEP_STDIO, ret);
        source[i] = (int32_t)ret;
    }
    for (int i = 0; i < 3; i++) {
        if (source[i] == i) {
            /* Closed in the parent and meant to be inherited: it stays closed. */
            ret = tg_sys3(SYS_fcntl, i, F_SETFD, 0);
            if (ret < 0 && ret != -EBADF)
                fail(child, TG_STEP_STDIO, ret);
        } else {
            ret = tg_sys3(SYS_dup3, source[i], i, 0);
            if (ret < 0)
                fail(child, TG_STEP_STDIO, ret);
        }
    }
}

/* For kernels before 5.9 and filters that forbid close_range: what is open stands in /proc/self/fd. Closing moves
 * the listing along, so it is read again until a pass closes nothing. */
TG_RAW static int close_listed(struct tg_gap gap, int but)
{
    _Alignas(struct tg_direntry) char buffer[1024];
    long dir = tg_sys4(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (dir < 0)
        return (int)dir;
    int again = 1;
    while (again) {
        long got;
        again = 0;
        tg_sys3(SYS_lseek, dir, 0, 0);
        while ((got = tg_sys3(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
            for (long at = 0; at < got;) {
                const struct tg_direntry *e = (const struct tg_direntry *)(buffer + at);
                int fd = tg_direntry_number(e);
                at += e->size;
                if (fd < 0 || (uint32_t)fd < gap.first || (uint32_t)fd > gap.last || fd == dir || fd == but)
                    continue;
                if (tg_close(fd) == 0)
                    again = 1;
            }
        }
    }
    tg_close((int)dir);
    return 0;
}

TG_RAW void tg_close_gap(struct tg_gap gap, int but)
{
    if (but >= 0 && gap.first <= (uint32_t)but && (uint32_t)but <= gap.last) {
        if (gap.first < (uint32_t)but)
            tg_close_gap((struct tg_gap){gap.first, (uint32_t)but - 1}, -1);
        if ((uint32_t)but < gap.last)
            tg_close_gap((struct tg_gap){(uint32_t)but + 1, gap.last}, -1);
        return;
    }
    if (gap.first == gap.last) {
        tg_close((int)gap.first);
        return;
    }
    if (tg_sys3(SYS_close_range, gap.first, gap.last, 0) == 0)
        return;
    if (gap.last - gap.first < 16 || close_listed(gap, but) < 0) {
        /* Without /proc the limit on descriptors is the only bound, and it may have been lowered since: beyond this
         * many, nothing is looked for. */
        uint32_t last = gap.last < 65536 ? gap.last : 65536;
        for (uint32_t fd = gap.first; fd <= last; fd++)
            tg_close((int)fd);
    }
}

/* The signal is armed first and the parent looked at afterwards: one that died in between has already been
 * replaced by another, and one that dies from here on sends it (prctl(2), PR_SET_PDEATHSIG). */
TG_RAW static void die_with_parent(struct tg_child *child)
{
    long ret = tg_sys5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (ret < 0)
        fail(child, TG_STEP_PARENT, ret);
    if (tg_sys0(SYS_getppid) != child->parent)
        fail(child, TG_STEP_PARENT, -ESRCH);
}

TG_RAW static void take_terminal(struct tg_child *child)
{
    /* SIGTTOU is blocked, so a background process may do this (tcsetpgrp(3)). */
    int32_t group = (int32_t)tg_getpid();
    long ret = tg_sys3(SYS_ioctl, child->terminal, TIOCSPGRP, &group);
    if (ret < 0)
        fail(child, TG_STEP_TERMINAL, ret);
}

TG_RAW static void join_cgroup(struct tg_child *child)
{
    long ret, fd = tg_sys4(SYS_openat, child->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        fail(child, TG_STEP_CGROUP, fd);
    ret = tg_sys3(SYS_write, fd, "0", 1);
    if (ret < 0)
        fail(child, TG_STEP_CGROUP, ret);
    tg_close((int)fd);
}

/* Soft and hard: without privileges it can be lowered, but not raised again (getrlimit(2)). */
TG_RAW static void limit_memory(struct tg_child *child)
{
    const uint64_t limit[2] = {child->address_space, child->address_space};
    long ret = tg_sys4(SYS_prlimit64, 0, RLIMIT_AS, limit, NULL);
    if (ret < 0)
        fail(child, TG_STEP_LIMIT, ret);
}

_Noreturn TG_RAW void tg_child_run(struct tg_child *child)
{
    long ret = tg_sys2(SYS_setpgid, 0, 0);
    if (ret < 0)
        fail(child, TG_STEP_GROUP, ret);
    if (child->cgroup >= 0)
        join_cgroup(child);
    if (child->parent)
        die_with_parent(child);
    if (!child->inherit_signals)
        reset_signals(child->ignore);
    if (child->cwd && (ret = tg_sys1(SYS_chdir, child->cwd)) < 0)
        fail(child, TG_STEP_CWD, ret);
    move_stdio(child);
    for (uint32_t i = 0; i < child->npass; i++)
        if ((ret = tg_sys3(SYS_fcntl, child->pass[i], F_SETFD, 0)) < 0)
            fail(child, TG_STEP_PASS_FDS, ret);
    for (uint32_t i = 0; i < child->ngaps; i++)
        tg_close_gap(child->gaps[i], child->status_fd);
    if (child->terminal >= 0)
        take_terminal(child);
    if (child->address_space)
        limit_memory(child);
    if (child->mask != TG_ALL_SIGNALS)
        tg_sigmask(child->mask, NULL);
    ret = tg_sys3(SYS_execve, child->program, child->argv, child->envp);
    fail(child, TG_STEP_EXEC, ret);
}
