/* guard.c - the process between supervisor and root: one tree, one guard.
 *
 * Where the system lets it adopt every orphan of the tree, its own "no child left" (ECHILD) means that the tree is empty.
 * It ends the tree when it is told to, when the lifeline closes, and when the supervisor is gone - which it
 * watches for itself, since a forked copy of the supervisor may hold the lifeline open. All signals are blocked from birth: only SIGKILL and
 * SIGSTOP reach it. */
#include "guard.h"

#include "cgroup.h"
#include "launch.h"
#include "sweep.h"
#include "trial.h"
#include "usage.h"
#include "watch.h"
#include "wire.h"

#include <sys/socket.h>

/* How often is looked after what nothing tells: the end of a supervisor without a pidfd, of a process that is not ours to
 * reap. How long an exec is waited for at first, and how often one that takes longer is looked after. Milliseconds. */
enum { NOW_AND_THEN = 20, EXEC_WAIT = 5, EXEC_CHECK = 5 };

/* The same for orphans when the root has ended, for they may end without a SIGCHLD (clone3(2), CLONE_AUTOREAP, Linux 7.1). */
enum { ORPHANS_CHECK = 1000 };

/* How long a sweep waits for the next death before it looks for children that the last pass missed. */
enum { SWEEP_FIRST_WAIT = 5, SWEEP_LAST_WAIT = 50 };

/* After so many deaths of a tree that was killed as a whole it is looked whether others die that were not hit. */
enum { SWEEP_PLENTY = 512 };

/* After so many changes of children it is looked whether there are orders: a tree can make them as fast as they are taken. */
enum { CHANGES_AT_ONCE = 1024 };

/* So many stops and continuations of the root are told at once, and then one each so many milliseconds, the last that there
 * was: a tree can make them as fast as it likes. */
enum { STOPS_AT_ONCE = 32, STOP_EVERY = 20 };

/* After so many blows to a cgroup as a whole it is looked which processes these do not hit. */
enum { SWEEP_BLOWS = 2 };

/* How often something is tried, a millisecond apart, that has no reason to fail for long. */
enum { TRIES = 100 };

struct guard {
    struct tg_watch watch;
    struct tg_sweep sweep;
    int root;           /* process id, ours to reap until `end` is filled */
    int launching;      /* the root does not run its program yet; `argv` and `envp` are still needed */
    int ending;         /* the tree is to be ended */
    int abandoned;      /* there is no supervisor any more */
    const volatile int64_t *lease;  /* when the supervisor last worked; NULL: it need not prove that */
    int lease_ms;
    unsigned deaths;    /* how many were reaped */
    int behind;         /* there is more to be reaped, but orders come first */
    int dying;          /* of the children that the last blow found, half: so many have to be reaped before the next */
    int strikes;        /* how often the leaf was killed as a whole */
    int strangers;      /* no child is left, but others of the tree or in its cgroup are */
    struct tg_cgroup cgroup;
    struct tg_event end;    /* how the root ended; kind is 0 as long as it didn't */
    struct tg_event stop;   /* how the root was stopped or continued, to be told when its turn comes; kind 0: nothing */
    int stops;          /* how many of these were told that count against the next */
    int64_t stops_less; /* when one less of them counts */
    struct tg_gap own[4];   /* what the root must not inherit */
    char **argv;
    char **envp;
    struct tg_launch launch;
};

/* The last event waits for room on the lifeline as long as there is a supervisor: a copy of the other end, in a process that
 * it forked, keeps the lifeline open. Others are dropped rather: a supervisor that doesn't read must not keep the guard from
 * its watch. A lack of memory may pass. */
static void send_event(const struct guard *g, const struct tg_event *event)
{
    int last = event->kind == TG_EMPTY || event->kind == TG_FAILED;
    for (int tries = 0; tries < TRIES;) {
        long ret = tg_send(g->watch.lifeline, event, sizeof *event, MSG_DONTWAIT);
        int full = ret == -EAGAIN && last && tg_getppid() == g->watch.supervisor_pid;
        if (!full && ret != -ENOMEM && ret != -ENOBUFS && ret != -EINTR)
            return;
        tries += !full;
        tg_poll(NULL, 0, 1);
    }
}

