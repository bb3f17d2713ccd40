/* Tests the peculiarities of a kqueue: an end is reported once, possibly before the process can be waited for, and
 * never if it came before the registration. A forked copy has no queue. Runs on Linux only, with the replacement, which
 * tests can control. */
#include "check.h"

#include "../../csrc/engine.h"
#include "../../csrc/launch.h"
#include "../../csrc/queue.h"
#include "../../csrc/tree.h"
#include "../../csrc/watch.h"

#include <poll.h>
#include <signal.h>
#include <sys/event.h>
#include <sys/socket.h>

static struct tg_engine *engine;

static struct tg_tree *spawn_reading(const char *script, int in)
{
    struct tg_fault fault;
    char args[200];
    size_t size = (size_t)snprintf(args, sizeof args, "sh%c-c%c%s", 0, 0, script) + 1;
    struct tg_spec spec = {
        .program = "/bin/sh", .args = args, .args_size = size, .nargs = 3, .env = "", .stdio = {in, 1, 2},
        .options = {.terminal = -1}, .cgroup = -1, .lease = -1,
    };
    engine = tg_engine_open(&fault);
    CHECK(engine != NULL);
    struct tg_tree *tree = tg_tree_spawn(engine, &spec, 7, &fault);
    CHECK(tree != NULL);
    return tree;
}

static struct tg_tree *spawn(const char *script)
{
    return spawn_reading(script, -1);
}

static int readable(int fd, int timeout)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, timeout) == 1;
}

static struct tg_event until(struct tg_tree *tree, int kind)
{
    struct tg_event event = {0};
    for (int tries = 0; tries < 20000 && event.kind != kind; tries++)
        if (!tg_tree_poll(tree, &event) && tg_engine_drain(engine, &event, 1) != 1)
            usleep(1000);
    CHECK_EQUAL(event.kind, kind);
    return event;
}

static void let_go(struct tg_tree *tree)
{
    tg_tree_free(tree);
    tg_engine_close(engine);
}

static int child(int code)
{
    int pid = fork();
    if (pid == 0)
        _exit(code);
    return pid;
}

static void an_end_is_told_to_whom_it_concerns(void)
{
    void *who[4];
    int queue = tg_queue_open(), marker, status, gate[2];
    CHECK(pipe(gate) == 0);
    int pid = fork();
    if (pid == 0)
        _exit((int)read(gate[0], &marker, 1) + 5);
    CHECK_EQUAL(tg_queue_add_child(queue, pid, -1, &marker), 0);
    CHECK_EQUAL(tg_queue_take(queue, who, 4), 0);
    CHECK(write(gate[1], "x", 1) == 1);
    CHECK(readable(queue, 10000));
    CHECK_EQUAL(tg_queue_take(queue, who, 4), 1);
    CHECK(who[0] == &marker);
    CHECK_EQUAL(tg_queue_take(queue, who, 4), 0);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 6);
    close(gate[0]);
    close(gate[1]);
    tg_queue_close(queue, 1);
}

static void who_has_ended_cannot_be_registered(void)
{
    siginfo_t info;
    int queue = tg_queue_open(), pid = child(0);
    CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    CHECK_EQUAL(tg_queue_add_child(queue, pid, -1, NULL), -ESRCH);
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK_EQUAL(tg_queue_add_child(queue, pid, -1, NULL), -ESRCH);
    tg_queue_close(queue, 1);
}

static void a_root_that_ended_before_it_was_watched_is_polled(void)
{
    struct tg_event event;
    shim_refuse_next_process = 1;
    struct tg_tree *tree = spawn("exit 5");
    CHECK(tg_tree_polled(tree));
    CHECK_EQUAL(until(tree, TG_STARTED).pid, tg_tree_pid(tree));
    event = until(tree, TG_EMPTY);
    CHECK_EQUAL(event.code, 5);
    CHECK_EQUAL(tg_engine_drain(engine, &event, 1), 0);
    let_go(tree);
}

static void an_end_told_too_early_is_waited_for(void)
{
    struct tg_event events[8] = {{0}};
    struct tg_tree *tree = spawn("exec sleep 1000");
    until(tree, TG_STARTED);
    CHECK(!tg_tree_polled(tree));
    shim_tell_end(tg_tree_pid(tree));
    CHECK(readable(tg_engine_fd(engine), 10000));
    CHECK_EQUAL(tg_engine_drain(engine, events, 8), 1);
    CHECK_EQUAL(events[0].kind, TG_CLOSING);
    CHECK(tg_tree_polled(tree));
    CHECK_EQUAL(tg_tree_poll(tree, events), 0);
    CHECK(!readable(tg_engine_fd(engine), 0));
    CHECK_EQUAL(tg_tree_kill(tree), 0);
    CHECK_EQUAL(until(tree, TG_EMPTY).signal, SIGKILL);
    let_go(tree);
}

