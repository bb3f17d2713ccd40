/* Every call of a tree's start and end fails once, with each error that it can give. In each case the start works or
 * reports the fault, the tree is ended, nothing is left, and the next start works.
 *
 * Arguments: the host (see below), the guard, the family (family.c), a file for the sites of all calls (sites.py), and
 * a cgroup in which one can be created; without it cgroups are not tested. Three more numbers select a containment, an
 * ending and a place. */
#include "check.h"
#include "../../csrc/launch.h"
#include "../../csrc/treeguard.h"

#include "faults.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

enum containment { GROUPED, GUARDED, IN_CGROUP };
enum ending { KILLED, WITHOUT_ROOT, ABANDONED, NEVER_BEGUN, UNGUARDED, ENDINGS };

static const char *const containments[] = {"process group", "guard", "guard and cgroup"};
static const char *const endings[] = {"killed", "killed without root", "abandoned", "never begun", "without guard"};
static const char *const places[] = {"library", "library's child half", "guard", "guard's child half"};

/* Additional properties of each tree. */
static const struct scene {
    int terminal;       /* a terminal is its standard input, and its group becomes the foreground group */
    int pty;            /* it leads a session, whose terminal is none of its standard streams */
    int crowded;        /* the number of open descriptors is large enough that their table is not copied */
    int closed;         /* the host has no standard input and output */
    int limited;        /* a limit on its address space */
    int isolated;       /* with a guard, and in its own session */
    int swapped;        /* its standard error is the host's standard output */
    int long_env;       /* its environment fills pages */
    int leaf_made;      /* its leaf existed before, with limits */
    int divided;        /* it has created cgroups below its leaf */
    uint32_t attributes;    /* enum tg_given */
} scenes[] = {
    [KILLED] = {.terminal = 1, .divided = 1},
    [WITHOUT_ROOT] = {.crowded = 1, .leaf_made = 1,
                      .attributes = TG_GIVEN_NICE | TG_GIVEN_CPU_AFFINITY | TG_GIVEN_RLIMITS},
    [ABANDONED] = {.limited = 1, .isolated = 1, .swapped = 1, .long_env = 1,
                   .attributes = TG_GIVEN_BLOCKED | TG_GIVEN_IGNORE_CHILD | TG_GIVEN_OWN_PID |
                                 TG_GIVEN_LAUNCHER | TG_GIVEN_LAUNCHER_PID},
    [NEVER_BEGUN] = {.pty = 1, .crowded = 1},
    [UNGUARDED] = {.closed = 1, .attributes = TG_GIVEN_UMASK | TG_GIVEN_OOM_SCORE_ADJ | TG_GIVEN_GROUPS |
                                              TG_GIVEN_GROUP | TG_GIVEN_USER},
};

/* Kernels, and the calls that filters leave of them. */
static const struct host {
    enum tg_method method;
    int lacks;
} hosts[] = {
    {TG_METHOD_CLONE3, 0},
    {TG_METHOD_CLONE, LACKS_CGROUP_KILL | LACKS_CLOSE_RANGE | LACKS_WAIT_BY_HANDLE | LACKS_GROUP_HANDLES},
    {TG_METHOD_FORK, LACKS_CGROUP_KILL | LACKS_CLOSE_RANGE | LACKS_HANDLES | LACKS_CHILDREN},
};
enum { HOSTS = sizeof hosts / sizeof *hosts };

/* From this descriptor number on an engine assumes that many are open (engine.c). */
enum { CROWD = 128 };

/* Time limit in milliseconds for operations that take one or two, on a busy machine. */
enum { PATIENCE = 20000, LEASE_MS = 600000, LEAF = 7 };

/* A limit in bytes that no program reaches. */
static const uint64_t address_space = (uint64_t)1 << 44;

static const char *guard, *family, *sites_path;
static int picked[3] = {-1, -1, -1};
static const struct host *host;
/* mkstemp fills in the first one. It is removed at the end. */
static char page_path[] = "/tmp/treeguard-faults-XXXXXX", manager[512], leaf[16];
static int manager_fd = -1, lease_fd = -1, launcher_fd = -1, terminal = -1, pty = -1;

