/* guard_sweep.c - the end of a tree: reaps its processes, and kills until none is left. */
#include "guard.h"

#include "usage.h"

/* How long a sweep waits for the next death before it looks for children that the last pass missed. */
enum { SWEEP_FIRST_WAIT_MS = 5, SWEEP_LAST_WAIT_MS = 50 };

/* After a kill of the whole leaf, a sweep looks for processes that the kill missed once this many processes have
 * died. */
enum { SWEEP_BATCH = 512 };

/* The guard checks for orders after this many changes of children: a tree can create changes as fast as the guard
 * handles them. */
enum { CHANGES_PER_PASS = 1024 };

/* After this many kills of the leaf as a whole, a sweep also kills the processes one by one that a kill of the leaf
 * misses. */
enum { SWEEP_LEAF_KILLS = 2 };

/* Returns whether the leaf cannot be removed yet. The guard cannot list the cgroups below the leaf if another process
 * has lowered the limit on descriptors. Then the supervisor removes them. Without a supervisor the guard would wait
 * forever for empty directories; the next manager removes these, and the kill of the leaf has already ended the
 * processes in them. */
static int leaf_remains(struct guard *g)
{
    int ret = g->cgroup.leaf < 0 ? 0 : tg_cgroup_remove(&g->cgroup);
    return ret == -EMFILE ? !tg_guard_is_abandoned(g) || g->leaf_kills <= SWEEP_LEAF_KILLS : ret < 0;
}

/* Returns whether the tree has processes although the guard has no child. For example, another process may have been
 * moved into the leaf. The guard gets no notification when a process ends that is not its child. */
static int others_left(struct guard *g)
{
    return leaf_remains(g) || tg_others(g->root) > 0;
}

/* Handles changes of children, up to a limit. Returns the last result of wait. */
static long take_changes(struct guard *g)
{
    /* A sweep does not report stops. */
    int options = g->ending ? WNOHANG : WNOHANG | WUNTRACED | WCONTINUED;
    struct rusage usage;
    int status;
    long pid = 1;
    for (int taken = 0; (pid > 0 || pid == -EINTR) && taken < CHANGES_PER_PASS; taken++) {
        pid = tg_wait(-1, &status, options, &usage);
        int ended = pid > 0 && !WIFSTOPPED(status) && !WIFCONTINUED(status);
        g->deaths += (unsigned)ended;
        g->dying -= ended;
        if (pid > 0 && pid == g->root)
            tg_guard_root_changed(g, status, &usage);
        else if (pid > 0 && pid == g->init && !ended)
            tg_kill(g->init, SIGCONT);
        else if (pid > 0 && pid == g->init)
            g->init = 0;
    }
    return pid;
}

/* Reaps children. Returns 0 if the tree is empty. */
int tg_guard_reap(struct guard *g)
{
    int had_ended = g->end.kind;
    long pid = take_changes(g);
    g->behind = pid > 0 || pid == -EINTR;
    /* The init looks whether it is alone now. */
    if (g->init && g->end.kind)
        tg_kill(g->init, SIGCHLD);
    if (pid == -ECHILD)
        g->end.oom_kills = tg_cgroup_oom_kills(&g->cgroup);
    g->has_others = pid == -ECHILD && others_left(g);
    if (pid == -ECHILD && !g->has_others)
        return 0;
    if (g->end.kind != had_ended)
        tg_guard_send(g, &g->end);
    return 1;
}

_Noreturn void tg_guard_finish(struct guard *g)
{
    struct rusage usage;
    tg_usage_of_children(&usage);
    tg_usage_from(&g->end.total, &usage);
    g->end.kind = TG_EMPTY;
    tg_guard_unmark(g);
    if (tg_getppid() != g->owner && g->cgroup.manager >= 0)
        tg_cgroup_remove_manager(&g->cgroup);
    tg_guard_send(g, &g->end);
    tg_exit(0);
}

/* Sends SIGKILL to the tree. In a PID namespace, the init's end is everybody's. With a cgroup, kills the leaf as a whole, and on later passes also the processes that have
 * left it, one by one. Without a cgroup, kills the root's group and then all other children one by one. */
static void kill_pass(struct guard *g, int first)
{
    g->cgroup.supervisor = tg_guard_is_abandoned(g) ? 0 : g->watch.supervisor_pid;
    g->cgroup.alone = g->hung_up || !g->cgroup.supervisor;
    if (g->init)
        tg_kill(g->init, SIGKILL);
    int whole = g->cgroup.leaf >= 0 && tg_cgroup_kill(&g->cgroup) == 0;
    if (!whole || g->leaf_kills++ >= SWEEP_LEAF_KILLS)
        tg_cgroup_kill_listed(&g->cgroup);
    if (whole && first)
        g->dying = SWEEP_BATCH;
    else
        g->dying = tg_kill_pass(&g->sweep, g->root, !whole && !g->end.kind) / 2;
}

/* Reaps children and waits up to `wait` milliseconds for a death. Returns whether there was one. Finishes if nothing is
 * left. A SIGCHLD does not prove a death: any process of the same user can send it at any rate. */
static int wait_for_death(struct guard *g, int wait)
{
    unsigned before = g->deaths;
    int64_t end = 0;
    for (int left = wait;; left = end ? (int)((end - tg_clock()) / 1000000) : 0) {
        if (!tg_guard_reap(g))
            tg_guard_finish(g);
        if (g->deaths != before || left <= 0)
            return g->deaths != before;
        /* Read the clock only if a signal came without a death. */
        if (tg_watch_deaths(&g->watch, left) && !end)
            end = tg_clock() + (int64_t)wait * 1000000;
    }
}

/* Kills and reaps until nothing is left.
 *
 * The children of a killed process become the guard's children only after it has died, and a listing may miss a child
 * that is born during it. So a single pass is not enough. The next pass comes after half of the children that the last
 * pass found have died, or after a wait without a death. A pass per death would list a thousand children a thousand
 * times. The processes in a cgroup need one kill only, but some may have left the cgroup and fork as fast as they
 * die. */
_Noreturn void tg_guard_sweep(struct guard *g)
{
    int wait = SWEEP_FIRST_WAIT_MS;
    tg_guard_show_state(g, TG_STATE_ENDING);
    kill_pass(g, 1);
    for (;;) {
        int died = wait_for_death(g, wait);
        if (died && g->dying > 0)
            continue;
        wait = died ? SWEEP_FIRST_WAIT_MS : wait < SWEEP_LAST_WAIT_MS ? wait * 2 : wait;
        kill_pass(g, 0);
        if (wait >= SWEEP_LAST_WAIT_MS)
            tg_sweep_release(&g->sweep);
    }
}
