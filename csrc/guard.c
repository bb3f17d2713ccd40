/* guard.c - the process between supervisor and root. Each tree has one guard.
 *
 * Where the system lets the guard adopt all orphans of the tree, ECHILD from wait means that the tree is empty. The
 * guard ends the tree on an order, when the lifeline closes, and when the supervisor ends. It watches the supervisor
 * itself, because a forked copy of the supervisor may hold the lifeline open. All signals are blocked from the start:
 * only SIGKILL and SIGSTOP reach the guard. */
#include "guard.h"

#include "cgroup.h"
#include "launch.h"
#include "stops.h"
#include "sweep.h"
#include "trial.h"
#include "usage.h"
#include "watch.h"
#include "wire.h"

#include <sys/socket.h>

/* POLL_MS: polling interval for events that have no notification: the end of a supervisor without a pidfd, and of
 * processes that the guard cannot reap. EXEC_WAIT_MS: how long the guard waits for the exec at first. EXEC_POLL_MS:
 * polling interval for an exec that takes longer. */
enum { POLL_MS = 20, EXEC_WAIT_MS = 5, EXEC_POLL_MS = 5 };

/* Polling interval for orphans after the root's end. They may end without a SIGCHLD (clone3(2), CLONE_AUTOREAP, Linux
 * 7.1). */
enum { ORPHAN_POLL_MS = 1000 };

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

/* How often the guard retries an operation that should not fail for long. The interval is one millisecond. */
enum { TRIES = 100 };

struct guard {
    struct tg_watch watch;
    struct tg_sweep sweep;
    int root;           /* process id; ours to reap until `end` is filled */
    int launching;      /* the root has not run its program yet, so `argv` and `envp` are still needed */
    int ending;         /* the guard has to end the tree */
    int hung_up;        /* the lifeline is closed: the supervisor has ended, or will not hear of the guard any more */
    const volatile int64_t *lease;  /* time stamp that the supervisor renews while it works; NULL: no lease */
    int lease_ms;
    unsigned deaths;    /* number of reaped processes */
    int behind;         /* more children are waiting to be reaped, but orders come first */
    int dying;          /* number of deaths to wait for before the next pass: half of the children that the last pass
                         * found */
    int leaf_kills;     /* how often the leaf was killed as a whole */
    int has_others;     /* no child is left, but the tree or its cgroup has other processes */
    struct tg_cgroup cgroup;
    struct tg_event end;    /* how the root ended; kind is 0 until then */
    struct tg_stops stops;  /* how the root was stopped or continued */
    struct tg_fd_range own_fds[4];  /* descriptors that the root must not inherit */
    char **argv;
    char **envp;
    struct tg_launch launch;
};

/* Returns whether the supervisor has ended. A closed lifeline does not prove it: any process of the same user can take
 * the supervisor's end of it and shut it down (pidfd_getfd(2)). */
static int is_abandoned(const struct guard *g)
{
    return tg_getppid() != g->watch.supervisor_pid;
}

/* Sends an event.
 *
 * If the socket buffer is full, the last event of a tree waits for space as long as the supervisor lives. After the
 * supervisor's end a process that it forked may keep the lifeline open without reading it, so the guard stops waiting
 * then. All other events are dropped: a supervisor that does not read must not stop the guard from watching. A shortage
 * of memory may pass, so the guard retries. */
static void send_event(const struct guard *g, const struct tg_event *event)
{
    int last = event->kind == TG_EMPTY || event->kind == TG_FAILED;
    for (int tries = 0; tries < TRIES;) {
        long ret = tg_send(g->watch.lifeline, event, sizeof *event, MSG_DONTWAIT);
        int full = ret == -EAGAIN && last && !is_abandoned(g);
        if (!full && ret != -ENOMEM && ret != -ENOBUFS && ret != -EINTR)
            return;
        tries += !full;
        tg_poll(NULL, 0, 1);
    }
}

static void report(const struct guard *g, int kind, int signal)
{
    struct tg_event event = {.kind = kind, .pid = g->root, .code = -1, .signal = signal};
    send_event(g, &event);
}