struct outcome {
    int started;        /* the program ran */
    int last;           /* kind of the last event; 0: the spawn itself failed */
    struct tg_fault fault;
};

/* Fills in attributes that every process may have: its own user and group, every CPU, the highest limits. */
static const struct tg_attributes *prepare_attributes(uint32_t given)
{
    static struct tg_attributes a;
    memset(&a, 0, sizeof a);
    a.given = geteuid() == 0 ? given : given & ~(uint32_t)TG_GIVEN_GROUPS;
    a.umask = 022;
    a.nice = 1;
    a.oom_score_adj = 900;
    a.user = geteuid();
    a.group = getegid();
    memset(a.cpu_affinity, 0xff, sizeof a.cpu_affinity);
    a.which_rlimits = 1 << RLIMIT_CORE;
    a.blocked = (uint64_t)1 << (SIGUSR1 - 1);
    a.own_pid = 7;
    a.launcher = launcher_fd;
    a.launcher_pid = getppid();
    return given ? &a : NULL;
}

static struct tg_tree *spawn(struct tg_engine *engine, enum containment with, struct scene scene, const char *program,
                             const char *how, int output, struct tg_fault *ret_fault)
{
    static char env[16384];
    char args[64];
    size_t args_size = (size_t)snprintf(args, sizeof args, "family%c%s", 0, how) + 1;
    /* Ascending: the manager's descriptor is the youngest. */
    int32_t pass[2], npass = 0;
    if (with == GROUPED && manager_fd < 0)
        pass[npass++] = lease_fd;
    if (scene.pty)
        pass[npass++] = pty;
    if (with == GROUPED && manager_fd >= 0)
        pass[npass++] = manager_fd;
    size_t env_size = (size_t)snprintf(env, sizeof env, "%s=%s", FAULTS_VARIABLE, page_path) + 1;
    if (scene.long_env) {
        memset(env + env_size, 'x', sizeof env - env_size - 1);
        env[env_size + 1] = '=';
        env_size = sizeof env;
    }
    struct tg_spec spec = {
        .guard = with == GROUPED ? NULL : guard, .program = program, .args = args, .args_size = args_size,
        .nargs = how[0] ? 2 : 1, .env = env, .env_size = env_size, .nenv = scene.long_env ? 2 : 1,
        .cwd = "/", .stdio = {scene.terminal ? terminal : -1, output, scene.swapped ? 1 : TG_INHERIT},
        .cgroup = with == IN_CGROUP ? manager_fd : -1, .leaf = LEAF, .leaf_made = scene.leaf_made,
        .address_space = scene.limited ? address_space : 0, .lease = lease_fd, .lease_ms = LEASE_MS, .fds = pass,
        .nfds = (uint32_t)npass,
        .options = {.terminal = scene.pty ? pty : scene.terminal ? 0 : -1,
                    .new_session = scene.isolated || scene.pty, .isolated = scene.isolated},
        .attributes = prepare_attributes(scene.attributes),
    };
    return tg_tree_spawn(engine, &spec, 1, ret_fault);
}

static int is_last(int kind)
{
    return kind == TG_FAILED || kind == TG_EMPTY || kind == TG_LOST;
}

/* Returns the next event of this kind, or the last one. */
static struct tg_event await(struct tg_engine *engine, struct tg_tree *tree, int kind)
{
    struct tg_event event = {0};
    for (long deadline = now_ms() + PATIENCE; now_ms() < deadline;) {
        struct pollfd p = {tg_engine_fd(engine), POLLIN, 0};
        poll(&p, 1, 2);
        while (tg_engine_drain(engine, &event, 1) == 1 || tg_tree_poll(tree, &event))
            if (event.kind == kind || is_last(event.kind))
                return event;
    }
    CHECK(!"the event came");
    exit(1);
}

/* Waits until the family is complete, or has ended. */
static void await_family(int input)
{
    struct pollfd p = {input, POLLIN, 0};
    CHECK(poll(&p, 1, PATIENCE) == 1);
}

