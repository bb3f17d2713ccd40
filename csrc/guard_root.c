/* guard_root.c - the root of a guard's tree, from its start to its end. */
#include "guard.h"

#include "attributes.h"
#include "erase.h"
#include "namespace.h"
#include "usage.h"

/* How long the guard waits for the exec of a root that has already ended. */
enum { EXEC_WAIT_MS = 5 };

/* Closes all descriptors that belong to the root. An open copy in the guard would keep a file open that the root has
 * closed. */
static void drop_descriptors(const struct guard *g)
{
    int keep[] = {g->watch.lifeline, g->watch.supervisor, g->watch.launcher, g->watch.queue, g->launch.status_fd,
                  g->cgroup.manager, g->cgroup.leaf, g->cgroup.kill, g->sweep.children};
    unsigned first = 0;
    for (;;) {
        int next = -1;
        for (unsigned i = 0; i < sizeof keep / sizeof *keep; i++)
            if (keep[i] >= (int)first && (next < 0 || keep[i] < next))
                next = keep[i];
        if (next < 0)
            break;
        if (first < (unsigned)next)
            tg_close_fd_range((struct tg_fd_range){first, (unsigned)next - 1}, -1);
        first = (unsigned)next + 1;
    }
    tg_close_fd_range((struct tg_fd_range){first, INT32_MAX}, -1);
}

/* Returns the size of the strings from argv[1] on. They are contiguous and in the order of the pointers to them. */
static size_t strings_size(const struct guard *g)
{
    const char *to = g->argv[1];
    for (char **s = g->argv + 1; *s; s++)
        to = *s;
    for (char **s = g->envp; *s; s++)
        to = *s;
    while (*to)
        to++;
    return (size_t)(to - g->argv[1]);
}

/* Without a root the guard has nothing to wait for but the init, and what it may have let in already. */
static void start_inside(struct guard *g, struct tg_attributes *attributes)
{
    struct tg_namespace namespace;
    /* The root's parent has no number inside. It ends with the init, which ends with the guard. */
    g->launch.child.parent = 0;
    long ret = tg_launch_inside(&g->launch, &namespace, attributes, g->argv, strings_size(g));
    g->init = namespace.init;
    if (ret >= 0)
        return;
    if (g->init)
        tg_kill(g->init, SIGKILL);
    while ((ret = tg_wait(-1, NULL, TG_WAIT_ANY, NULL)) > 0 || ret == -EINTR)
        ;
    tg_guard_fail(g, namespace.fault.step, -(long)namespace.fault.err);
}

/* The attributes stay in memory until the exec. A guard that could not signal the root is of no use, so it does not
 * start it. */
void tg_guard_start_root(struct guard *g, const struct tg_handover *handover, struct tg_attributes *attributes)
{
    struct tg_child *child = &g->launch.child;
    const int inherited[] = {handover->lifeline, handover->supervisor, handover->launcher, handover->cgroup,
                             handover->lease};
    for (unsigned i = 0; i < sizeof inherited / sizeof *inherited; i++)
        if (inherited[i] >= 0)
            g->own_fds[child->nclose_ranges++] = (struct tg_fd_range){(unsigned)inherited[i], (unsigned)inherited[i]};
    child->joined = -1;
    child->program = g->argv[2];
    child->argv = g->argv + 3;
    child->envp = g->envp;
    child->close_ranges = g->own_fds;
    for (int i = 0; i < 3; i++)
        child->stdio[i] = i;
    child->options = handover->options;
    child->attributes = attributes;
    child->parent = (int)tg_getpid();
    child->inherit_signals = 1;
    /* They have come through the guard's exec. */
    child->inherit_stdio = 1;
    g->launch.cgroup = g->cgroup.leaf;
    long ret = tg_check_reach(attributes);
    if (ret < 0)
        tg_guard_fail(g, TG_STEP_USER, ret);
    /* The root may leave its directory and unmount it at once, so the guard leaves first. Where it may not open the
     * directory (no permission to search it, no descriptors), it leaves right after the root is there. In a mount namespace
     * of its own the root unmounts nothing, and this descriptor would lead out of it. */
    child->directory = child->options.isolated & TG_ISOLATE_PIDS ? -1 : (int32_t)tg_open_directory();
    if (child->directory >= 0)
        tg_chdir("/");
    if (child->options.isolated & TG_ISOLATE_PIDS)
        start_inside(g, attributes);
    else if ((ret = tg_launch(&g->launch, 0)) < 0)
        tg_guard_fail(g, TG_STEP_CLONE, ret);
    g->root = g->launch.pid;
    tg_guard_show_root(g);
    g->launching = 1;
    /* The child has its own copies of the descriptors and its own working directory. */
    drop_descriptors(g);
    if (child->directory < 0)
        tg_chdir("/");
}

/* Erases the strings of the command line, but for what the guard shows, and of the environment. Otherwise
 * /proc/PID/cmdline of the guard would show the root's arguments, and a pkill that targets the root would match the
 * guard. Erasing them also releases their memory. */
static void forget_strings(const struct guard *g)
{
    tg_erase(g->argv[1], strings_size(g));
    tg_retitle(TG_GUARD_NAME);
}

/* Handles the end of a launch: the root runs its program, or failed to. A failure ends the guard. */
static void on_exec_done(struct guard *g)
{
    struct tg_fault fault = g->launch.child.fault;
    g->launching = 0;
    if (fault.step != TG_STEP_NONE) {
        if (!g->end.kind)
            while (tg_wait(g->root, NULL, 0, NULL) == -EINTR)
                ;
        tg_guard_fail(g, fault.step, -(long)fault.err);
    }
    tg_guard_report_start(g);
    forget_strings(g);
    tg_guard_show_state(g, TG_STATE_SUPERVISED);
}

void tg_guard_check_launch(struct guard *g, int timeout)
{
    if (g->launching && tg_launch_done(&g->launch, timeout))
        on_exec_done(g);
    else if (g->launching)
        tg_cgroup_let_begin(&g->cgroup);
}

void tg_guard_report_stop(struct guard *g)
{
    int kind, signal;
    if (tg_stops_take(&g->stops, &kind, &signal))
        tg_guard_report(g, kind, signal);
}

void tg_guard_root_changed(struct guard *g, int status, const struct rusage *usage)
{
    if (WIFSTOPPED(status) && g->launching && !tg_launch_done(&g->launch, 0)) {
        /* Its program does not run yet, so the stop is not the tree's own: another process wants to keep the start from
         * ever being reported. */
        tg_kill(g->root, SIGCONT);
    } else if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
        tg_stops_record(&g->stops, status);
        tg_guard_report_stop(g);
    } else {
        g->end.kind = TG_ENDED;
        g->end.pid = g->root;
        tg_status_into(&g->end, status);
        tg_usage_from(&g->end.usage, usage);
        g->end.oom_kills = tg_cgroup_oom_kills(&g->cgroup);
        /* If the root ends before the launch is known to be done, finish the launch first: its result has to be
         * reported before the end. */
        while (g->launching)
            tg_guard_check_launch(g, EXEC_WAIT_MS);
    }
}