_Noreturn static void fail_start(struct guard *g, int step, long err)
{
    for (int tries = 0; g->cgroup.leaf >= 0 && tg_cgroup_remove(&g->cgroup) < 0 && tries < TRIES; tries++)
        tg_poll(NULL, 0, 1);
    struct tg_event event = {.kind = TG_FAILED, .step = step, .err = (int32_t)-err, .code = -1};
    send_event(g, &event);
    tg_exit(1);
}

/* Closes all descriptors that belong to the root. An open copy in the guard would keep a file open that the root has
 * closed. */
static void drop_descriptors(const struct guard *g)
{
    int keep[] = {g->watch.lifeline, g->watch.supervisor, g->watch.queue, g->launch.status_fd, g->cgroup.manager,
                  g->cgroup.leaf, g->cgroup.kill, g->sweep.children};
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

/* argv holds the guard's name, the options, the root's program and the root's argv. */
static void start_root(struct guard *g, int terminal, int lease)
{
    struct tg_child *child = &g->launch.child;
    const int inherited[] = {g->watch.lifeline, g->watch.supervisor, g->cgroup.manager, lease};
    for (unsigned i = 0; i < sizeof inherited / sizeof *inherited; i++)
        if (inherited[i] >= 0)
            g->own_fds[child->nclose_ranges++] = (struct tg_fd_range){(unsigned)inherited[i], (unsigned)inherited[i]};
    child->program = g->argv[2];
    child->argv = g->argv + 3;
    child->envp = g->envp;
    child->close_ranges = g->own_fds;
    for (int i = 0; i < 3; i++)
        child->stdio[i] = i;
    child->terminal = terminal;
    child->parent = (int)tg_getpid();
    child->inherit_signals = 1;
    g->launch.cgroup = g->cgroup.leaf;
    long ret = tg_launch(&g->launch, 0);
    if (ret < 0)
        fail_start(g, TG_STEP_CLONE, ret);
    g->root = g->launch.pid;
    g->launching = 1;
    /* The child has its own copies of the descriptors and its own working directory. */
    drop_descriptors(g);
    tg_chdir("/");
}

/* Erases the strings of the command line and of the environment. Otherwise /proc/PID/cmdline of the guard would show
 * the root's arguments, and a pkill that targets the root would match the guard. Erasing them also releases their
 * memory. The strings are contiguous and in the order of the pointers to them. */
static void forget_strings(const struct guard *g)
{
    char *from = g->argv[1], *to = from;
    for (char **s = g->argv + 1; *s; s++)
        to = *s;
    for (char **s = g->envp; *s; s++)
        to = *s;
    while (*to)
        to++;
    uintptr_t first_page = ((uintptr_t)from + 4095) & ~(uintptr_t)4095;
    uintptr_t last_page = (uintptr_t)to & ~(uintptr_t)4095;
    volatile char *c = from;
    if (first_page < last_page && tg_give_back(first_page, last_page - first_page) == 0) {
        while ((uintptr_t)c < first_page)
            *c++ = 0;
        c = (char *)last_page;
    }
    while (c < to)
        *c++ = 0;
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
        fail_start(g, fault.step, -(long)fault.err);
    }
    report(g, TG_STARTED, 0);
    forget_strings(g);
}

static void check_launch(struct guard *g, int timeout)
{
    if (g->launching && tg_launch_done(&g->launch, timeout))
        on_exec_done(g);
    else if (g->launching)
        tg_cgroup_let_begin(&g->cgroup);
}

static void report_stop(struct guard *g)
{
    int kind, signal;
    if (tg_stops_take(&g->stops, &kind, &signal))
        report(g, kind, signal);
}

static void root_changed(struct guard *g, int status, const struct rusage *usage)
{
    if (WIFSTOPPED(status) && g->launching && !tg_launch_done(&g->launch, 0)) {
        /* Its program does not run yet, so the stop is not the tree's own: another process wants to keep the start from
         * ever being reported. */
        tg_kill(g->root, SIGCONT);
    } else if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
        tg_stops_record(&g->stops, status);
        report_stop(g);
    } else {
        g->end.kind = TG_ENDED;
        g->end.pid = g->root;
        tg_status_into(&g->end, status);
        tg_usage_from(&g->end.usage, usage);
        g->end.oom_kills = tg_cgroup_oom_kills(&g->cgroup);
        /* If the root ends before the launch is known to be done, finish the launch first: its result has to be
         * reported before the end. */
        while (g->launching)
            check_launch(g, EXEC_WAIT_MS);
    }
}