static void tell(const struct guard *g, int kind, int signal)
{
    struct tg_event event = {.kind = kind, .pid = g->root, .code = -1, .signal = signal};
    send_event(g, &event);
}

_Noreturn static void fail(struct guard *g, int step, long err)
{
    for (int tries = 0; g->cgroup.leaf >= 0 && tg_cgroup_remove(&g->cgroup) < 0 && tries < TRIES; tries++)
        tg_poll(NULL, 0, 1);
    struct tg_event event = {.kind = TG_FAILED, .step = step, .err = (int32_t)-err, .code = -1};
    send_event(g, &event);
    tg_exit(1);
}

/* All other descriptors are the root's: holding one would keep open what it has closed. */
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
            tg_close_gap((struct tg_gap){first, (unsigned)next - 1}, -1);
        first = (unsigned)next + 1;
    }
    tg_close_gap((struct tg_gap){first, INT32_MAX}, -1);
}

/* argv: the guard's name, options, the root's program, the root's argv. */
static void start_root(struct guard *g, int terminal, int lease)
{
    struct tg_child *child = &g->launch.child;
    const int inherited[] = {g->watch.lifeline, g->watch.supervisor, g->cgroup.manager, lease};
    for (unsigned i = 0; i < sizeof inherited / sizeof *inherited; i++)
        if (inherited[i] >= 0)
            g->own[child->ngaps++] = (struct tg_gap){(unsigned)inherited[i], (unsigned)inherited[i]};
    child->program = g->argv[2];
    child->argv = g->argv + 3;
    child->envp = g->envp;
    child->gaps = g->own;
    for (int i = 0; i < 3; i++)
        child->stdio[i] = i;
    child->terminal = terminal;
    child->parent = (int)tg_getpid();
    child->inherit_signals = 1;
    g->launch.cgroup = g->cgroup.leaf;
    long ret = tg_launch(&g->launch, 0);
    if (ret < 0)
        fail(g, TG_STEP_CLONE, ret);
    g->root = g->launch.pid;
    g->launching = 1;
    /* The child has copies of its own of the descriptors and of the directory. */
    drop_descriptors(g);
    tg_chdir("/");
}

/* The strings of the command line and of the environment are the root's business. Gone from here they neither show
 * in /proc/PID/cmdline, where a pkill meant for the root would find them, nor weigh on this process. They lie in
 * one piece, in the order of the pointers to them. */
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

/* To be called when the launch is done: the root runs its program, or never did. That ends the guard. */
static void root_began(struct guard *g)
{
    struct tg_fault fault = g->launch.child.fault;
    g->launching = 0;
    if (fault.step != TG_STEP_NONE) {
        if (!g->end.kind)
            while (tg_wait(g->root, NULL, 0, NULL) == -EINTR)
                ;
        fail(g, fault.step, -(long)fault.err);
    }
    tell(g, TG_STARTED, 0);
    forget_strings(g);
}

static void look_at_launch(struct guard *g, int timeout)
{
    if (g->launching && tg_launch_done(&g->launch, timeout))
        root_began(g);
    else if (g->launching)
        tg_cgroup_let_begin(&g->cgroup);
}

static void tell_stop(struct guard *g)
{
    int64_t now = tg_clock();
    if (g->stops && now >= g->stops_less) {
        int64_t less = (now - g->stops_less) / (STOP_EVERY * 1000000) + 1;
        g->stops = less < g->stops ? g->stops - (int)less : 0;
        g->stops_less += less * STOP_EVERY * 1000000;
    }
    if (!g->stop.kind || g->stops == STOPS_AT_ONCE)
        return;
    if (!g->stops++)
        g->stops_less = now + STOP_EVERY * 1000000;
    tell(g, g->stop.kind, g->stop.signal);
    g->stop.kind = 0;
}

static void root_changed(struct guard *g, int status, const struct rusage *usage)
{
    if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
        g->stop.kind = WIFSTOPPED(status) ? TG_STOPPED : TG_CONTINUED;
        g->stop.signal = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
        tell_stop(g);
    } else {
        g->end.kind = TG_ENDED;
        g->end.pid = g->root;
        tg_status_into(&g->end, status);
        tg_usage_from(&g->end.usage, usage);
        g->end.oom_kills = tg_cgroup_oom_kills(&g->cgroup);
        /* An end that comes before the launch was seen to be done says how the launch went, and that it is done. */
        while (g->launching)
            look_at_launch(g, EXEC_WAIT);
    }
}