/* An order that could not be sent is reported, and can be sent again. */
static void order(struct tg_tree *tree, int signal)
{
    for (int again = 0; again < 2; again++) {
        int ret = signal ? tg_tree_signal(tree, signal) : tg_tree_kill(tree);
        if (ret == 0 || ret == -ESRCH)
            return;
        CHECK_EQUAL(-ret, faults->err);
        CHECK(!again);
    }
}

/* The member that is left is stopped, and hears a request. Of the calls that may fail meanwhile those through handles have
 * a fallback. */
static void ask(struct tg_tree *tree, int output)
{
    struct pollfd p = {output, POLLIN, 0};
    int before = faults->number;
    char heard;
    order(tree, SIGTERM | TG_ASK);
    for (long deadline = now_ms() + PATIENCE; poll(&p, 1, 2) == 0 && now_ms() < deadline;) {
        int failed = faults->number;
        if (failed != before && failed != SYS_pidfd_open && failed != SYS_pidfd_send_signal)
            return;
    }
    CHECK(p.revents & POLLIN && read(output, &heard, 1) == 1);
}

/* Our child, whose end leaves an order unread. */
static void end_guard(struct tg_tree *tree)
{
    kill(tg_tree_pid(tree), SIGSTOP);
    order(tree, SIGWINCH);
    kill(tg_tree_pid(tree), SIGKILL);
}

static void end(struct tg_engine *engine, struct tg_tree *tree, enum ending ending, int output, struct outcome *outcome)
{
    outcome->last = TG_EMPTY;
    if (ending == UNGUARDED) {
        end_guard(tree);
        outcome->last = await(engine, tree, TG_LOST).kind;
    }
    if (ending == WITHOUT_ROOT && is_last(await(engine, tree, TG_ENDED).kind))
        CHECK(!"ended without its root alone");
    if (ending == WITHOUT_ROOT)
        ask(tree, output);
    if (ending == WITHOUT_ROOT || ending == KILLED) {
        order(tree, 0);
        outcome->last = await(engine, tree, TG_EMPTY).kind;
    }
}

/* Opens descriptors until all numbers below CROWD are taken, or closes them again. */
static void crowd(int there)
{
    static int opened[CROWD + 1], n;
    while (there && (n == 0 || opened[n - 1] < CROWD))
        opened[n++] = dup(2);
    while (!there && n)
        close(opened[--n]);
}


static void divide_leaf(void)
{
    char below[64];
    snprintf(below, sizeof below, "%s/below", leaf);
    CHECK(mkdirat(manager_fd, below, 0755) == 0);
    strcat(below, "/further");
    CHECK(mkdirat(manager_fd, below, 0755) == 0);
}

static struct outcome live(enum containment with, enum ending ending)
{
    struct outcome outcome = {0};
    struct scene scene = scenes[ending];
    int ends[2], kept[2], leaf_made = with == IN_CGROUP && scene.leaf_made;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(!leaf_made || mkdirat(manager_fd, leaf, 0755) == 0);
    for (int fd = 0; scene.closed && fd < 2; fd++)
        kept[fd] = dup(fd);
    for (int fd = 0; scene.closed && fd < 2; fd++)
        close(fd);
    faults->armed = 1;
    struct tg_engine *engine = tg_engine_open(&outcome.fault);
    struct tg_tree *tree = NULL;
    if (scene.crowded)
        crowd(1);
    if (engine)
        tree = spawn(engine, with, scene, ending == NEVER_BEGUN ? "/nonexistent" : family,
                     ending == WITHOUT_ROOT ? "leave" : "", ends[1], &outcome.fault);
    close(ends[1]);
    if (tree) {
        siginfo_t ended;
        struct tg_event event = await(engine, tree, TG_STARTED);
        outcome.last = event.kind;
        outcome.started = event.kind == TG_STARTED;
        outcome.fault = (struct tg_fault){event.step, event.err};
        if (outcome.started) {
            if (ending != WITHOUT_ROOT)
                await_family(ends[0]);
            if (with == IN_CGROUP && scene.divided)
                divide_leaf();
            end(engine, tree, ending, ends[0], &outcome);
        }
        tg_tree_free(tree);
        /* Calls of the guard from here on belong to this life. */
        if (outcome.started && ending == ABANDONED)
            CHECK(waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT) == 0);
    }
    if (engine)
        tg_engine_close(engine);
    if (scene.crowded)
        crowd(0);
    close(ends[0]);
    for (int fd = 0; scene.closed && fd < 2; fd++) {
        dup2(kept[fd], fd);
        close(kept[fd]);
    }
    /* A manager creates such a leaf itself, and removes it if there was no start. */
    if (leaf_made && !outcome.started)
        unlinkat(manager_fd, leaf, AT_REMOVEDIR);
    return outcome;
}