/* Returns whether the leaf cannot be removed yet. The guard cannot list the cgroups below the leaf if another process
 * has lowered the limit on descriptors. Then the supervisor removes them. Without a supervisor the guard would wait
 * forever for empty directories; the next manager removes these, and the kill of the leaf has already ended the
 * processes in them. */
static int leaf_remains(struct guard *g)
{
    int ret = g->cgroup.leaf < 0 ? 0 : tg_cgroup_remove(&g->cgroup);
    return ret == -EMFILE ? !is_abandoned(g) || g->leaf_kills <= SWEEP_LEAF_KILLS : ret < 0;
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
            root_changed(g, status, &usage);
    }
    return pid;
}

/* Reaps children. Returns 0 if the tree is empty. */
static int reap(struct guard *g)
{
    int had_ended = g->end.kind;
    long pid = take_changes(g);
    g->behind = pid > 0 || pid == -EINTR;
    if (pid == -ECHILD)
        g->end.oom_kills = tg_cgroup_oom_kills(&g->cgroup);
    g->has_others = pid == -ECHILD && others_left(g);
    if (pid == -ECHILD && !g->has_others)
        return 0;
    if (g->end.kind != had_ended)
        send_event(g, &g->end);
    return 1;
}

_Noreturn static void finish(struct guard *g)
{
    struct rusage usage;
    tg_usage_of_children(&usage);
    tg_usage_from(&g->end.total, &usage);
    g->end.kind = TG_EMPTY;
    if (is_abandoned(g) && g->cgroup.manager >= 0)
        tg_cgroup_remove_manager(&g->cgroup);
    send_event(g, &g->end);
    tg_exit(0);
}

static void signal_group(const struct guard *g, int signal)
{
    /* Once the leader is reaped, the group id can be reused. */
    if (g->end.kind)
        tg_signal_descendants(g->root, signal);
    else
        tg_signal_led(g->root, signal);
}

/* Sends SIGKILL to the tree. With a cgroup, kills the leaf as a whole, and on later passes also the processes that have
 * left it, one by one. Without a cgroup, kills the root's group and then all other children one by one. */
