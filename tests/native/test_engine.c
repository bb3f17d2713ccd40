/* Tests trees on an engine, with a real guard and without one. Arguments: the guard's executable, the first launch
 * method. */
#include "check.h"

#include "../../csrc/launch.h"
#include "../../csrc/treeguard.h"

#include <dirent.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static const char *guard;
static struct tg_engine *engine;
static int isolated;

static void open_engine(void)
{
    struct tg_fault fault;
    engine = tg_engine_open(&fault);
    CHECK(engine != NULL);
}

static struct tg_tree *spawn(const char *guard_or_null, const char *script, uint64_t tag, struct tg_fault *fault)
{
    char args[4096];
    size_t size = (size_t)snprintf(args, sizeof args, "sh%c-c%c%s", 0, 0, script) + 1;
    struct tg_spec spec = {
        .guard = guard_or_null, .program = "/bin/sh", .args = args, .args_size = size, .nargs = 3,
        .env = "PATH=/usr/bin:/bin", .env_size = 19, .nenv = 1, .stdio = {-1, 1, 2},
        .options = {.terminal = -1, .isolated = isolated}, .cgroup = -1, .lease = -1,
    };
    return tg_tree_spawn(engine, &spec, tag, fault);
}

/* Returns the next event of any tree that is ready, or of `polled`. */
static struct tg_event next(struct tg_tree *polled)
{
    struct tg_event event = {0};
    struct pollfd p = {tg_engine_fd(engine), POLLIN, 0};
    for (;;) {
        if (tg_engine_drain(engine, &event, 1) == 1 && event.kind != TG_CLOSING)
            return event;
        if (polled && tg_tree_poll(polled, &event))
            return event;
        poll(&p, 1, 5);
    }
}

static struct tg_event until(struct tg_tree *tree, int kind)
{
    struct tg_event event;
    do
        event = next(tree);
    while (event.kind != kind && event.kind != TG_EMPTY && event.kind != TG_LOST && event.kind != TG_FAILED);
    CHECK_EQUAL(event.kind, kind);
    return event;
}

static void a_life_is_told(const char *with)
{
    struct tg_fault fault;
    open_engine();
    struct tg_tree *tree = spawn(with, "exit 5", 42, &fault);
    struct tg_event event = until(tree, TG_STARTED);
    CHECK_EQUAL(event.tag, 42);
    CHECK(event.pid > 0);
    event = until(tree, TG_EMPTY);
    CHECK_EQUAL(event.tag, 42);
    CHECK_EQUAL(event.code, 5);
    CHECK_EQUAL(event.signal, 0);
    CHECK(event.usage.max_rss_kib > 0);
    tg_tree_free(tree);
    tg_engine_close(engine);
}

static void a_guarded_life_is_told(void)
{
    a_life_is_told(guard);
}

static void a_guardless_life_is_told(void)
{
    a_life_is_told(NULL);
}

/* Returns the number of processes with the mark on their command line. `ret_leader`: one of them that leads a
 * session. */
static int marked(const char *mark, int *ret_leader)
{
    int found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *e; (e = readdir(proc));) {
        char path[300], text[4096];
        snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f)
            continue;
        size_t n = fread(text, 1, sizeof text, f);
        fclose(f);
        if (memmem(text, n, mark, strlen(mark)) == NULL)
            continue;
        found++;
        if (ret_leader && getsid(atoi(e->d_name)) == atoi(e->d_name))
            *ret_leader = atoi(e->d_name);
    }
    closedir(proc);
    return found;
}

static int escapee(const char *with)
{
    struct tg_fault fault;
    char script[200], mark[32];
    snprintf(mark, sizeof mark, "77%d.5", (int)getpid());
    snprintf(script, sizeof script, "setsid sh -c 'sleep %s; :' & while :; do sleep %s; done", mark, mark);
    open_engine();
    struct tg_tree *tree = spawn(with, script, 1, &fault);
    until(tree, TG_STARTED);
    while (marked(mark, NULL) < 4)
        usleep(1000);
    CHECK_EQUAL(tg_tree_kill(tree), 0);
    struct tg_event event = until(tree, TG_EMPTY);
    CHECK_EQUAL(event.signal, SIGKILL);
    tg_tree_free(tree);
    tg_engine_close(engine);
    return marked(mark, NULL);
}

static void an_escapee_is_ended_by_its_guard(void)
{
    CHECK_EQUAL(escapee(guard), 0);
}

/* A tracer keeps the escapee between its death and its reaping. In that state only the escapee itself shows which tree
 * it belongs to. */