/* Checks the children that we have adopted. A released guard ends its tree and then itself. No other process may come
 * to us, except from a tree whose group or guard could not hold it. */
static void judge_children(enum containment with, enum ending ending, int let_go)
{
    int status, pid, ours = with == GROUPED || ending == UNGUARDED;
    if (!ours && !let_go) {
        CHECK(waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD);
        return;
    }
    for (long deadline = now_ms() + PATIENCE; (pid = waitpid(-1, &status, WNOHANG)) >= 0;) {
        CHECK(now_ms() < deadline);
        if (pid > 0 && !ours)
            CHECK(WIFEXITED(status));
        if (pid > 0 || !ours)
            continue;
        /* No member of a group is left when the group is reported empty. */
        if (!check_failures)
            CHECK(ending != WITHOUT_ROOT);
        check_kill_children();
    }
    /* Does what a manager does after it has lost a guard. */
    if (with == IN_CGROUP && ending == UNGUARDED)
        unlinkat(manager_fd, leaf, AT_REMOVEDIR);
}

static void judge(const struct outcome *outcome, enum containment with, enum ending ending, int descriptors)
{
    int err = faults->err, place = faults->place;
    /* With TG_METHOD_FORK an exec whose failure cannot be reported looks like a successful one. */
    int untold = ending == NEVER_BEGUN && outcome->started && faults->number == SYS_write;
    judge_children(with, ending, ending == ABANDONED || untold);
    CHECK_EQUAL(check_open_fds(), descriptors);
    CHECK_EQUAL(faults_allocations, 0);
    CHECK_EQUAL(faults->unknown, 0);
    if (with == IN_CGROUP)
        CHECK(faccessat(manager_fd, leaf, F_OK, 0) < 0 && errno == ENOENT);
    CHECK_EQUAL(outcome->last == TG_LOST, outcome->started && ending == UNGUARDED);
    CHECK(ending != NEVER_BEGUN || !outcome->started || untold);
    if (outcome->started || (ending == NEVER_BEGUN && outcome->fault.err == ENOENT))
        return;
    CHECK(outcome->fault.step != TG_STEP_NONE);
    CHECK(err != 0);
    CHECK_EQUAL(outcome->fault.err, err);
    /* A failure in the child half is reported as such: in the guard's own, or in the root's. */
    if (place == FAULTS_GUARD_CHILD)
        CHECK(outcome->fault.step != TG_STEP_GUARD);
}

static void next_works(enum containment with)
{
    struct tg_fault fault;
    faults->armed = 0;
    struct tg_engine *engine = tg_engine_open(&fault);
    struct tg_tree *tree = spawn(engine, with, (struct scene){0}, family, "quick", 2, &fault);
    CHECK(tree != NULL);
    CHECK_EQUAL(await(engine, tree, TG_EMPTY).code, 0);
    tg_tree_free(tree);
    tg_engine_close(engine);
}

/* Runs one life in which one call fails. Returns whether there was such a call; `ret_had` tells whether it has that
 * many errors. */
static int live_with_fault(enum containment with, enum ending ending, int place, int at, int which, int *ret_had)
{
    faults_clear();
    faults->place = place;
    faults->at = at;
    faults->which = which;
    faults->method = (int)host->method;
    faults->lacks = host->lacks;
    alarm(5 * PATIENCE / 1000);
    /* Reset the launch method. If the life before has found a method not to work, that was a fault of this layer. */
    tg_launch_method(host->method);
    int descriptors = check_open_fds();
    struct outcome outcome = live(with, ending);
    faults->armed = 0;
    judge(&outcome, with, ending, descriptors);
    *ret_had = faults->err != 0;
    return faults->number != -1;
}