static void kill_pass(struct guard *g, int first)
{
    g->cgroup.supervisor = is_abandoned(g) ? 0 : g->watch.supervisor_pid;
    g->cgroup.alone = g->hung_up || !g->cgroup.supervisor;
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
        if (!reap(g))
            finish(g);
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
_Noreturn static void sweep(struct guard *g)
{
    int wait = SWEEP_FIRST_WAIT_MS;
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

/* Reads an order. Ignores messages that are not orders and the beginnings of longer messages. */
static void read_order(struct guard *g)
{
    struct tg_order order;
    long got = tg_recv(g->watch.lifeline, &order, sizeof order);
    if (got == -EAGAIN || got == -EINTR || got == -ENOMEM)
        return;
    if (got <= 0)
        g->ending = g->hung_up = 1;
    else if (got == sizeof order && order.order == TG_ORDER_KILL)
        g->ending = 1;
    else if (got == sizeof order && order.order == TG_ORDER_SIGNAL)
        signal_group(g, order.signal);
}

/* Milliseconds until the lease ends; INT32_MAX without a lease. */
static int lease_left(const struct guard *g)
{
    if (!g->lease)
        return INT32_MAX;
    int64_t left = g->lease_ms - (tg_clock() - *g->lease) / 1000000;
    return left > 0 ? (int)left : 0;
}

static int min_timeout(int timeout, int other)
{
    return other == INT32_MAX || (timeout >= 0 && timeout < other) ? timeout : other;
}

/* Returns how long the guard can wait for events, in milliseconds; -1: no polling is necessary. */
static int poll_timeout(const struct guard *g)
{
    return g->behind                          ? 0
           : g->launching                     ? EXEC_POLL_MS
           : g->watch.blind || g->has_others  ? POLL_MS
           : g->stops.kind                    ? TG_STOP_INTERVAL_MS
           : g->end.kind                      ? ORPHAN_POLL_MS
                                              : -1;
}

static void watch(struct guard *g)
{
    int seen = tg_watch_all(&g->watch, min_timeout(poll_timeout(g), lease_left(g)));
    if (lease_left(g) == 0)
        g->ending = 1;
    if (seen & TG_SEEN_LIFELINE)
        read_order(g);
    if ((seen & TG_SEEN_SUPERVISOR) || (g->watch.blind && is_abandoned(g)))
        g->ending = 1;
    if (((seen & TG_SEEN_DEATH) || g->behind || g->has_others || g->end.kind) && !reap(g))
        finish(g);
    if (g->stops.kind)
        report_stop(g);
    check_launch(g, 0);
}

static int read_options(const char *text, int64_t *ret_options)
{
    for (int i = 0; i < TG_OPTIONS; i++) {
        int negative = *text == '-';
        uint64_t n = 0;
        text += negative;
        for (; *text >= '0' && *text <= '9'; text++)
            n = n * 10 + (uint64_t)(*text - '0');
        ret_options[i] = (int64_t)(negative ? -n : n);
        if (*text != (i + 1 < TG_OPTIONS ? ',' : 0))
            return 0;
        text++;
    }
    return 1;
}

/* Returns 0, or -errno. */
static long take_lease(struct guard *g, int fd, int ms)
{
    const volatile void *page = NULL;
    long ret = fd < 0 ? 0 : tg_map(fd, sizeof *g->lease, &page);
    g->lease = page;
    g->lease_ms = ms;
    return ret;
}

/* The order of the steps matters. The guard denies other processes access to itself first. It becomes the adopter of
 * orphans before it starts the root, so that it adopts every orphan of the tree. It opens its descriptors before the
 * root runs, because afterwards a process of the same user may lower its limits. It creates the leaf before the root,
 * so that the root starts inside it. */
int tg_guard(int argc, char **argv, char **envp)
{
    static struct guard guard;
    struct guard *g = &guard;
    int64_t options[TG_OPTIONS];
    if (argc == 2)
        return tg_trial(argv[1]);
    if (argc < 4 || !read_options(argv[1], options))
        return 2;
    g->watch.lifeline = (int)options[TG_OPT_LIFELINE];
    g->watch.supervisor = (int)options[TG_OPT_SUPERVISOR];
    g->watch.supervisor_pid = (int)options[TG_OPT_SUPERVISOR_PID];
    g->cgroup.manager = (int)options[TG_OPT_CGROUP];
    g->cgroup.leaf = g->cgroup.kill = -1;
    g->cgroup.name = (uint64_t)options[TG_OPT_LEAF];
    g->cgroup.made = (int)options[TG_OPT_LEAF_MADE];
    g->cgroup.supervisor = g->watch.supervisor_pid;
    g->launch.child.new_session = (int)options[TG_OPT_NEW_SESSION];
    g->launch.child.isolated = (int)options[TG_OPT_ISOLATED];
    g->end.code = -1;
    g->argv = argv;
    g->envp = envp;
    tg_shut_off();
    tg_continue_with_parents_end();
    /* With a cgroup the children are not listed up front: the leaf is killed as a whole, and few processes leave it. */
    long ret = tg_sweep_open(&g->sweep, g->cgroup.manager < 0);
    if (ret < 0)
        fail_start(g, TG_STEP_SUBREAPER, ret);
    ret = tg_watch_open(&g->watch);
    if (ret < 0)
        fail_start(g, TG_STEP_WATCH, ret);
    if (g->cgroup.manager >= 0 && (ret = tg_cgroup_make(&g->cgroup)) < 0)
        fail_start(g, TG_STEP_CGROUP, ret);
    ret = take_lease(g, (int)options[TG_OPT_LEASE], (int)options[TG_OPT_LEASE_MS]);
    if (ret < 0)
        fail_start(g, TG_STEP_LEASE, ret);
    start_root(g, (int)options[TG_OPT_TERMINAL], (int)options[TG_OPT_LEASE]);
    check_launch(g, EXEC_WAIT_MS);
    while (!g->ending)
        watch(g);
    sweep(g);
}