/* An end that was reported must not get lost if the batch was full. It comes after the root is watched; otherwise the
 * tree would be polled. */
static void a_short_life_is_told_in_small_batches(void)
{
    struct tg_event event = {0};
    int gate[2];
    CHECK(pipe(gate) == 0);
    struct tg_tree *tree = spawn_reading("read word; exit 5", gate[0]);
    CHECK(tree->watched);
    CHECK(write(gate[1], "on\n", 3) == 3);
    CHECK(readable(tg_engine_fd(engine), 10000));
    CHECK_EQUAL(tg_engine_drain(engine, &event, 1), 1);
    CHECK_EQUAL(event.kind, TG_STARTED);
    CHECK_EQUAL(until(tree, TG_EMPTY).code, 5);
    close(gate[0]);
    close(gate[1]);
    let_go(tree);
}

/* In a forked copy the number of the missing queue may belong to another file. */
static void a_forked_copy_closes_no_stranger(void)
{
    int status;
    struct tg_tree *tree = spawn("exec sleep 1000");
    until(tree, TG_STARTED);
    int queue = tg_engine_fd(engine), copy = fork();
    if (copy == 0) {
        int stranger = dup2(1, queue);
        let_go(tree);
        _exit(stranger == queue && fcntl(queue, F_GETFD) >= 0 ? 0 : 1);
    }
    CHECK(waitpid(copy, &status, 0) == copy && status == 0);
    CHECK_EQUAL(tg_tree_kill(tree), 0);
    until(tree, TG_EMPTY);
    let_go(tree);
}

/* The environment of a guard: all signals blocked. The exit status of the process is the result. */
static int in_a_guard(int (*body)(struct tg_watch *watch, int other_end))
{
    int status, ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    int pid = fork();
    if (pid == 0) {
        struct tg_watch watch = {.lifeline = ends[0], .supervisor = -1, .supervisor_pid = getppid()};
        tg_held_signals held;
        alarm(30);
        tg_hold_signals(&held);
        _exit(tg_watch_open(&watch) < 0 ? 99 : body(&watch, ends[1]));
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    close(ends[0]);
    close(ends[1]);
    return status;
}

static int sees_all(struct tg_watch *watch, int other_end)
{
    if (watch->blind || tg_watch_all(watch, 0))
        return 1;
    child(0);
    if (tg_watch_all(watch, 10000) != TG_SEEN_DEATH || tg_watch_all(watch, 0))
        return 2;
    if (write(other_end, "x", 1) != 1 || tg_watch_all(watch, 10000) != TG_SEEN_LIFELINE)
        return 3;
    shim_tell_end(watch->supervisor_pid);
    return tg_watch_all(watch, 10000) & TG_SEEN_SUPERVISOR ? 0 : 4;
}

/* A closed lifeline is always ready. A wait for a death only must not report it. */
static int sees_deaths_alone(struct tg_watch *watch, int other_end)
{
    close(other_end);
    if (tg_watch_deaths(watch, 20))
        return 1;
    child(0);
    return tg_watch_deaths(watch, 10000) ? 0 : 2;
}

static int looks_at_a_parent_that_is_not_told(struct tg_watch *watch, int other_end)
{
    (void)other_end;
    close(watch->queue);
    shim_refuse_next_process = 1;
    if (tg_watch_open(watch) < 0 || !watch->blind)
        return 1;
    close(watch->queue);
    watch->supervisor_pid = 1;
    return tg_watch_open(watch) == 0 && watch->blind ? 0 : 2;
}

static void a_guard_sees_what_it_waits_for(void)
{
    CHECK_EQUAL(in_a_guard(sees_all), 0);
    CHECK_EQUAL(in_a_guard(sees_deaths_alone), 0);
    CHECK_EQUAL(in_a_guard(looks_at_a_parent_that_is_not_told), 0);
}

int main(void)
{
    RUN(an_end_is_told_to_whom_it_concerns);
    RUN(who_has_ended_cannot_be_registered);
    RUN(a_root_that_ended_before_it_was_watched_is_polled);
    RUN(an_end_told_too_early_is_waited_for);
    RUN(a_short_life_is_told_in_small_batches);
    RUN(a_forked_copy_closes_no_stranger);
    RUN(a_guard_sees_what_it_waits_for);
    return 0;
}