static int every_fault(enum containment with, enum ending ending, int place)
{
    int had = 0, lives = 0;
    for (int at = 1;; at++) {
        for (int which = 0;; which++, lives++) {
            int reached = live_with_fault(with, ending, place, at, which, &had);
            if (check_failures)
                exit(1);
            if (!reached)
                return lives;
            if (!had)
                break;
            if (which == 0)
                next_works(with);
        }
    }
}

static int is_picked(int which, int value)
{
    return picked[which] < 0 || picked[which] == value;
}

static void every_place(enum containment with)
{
    for (int ending = KILLED; ending < ENDINGS; ending++) {
        if (with == GROUPED && (ending == ABANDONED || ending == UNGUARDED))
            continue; /* its root then ends with this process, and it has no guard */
        for (int place = 0; place < (with == GROUPED ? FAULTS_GUARD : FAULTS_PLACES); place++) {
            if (!is_picked(0, with) || !is_picked(1, ending) || !is_picked(2, place))
                continue;
            int lives = every_fault(with, (enum ending)ending, place);
            fprintf(stderr, "  %s, %s, %s: %d lives\n", containments[with], endings[ending], places[place], lives);
        }
    }
}

static void a_group_survives_every_fault(void)
{
    every_place(GROUPED);
}

static void a_guard_survives_every_fault(void)
{
    every_place(GUARDED);
}

static void a_cgroup_survives_every_fault(void)
{
    every_place(IN_CGROUP);
}

/* Creates a directory below `parent`, with one in it that keeps guards from removing it. */
static int make_manager(const char *parent)
{
    snprintf(manager, sizeof manager, "%s/treeguard-faults.%d", parent, (int)getpid());
    if (mkdir(manager, 0755) < 0)
        return 0;
    manager_fd = open(manager, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return manager_fd >= 0 && mkdirat(manager_fd, "keep", 0755) == 0;
}

static void remove_manager(void)
{
    if (manager_fd >= 0)
        unlinkat(manager_fd, "keep", AT_REMOVEDIR);
    rmdir(manager);
}

static int make_terminal(void)
{
    char path[32];
    int unlocked = 0, number = 0, keeper = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(keeper >= 0 && ioctl(keeper, TIOCSPTLCK, &unlocked) == 0 && ioctl(keeper, TIOCGPTN, &number) == 0);
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    int made = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(made >= 0);
    return made;
}

/* Creates our own session, with a terminal, and a terminal for the sessions of roots. */
static void make_terminals(void)
{
    CHECK(setsid() >= 0);
    terminal = make_terminal();
    CHECK(ioctl(terminal, TIOCSCTTY, 0) == 0);
    pty = make_terminal();
}

static void make_lease(void)
{
    int64_t stamp = now_ms() * 1000000;
    lease_fd = memfd_create("lease", MFD_CLOEXEC);
    launcher_fd = tg_pidfd_open(getppid());
    CHECK(lease_fd >= 0 && write(lease_fd, &stamp, sizeof stamp) == sizeof stamp);
}

static void clean_up(void)
{
    if (check_failures)
        fprintf(stderr, "when call %d of the %s, number %d, failed with: %s\n", faults->at, places[faults->place],
                faults->number, strerror(faults->err));
    unlink(page_path);
    if (manager[0])
        remove_manager();
}

int main(int argc, char **argv)
{
    if (argc < 5 || atoi(argv[1]) >= HOSTS)
        return 2;
    host = &hosts[atoi(argv[1])];
    guard = argv[2];
    family = argv[3];
    sites_path = argv[4];
    for (int i = 0; i < 3 && 6 + i < argc; i++)
        picked[i] = atoi(argv[6 + i]);
    snprintf(leaf, sizeof leaf, "%d", LEAF);
    atexit(clean_up);
    CHECK(faults_make(page_path) == 0);
    make_lease();
    make_terminals();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    RUN(a_group_survives_every_fault);
    RUN(a_guard_survives_every_fault);
    if (argc > 5 && make_manager(argv[5]))
        RUN(a_cgroup_survives_every_fault);
    else
        fprintf(stderr, "no cgroup can be made: not tried\n");
    CHECK(faults_write(sites_path) == 0);
    return check_failures != 0;
}