/* Whether the leaf cannot be removed yet. What is below it can no longer be listed when somebody has lowered the limit on
 * descriptors: then a supervisor removes it. Without one the guard would stay for good for the sake of empty directories,
 * which the next manager removes: who lived there was killed with the leaf. */
static int leaf_stays(struct guard *g)
{
    int ret = g->cgroup.leaf < 0 ? 0 : tg_cgroup_remove(&g->cgroup);
    return ret == -EMFILE ? !g->abandoned || g->strikes <= SWEEP_BLOWS : ret < 0;
}

/* Whether something is left although no child is. Somebody else may have moved a process into the leaf, for one. What
 * is not a child has no end to be waited for. */
static int others(struct guard *g)
{
    return leaf_stays(g) || tg_others(g->root) > 0;
}

/* Takes changes of children, up to a number of them. What wait said last. */
static long take_changes(struct guard *g)
{
    /* In a sweep nobody asks any more who is stopped. */
    int options = g->ending ? WNOHANG : WNOHANG | WUNTRACED | WCONTINUED;
    struct rusage usage;
    int status;
    long pid = 1;
    for (int taken = 0; (pid > 0 || pid == -EINTR) && taken < CHANGES_AT_ONCE; taken++) {
        pid = tg_wait(-1, &status, options, &usage);
        int ended = pid > 0 && !WIFSTOPPED(status) && !WIFCONTINUED(status);
        g->deaths += (unsigned)ended;
        g->dying -= ended;
        if (pid > 0 && pid == g->root)
            root_changed(g, status, &usage);
    }
    return pid;
}

/* Reaps what there is to reap. Returns 0 when the tree is empty. */
static int reap(struct guard *g)
{
    int had_ended = g->end.kind;
    long pid = take_changes(g);
    g->behind = pid > 0 || pid == -EINTR;
    if (pid == -ECHILD)
        g->end.oom_kills = tg_cgroup_oom_kills(&g->cgroup);
    g->strangers = pid == -ECHILD && others(g);
    if (pid == -ECHILD && !g->strangers)
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
    if (g->abandoned && g->cgroup.manager >= 0)
        tg_cgroup_remove_manager(&g->cgroup);
    send_event(g, &g->end);
    tg_exit(0);
}

static void signal_group(const struct guard *g, int signal)
{
    /* A leader that was reaped no longer keeps the group's number from being given away. */
    if (g->end.kind)
        tg_signal_descendants(g->root, signal);
    else
        tg_signal_led(g->root, signal);
}

/* All at once where there is a cgroup, and what has moved out of it one by one, but not with the first blow; else all of
 * the root's group at once, and the others one by one. */
static void strike(struct guard *g, int first)
{
    g->cgroup.supervisor = g->abandoned ? 0 : g->watch.supervisor_pid;
    int whole = g->cgroup.leaf >= 0 && tg_cgroup_kill(&g->cgroup) == 0;
    if (!whole || g->strikes++ >= SWEEP_BLOWS)
        tg_cgroup_kill_listed(&g->cgroup);
    if (whole && first)
        g->dying = SWEEP_PLENTY;
    else
        g->dying = tg_strike(&g->sweep, g->root, !whole && !g->end.kind) / 2;
}

/* Reaps, and waits up to `wait` milliseconds for something to reap. Whether there was any; ends when nothing is left. A signal
 * is no proof of a death: anybody may send it, as fast as he likes. */
static int wait_for_death(struct guard *g, int wait)
{
    unsigned before = g->deaths;
    int64_t end = 0;
    for (int left = wait;; left = end ? (int)((end - tg_clock()) / 1000000) : 0) {
        if (!reap(g))
            finish(g);
        if (g->deaths != before || left <= 0)
            return g->deaths != before;
        /* The clock is asked for only where a signal came for nothing. */
        if (tg_watch_deaths(&g->watch, left) && !end)
            end = tg_clock() + (int64_t)wait * 1000000;
    }
}