static void what_was_killed_is_waited_for(void)
{
    struct tg_fault fault;
    struct tg_event event = {0};
    char script[64], mark[32];
    int escapee = 0, status = 0;
    snprintf(mark, sizeof mark, "78%d.5", (int)getpid());
    snprintf(script, sizeof script, "setsid sleep %s & wait", mark);
    open_engine();
    struct tg_tree *tree = spawn(guard, script, 1, &fault);
    while (marked(mark, &escapee) < 2 || !escapee)
        usleep(1000);
    int traced = ptrace(PTRACE_SEIZE, escapee, NULL, PTRACE_O_TRACEEXIT) == 0;
    CHECK_EQUAL(tg_tree_kill(tree), 0);
    while (traced && status >> 8 != (SIGTRAP | PTRACE_EVENT_EXIT << 8))
        CHECK_EQUAL(waitpid(escapee, &status, __WALL), escapee);
    struct pollfd p = {tg_engine_fd(engine), POLLIN, 0};
    while (traced && event.kind != TG_EMPTY && poll(&p, 1, 100) > 0)
        tg_engine_drain(engine, &event, 1);
    CHECK(event.kind != TG_EMPTY);
    if (traced)
        CHECK_EQUAL(ptrace(PTRACE_DETACH, escapee, NULL, NULL), 0);
    else
        fprintf(stderr, "nothing seen: tracing is not allowed (%s)\n", strerror(errno));
    until(tree, TG_EMPTY);
    tg_tree_free(tree);
    tg_engine_close(engine);
}