/* Kills and reaps until nothing is left. What a killed process leaves behind arrives here after it, and a listing may
 * miss a child that is born during it: when half of those that were found have died there is another blow, and so there is
 * after a wait in which nobody died. One for each death would list a thousand children a thousand times. A cgroup's
 * processes need one blow only, but some may have moved out of it, and fork as fast as they die. */
_Noreturn static void sweep(struct guard *g)
{
    int wait = SWEEP_FIRST_WAIT;
    strike(g, 1);
    for (;;) {
        int died = wait_for_death(g, wait);
        if (died && g->dying > 0)
            continue;
        wait = died ? SWEEP_FIRST_WAIT : wait < SWEEP_LAST_WAIT ? wait * 2 : wait;
        strike(g, 0);
        if (wait >= SWEEP_LAST_WAIT)
            tg_sweep_release(&g->sweep);
    }
}

/* What is not an order is not obeyed, nor is the beginning of something longer. */
static void hear_supervisor(struct guard *g)
{
    struct tg_order order;
    long got = tg_recv(g->watch.lifeline, &order, sizeof order);
    if (got == -EAGAIN || got == -EINTR || got == -ENOMEM)
        return;
    if (got <= 0)
        g->ending = g->abandoned = 1;
    else if (got == sizeof order && order.order == TG_ORDER_KILL)
        g->ending = 1;
    else if (got == sizeof order && order.order == TG_ORDER_SIGNAL)
        signal_group(g, order.signal);
}

/* Milliseconds until the lease ends; none is endless. */
static int lease_left(const struct guard *g)
{
    if (!g->lease)
        return INT32_MAX;
    int64_t left = g->lease_ms - (tg_clock() - *g->lease) / 1000000;
    return left > 0 ? (int)left : 0;
}

static int sooner(int timeout, int other)
{
    return other == INT32_MAX || (timeout >= 0 && timeout < other) ? timeout : other;
}

/* How long nothing need be looked at, in milliseconds; -1: until something is told. */
static int pause_of(const struct guard *g)
{
    return g->behind                         ? 0
           : g->launching                    ? EXEC_CHECK
           : g->watch.blind || g->strangers  ? NOW_AND_THEN
           : g->stop.kind                    ? STOP_EVERY
           : g->end.kind                     ? ORPHANS_CHECK
                                             : -1;
}

static void watch(struct guard *g)
{
    int seen = tg_watch_all(&g->watch, sooner(pause_of(g), lease_left(g)));
    if (lease_left(g) == 0)
        g->ending = 1;
    if (seen & TG_SEEN_LIFELINE)
        hear_supervisor(g);
    if ((seen & TG_SEEN_SUPERVISOR) || (g->watch.blind && tg_getppid() != g->watch.supervisor_pid))
        g->ending = g->abandoned = 1;
    if (((seen & TG_SEEN_DEATH) || g->behind || g->strangers || g->end.kind) && !reap(g))
        finish(g);
    if (g->stop.kind)
        tell_stop(g);
    look_at_launch(g, 0);
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

/* 0, or -errno. */
static long take_lease(struct guard *g, int fd, int ms)
{
    const volatile void *page = NULL;
    long ret = fd < 0 ? 0 : tg_map(fd, sizeof *g->lease, &page);
    g->lease = page;
    g->lease_ms = ms;
    return ret;
}

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
    /* A cgroup is killed as a whole, and what has left it is rare. */
    long ret = tg_sweep_open(&g->sweep, g->cgroup.manager < 0);
    if (ret < 0)
        fail(g, TG_STEP_SUBREAPER, ret);
    ret = tg_watch_open(&g->watch);
    if (ret < 0)
        fail(g, TG_STEP_WATCH, ret);
    if (g->cgroup.manager >= 0 && (ret = tg_cgroup_make(&g->cgroup)) < 0)
        fail(g, TG_STEP_CGROUP, ret);
    ret = take_lease(g, (int)options[TG_OPT_LEASE], (int)options[TG_OPT_LEASE_MS]);
    if (ret < 0)
        fail(g, TG_STEP_LEASE, ret);
    start_root(g, (int)options[TG_OPT_TERMINAL], (int)options[TG_OPT_LEASE]);
    look_at_launch(g, EXEC_WAIT);
    while (!g->ending)
        watch(g);
    sweep(g);
}