/* Control: the same experiment finds an escapee if there is one. */
static void an_escapee_of_a_group_stays(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    CHECK(escapee(NULL) > 0);
    /* They have become our children: first the leader of the session, then the sleep below it. */
    for (int status, pid; (pid = waitpid(-1, &status, WNOHANG)) >= 0;) {
        check_kill_children();
        usleep(1000);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void a_signal_reaches_the_group(void)
{
    struct tg_fault fault;
    open_engine();
    struct tg_tree *tree = spawn(guard, "exec sleep 1000", 1, &fault);
    until(tree, TG_STARTED);
    CHECK_EQUAL(tg_tree_signal(tree, SIGSTOP), 0);
    CHECK_EQUAL(until(tree, TG_STOPPED).signal, SIGSTOP);
    CHECK_EQUAL(tg_tree_signal(tree, SIGCONT), 0);
    until(tree, TG_CONTINUED);
    CHECK_EQUAL(tg_tree_signal(tree, SIGTERM), 0);
    CHECK_EQUAL(until(tree, TG_EMPTY).signal, SIGTERM);
    CHECK_EQUAL(tg_tree_signal(tree, SIGTERM), -ESRCH);
    CHECK_EQUAL(tg_tree_kill(tree), -ESRCH);
    tg_tree_free(tree);
    tg_engine_close(engine);
}

static void a_failed_start_leaves_nothing(void)
{
    struct tg_fault fault;
    struct tg_spec spec = {.guard = guard, .program = "/nonexistent", .args = "x", .args_size = 2, .nargs = 1,
                           .env = "", .stdio = {-1, 1, 2}, .options = {.terminal = -1}, .cgroup = -1, .lease = -1};
    open_engine();
    for (int guarded = 0; guarded < 2; guarded++) {
        spec.guard = guarded ? guard : NULL;
        struct tg_tree *tree = tg_tree_spawn(engine, &spec, 3, &fault);
        struct tg_event event = until(tree, TG_FAILED);
        CHECK_EQUAL(event.step, TG_STEP_EXEC);
        CHECK_EQUAL(event.err, ENOENT);
        tg_tree_free(tree);
    }
    spec.guard = "/nonexistent/guard";
    struct tg_tree *tree = tg_tree_spawn(engine, &spec, 3, &fault);
    struct tg_event event = until(tree, TG_FAILED);
    CHECK_EQUAL(event.step, TG_STEP_GUARD);
    tg_tree_free(tree);
    tg_engine_close(engine);
}

static void without_descriptors_nothing_is_started(void)
{
    struct rlimit saved, low;
    struct tg_fault fault = {0, 0};
    open_engine();
    getrlimit(RLIMIT_NOFILE, &saved);
    low = saved;
    low.rlim_cur = 4;
    setrlimit(RLIMIT_NOFILE, &low);
    struct tg_tree *tree = spawn(guard, "exit 0", 1, &fault);
    setrlimit(RLIMIT_NOFILE, &saved);
    CHECK(tree == NULL);
    CHECK_EQUAL(fault.err, EMFILE);
    tg_engine_close(engine);
}

static void a_lost_guard_is_noticed(void)
{
    struct tg_fault fault;
    char line[32] = "0", path[64];
    open_engine();
    struct tg_tree *tree = spawn(guard, "while :; do sleep 1; done", 8, &fault);
    until(tree, TG_STARTED);
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    CHECK(fscanf(f, "%31s", line) == 1);
    fclose(f);
    kill(atoi(line), SIGKILL);
    CHECK_EQUAL(until(tree, TG_LOST).tag, 8);
    tg_tree_free(tree);
    tg_engine_close(engine);
}

static void a_forked_copy_is_inert(void)
{
    struct tg_fault fault;
    struct tg_event event;
    int status;
    open_engine();
    struct tg_tree *tree = spawn(guard, "while :; do sleep 1; done", 1, &fault);
    until(tree, TG_STARTED);
    int copy = fork();
    if (copy == 0) {
        int wrong = tg_tree_kill(tree) != -EPERM || tg_tree_signal(tree, SIGTERM) != -EPERM ||
                    tg_engine_drain(engine, &event, 1) != -EPERM || spawn(guard, "exit 0", 2, &fault) != NULL;
        tg_tree_free(tree);
        tg_engine_forked(engine);
        tg_engine_close(engine);
        _exit(wrong);
    }
    CHECK(waitpid(copy, &status, 0) == copy && status == 0);
    CHECK_EQUAL(tg_engine_drain(engine, &event, 1), 0);
    CHECK_EQUAL(tg_tree_kill(tree), 0);
    until(tree, TG_EMPTY);
    tg_tree_free(tree);
    tg_engine_close(engine);
}

/* Returns what `kill -0` of a root says about its guard: 0 it may be signalled, 1 it may not; -1: no such root runs
 * here. */
static int64_t reached(int isolate)
{
    struct tg_fault fault;
    isolated = isolate;
    open_engine();
    struct tg_tree *tree = spawn(guard, "kill -0 $PPID 2>&-", 1, &fault);
    isolated = 0;
    struct tg_event event = next(tree);
    CHECK(event.kind == TG_STARTED || (isolate && event.kind == TG_FAILED && event.step == TG_STEP_ISOLATION));
    if (event.kind == TG_STARTED)
        event = until(tree, TG_EMPTY);
    tg_tree_free(tree);
    tg_engine_close(engine);
    return event.code;
}

/* Emulators and other systems have no Landlock. */
static void an_isolated_root_cannot_signal_its_guard(void)
{
    CHECK_EQUAL(reached(0), 0);
    CHECK(reached(1) != 0);
}

/* The root has number 2, and its orphan ends with the init. Emulators and other systems have no PID namespaces. */
static void a_root_in_a_pid_namespace_ends_with_its_init(void)
{
    struct tg_fault fault;
    if (strstr(guard, "valgrind/guard.sh") != NULL)
        return; /* valgrind knows no process that shares memory without being a thread or a vfork */
    isolated = TG_ISOLATE_PIDS;
    open_engine();
    struct tg_tree *tree = spawn(guard, "setsid sleep 1000 & exit $$", 1, &fault);
    isolated = 0;
    struct tg_event event = next(tree);
    if (event.kind == TG_FAILED) {
        CHECK(event.step == TG_STEP_PID_NAMESPACE || event.step == TG_STEP_USER_MAP || event.step == TG_STEP_MOUNT_PROC ||
              event.step == TG_STEP_CLONE);
    } else {
        CHECK_EQUAL(event.kind, TG_STARTED);
        CHECK(event.pid > 2);
        CHECK(tg_tree_init(tree) >= 0);
        CHECK_EQUAL(until(tree, TG_ENDED).code, 2);
        CHECK_EQUAL(tg_tree_kill(tree), 0);
        CHECK_EQUAL(until(tree, TG_EMPTY).code, 2);
    }
    tg_tree_free(tree);
    tg_engine_close(engine);
}

#ifndef WALKS
static void a_trial_leaves_an_orphan_to_be_ended(void)
{
    struct tg_fault fault;
    int ends[2];
    /* The orphan stays while the other end is open. */
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct tg_spec spec = {.guard = guard, .program = guard, .args = "guard\0trial", .args_size = 12, .nargs = 2,
                           .env = "", .stdio = {ends[1], 1, 2}, .options = {.terminal = -1}, .cgroup = -1, .lease = -1};
    open_engine();
    struct tg_tree *tree = tg_tree_spawn(engine, &spec, 1, &fault);
    CHECK_EQUAL(until(tree, TG_ENDED).code, 0);
    CHECK_EQUAL(tg_tree_kill(tree), 0);
    CHECK_EQUAL(until(tree, TG_EMPTY).code, 0);
    tg_tree_free(tree);
    tg_engine_close(engine);
    close(ends[0]);
    close(ends[1]);
}
#endif

#ifndef TG_BY_LIBC
/* Connects to a guard that waits at an address. */
static int connected(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path + 1, name, strlen(name));
    CHECK_EQUAL(connect(fd, (struct sockaddr *)&address, (socklen_t)size), 0);
    return fd;
}

static struct tg_tree *adopted(const char *name, int pid)
{
    struct tg_fault fault;
    struct tg_tree *tree = NULL;
    tg_tree_adopt_kept(engine, connected(name), pid, -1, 0, 2, &tree, &fault);
    CHECK(tree != NULL);
    return tree;
}

static void a_released_tree_is_taken_over(void)
{
    struct tg_fault fault;
    char name[64];
    snprintf(name, sizeof name, "treeguard-test.%d", (int)getpid());
    open_engine();
    struct tg_tree *tree = spawn(guard, "sleep 60 & sleep 60", 1, &fault);
    int root = until(tree, TG_STARTED).pid, pid = tg_tree_pid(tree);
    /* What is taken back leaves the tree as it was. */
    CHECK_EQUAL(tg_tree_release(tree, name), 0);
    CHECK_EQUAL(until(tree, TG_RELEASED).err, EAGAIN);
    CHECK_EQUAL(tg_tree_release(tree, name), 0);
    CHECK_EQUAL(until(tree, TG_RELEASED).err, 0);
    CHECK_EQUAL(tg_tree_answer(tree), 0);
    CHECK_EQUAL(tg_tree_retain(tree), 0);
    CHECK_EQUAL(tg_tree_release(tree, name), 0);
    CHECK_EQUAL(until(tree, TG_RELEASED).err, 0);
    /* The second time it is released already. */
    CHECK_EQUAL(tg_tree_release(tree, name), 0);
    CHECK_EQUAL(until(tree, TG_RELEASED).err, EALREADY);
    tg_tree_free(tree);
    /* Who hangs up before the end of a take-over leaves it released. */
    tree = adopted(name, pid);
    CHECK_EQUAL(until(tree, TG_STARTED).pid, root);
    tg_tree_free(tree);
    tree = adopted(name, pid);
    CHECK_EQUAL(until(tree, TG_STARTED).pid, root);
    struct tg_tree *late = adopted(name, pid);
    CHECK_EQUAL(tg_tree_retain(tree), 0);
    CHECK_EQUAL(until(late, TG_FAILED).err, ECONNREFUSED);
    tg_tree_free(late);
    CHECK_EQUAL(tg_tree_kill(tree), 0);
    CHECK_EQUAL(until(tree, TG_EMPTY).signal, SIGKILL);
    tg_tree_free(tree);
    tg_engine_close(engine);
    CHECK_EQUAL(waitpid(pid, NULL, 0), pid);
}
#endif

int main(int argc, char **argv)
{
    guard = argc > 1 ? argv[1] : "treeguard/treeguard-guard";
    if (argc > 2)
        tg_launch_method((enum tg_method)atoi(argv[2]));
    /* Enough descriptors to make children start on the table of their parent. */
    for (int n = argc > 3 ? atoi(argv[3]) : 0; n > 0; n--)
        CHECK(fcntl(2, F_DUPFD_CLOEXEC, 3) >= 0);
    RUN(a_guarded_life_is_told);
    RUN(a_guardless_life_is_told);
    RUN(an_escapee_is_ended_by_its_guard);
    RUN(what_was_killed_is_waited_for);
    RUN(an_escapee_of_a_group_stays);
    RUN(a_signal_reaches_the_group);
    RUN(a_failed_start_leaves_nothing);
    /* An emulator without pidfds has other limitations as well. */
    int pidfd = tg_pidfd_open(getpid());
    close(pidfd);
    if (pidfd >= 0)
        RUN(without_descriptors_nothing_is_started);
#ifndef TG_BY_LIBC
    if (pidfd >= 0)
        RUN(a_released_tree_is_taken_over);
#endif
    RUN(a_lost_guard_is_noticed);
    RUN(a_forked_copy_is_inert);
    RUN(an_isolated_root_cannot_signal_its_guard);
    RUN(a_root_in_a_pid_namespace_ends_with_its_init);
#ifndef WALKS   /* An orphan is lost on that system. */
    RUN(a_trial_leaves_an_orphan_to_be_ended);
#endif
    return 0;
}
