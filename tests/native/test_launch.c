/* Tests the start of a process, by each method that the kernel offers. */
#include "check.h"

#include "../../csrc/handover.h"
#include "../../csrc/launch.h"

#include <sys/prctl.h>

static enum tg_method method;
static int share_table;

static int output[2];

/* Launches /bin/sh -c SCRIPT with a pipe as standard output. */
static struct tg_launch *prepared(char *const *argv)
{
    static char *const no_env[] = {NULL};
    static struct tg_fd_range range;
    struct tg_launch *l = aligned_alloc(_Alignof(struct tg_launch), sizeof *l);
    memset(l, 0, sizeof *l);
    CHECK(pipe2(output, O_CLOEXEC) == 0);
    range = (struct tg_fd_range){3, INT32_MAX};
    l->child.program = argv[0];
    l->child.argv = argv;
    l->child.envp = no_env;
    l->child.close_ranges = &range;
    l->child.nclose_ranges = 1;
    l->child.stdio[0] = 0;
    l->child.stdio[1] = output[1];
    l->child.stdio[2] = 2;
    l->child.options.terminal = -1;
    l->cgroup = -1;
    l->child.parent = (int)tg_getpid();
    return l;
}

static int launch(struct tg_launch *l, int want_pidfd)
{
    tg_held_signals held;
    tg_launch_method(method);
    tg_hold_signals(&held);
    l->share_table = share_table;
    int ret = tg_launch(l, want_pidfd);
    tg_release_signals(&held);
    close(output[1]);
    return ret;
}

static void await(struct tg_launch *l)
{
    while (!tg_launch_done(l, 50))
        ;
}

static int finish(struct tg_launch *l, char *ret_text, size_t room)
{
    int status = -1;
    size_t at = 0;
    long got;
    while (at < room - 1 && (got = read(output[0], ret_text + at, room - 1 - at)) > 0)
        at += (size_t)got;
    ret_text[at] = 0;
    close(output[0]);
    CHECK(waitpid(l->pid, &status, 0) == l->pid);
    if (l->pidfd >= 0)
        close(l->pidfd);
    free(l);
    return status;
}

static void a_program_runs_and_is_told_so(void)
{
    char *argv[] = {"/bin/sh", "-c", "echo $0 $1; exit 7", "a", "b", NULL};
    char text[64];
    struct tg_launch *l = prepared(argv);
    CHECK_EQUAL(launch(l, 1), 0);
    await(l);
    CHECK_EQUAL(l->child.fault.step, TG_STEP_NONE);
    int pidfd = tg_pidfd_open(l->pid);
    CHECK((l->pidfd >= 0) == (pidfd >= 0)); /* an emulator may not support them */
    close(pidfd);
    int status = finish(l, text, sizeof text);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    CHECK(strcmp(text, "a b\n") == 0);
}

static void fails(struct tg_launch *l, int step, int err)
{
    char text[64];
    CHECK_EQUAL(launch(l, 0), 0);
    await(l);
    CHECK_EQUAL(l->child.fault.step, step);
    CHECK_EQUAL(l->child.fault.err, err);
    int status = finish(l, text, sizeof text);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 127);
}

static void a_failure_comes_with_step_and_errno(void)
{
    char *missing[] = {"/nonexistent", NULL};
    fails(prepared(missing), TG_STEP_EXEC, ENOENT);
    char *directory[] = {"/", NULL};
    fails(prepared(directory), TG_STEP_EXEC, EACCES);
    char *sh[] = {"/bin/sh", NULL};
    struct tg_launch *l = prepared(sh);
    l->child.cwd = "/dev/null";
    fails(l, TG_STEP_CWD, ENOTDIR);
    l = prepared(sh);
    l->child.stdio[0] = 200;
    fails(l, TG_STEP_STDIO, EBADF);
    static const int32_t closed[] = {201};
    l = prepared(sh);
    l->child.pass = closed;
    l->child.npass = 1;
    fails(l, TG_STEP_PASS_FDS, EBADF);
    l = prepared(sh);
    l->child.options.terminal = 2;
    l->child.stdio[2] = output[1];
    fails(l, TG_STEP_TERMINAL, ENOTTY);
    l = prepared(sh);
    l->child.parent = 1 << 30;
    fails(l, TG_STEP_PARENT, ESRCH);
}

static void standard_streams_may_trade_places(void)
{
    char *argv[] = {"/bin/sh", "-c", "echo to two >&2; echo to one", NULL};
    char text[64];
    struct tg_launch *l = prepared(argv);
    /* Swaps the standard streams, so that every source is itself a standard stream. */
    int saved[3] = {fcntl(0, F_DUPFD_CLOEXEC, 10), fcntl(1, F_DUPFD_CLOEXEC, 10), fcntl(2, F_DUPFD_CLOEXEC, 10)};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(output[1], 2);
    dup2(null, 1);
    l->child.stdio[1] = 2;
    l->child.stdio[2] = 1;
    int ret = launch(l, 0);
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
    close(null);
    CHECK_EQUAL(ret, 0);
    await(l);
    finish(l, text, sizeof text);
    CHECK(strcmp(text, "to one\n") == 0);
}

static void descriptors_survive_only_when_passed(void)
{
    char *argv[] = {"/bin/sh", "-c", "for i in 3 4 5 6 7 8 9; do { true <&$i; } 2>/dev/null && echo $i; done", NULL};
    char text[64];
    struct tg_launch *l = prepared(argv);
    static const int32_t pass[] = {8};
    struct tg_fd_range close_ranges[] = {{3, 7}, {9, INT32_MAX}};
    int saved[3];
    for (int i = 0; i < 3; i++)
        saved[i] = dup2(0, 7 + i);
    l->child.pass = pass;
    l->child.npass = 1;
    l->child.close_ranges = close_ranges;
    l->child.nclose_ranges = 2;
    CHECK_EQUAL(launch(l, 0), 0);
    await(l);
    finish(l, text, sizeof text);
    for (int i = 0; i < 3; i++)
        CHECK(close(saved[i]) == 0); /* our descriptors are still open */
    CHECK(strcmp(text, "8\n") == 0);
}

static void signals_begin_at_their_default(void)
{
    /* SigIgn of a shell that reads its own status: exactly the signals that were asked for. */
    char *argv[] = {"/bin/sh", "-c", "exec grep -E 'Sig(Blk|Ign)' /proc/self/status", NULL};
    char text[128];
    void (*before)(int) = signal(SIGUSR1, SIG_IGN);
    struct tg_launch *l = prepared(argv);
    l->child.ignore = TG_SIGNAL_BIT(SIGHUP);
    CHECK_EQUAL(launch(l, 0), 0);
    await(l);
    finish(l, text, sizeof text);
    signal(SIGUSR1, before);
    CHECK(strcmp(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\n") == 0);
}

static void a_child_leads_its_own_group(void)
{
    char *argv[] = {"/bin/sh", "-c", "set -- $(cat /proc/$$/stat); echo $(($1 - $5))", NULL};
    char text[64];
    struct tg_launch *l = prepared(argv);
    CHECK_EQUAL(launch(l, 0), 0);
    await(l);
    finish(l, text, sizeof text);
    CHECK(strcmp(text, "0\n") == 0);
}

static void a_child_dies_with_its_parent(void)
{
    int pids[2];
    CHECK(pipe(pids) == 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int parent = fork();
    if (parent == 0) {
        char *argv[] = {"/bin/sleep", "100", NULL};
        struct tg_launch *l = prepared(argv);
        if (launch(l, 0) == 0)
            await(l);
        if (write(pids[1], &l->pid, sizeof l->pid) < 0)
            _exit(1);
        raise(SIGKILL);
    }
    int child = 0, status = 0;
    CHECK(read(pids[0], &child, sizeof child) == sizeof child);
    CHECK(waitpid(parent, NULL, 0) == parent);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    close(pids[0]);
    close(pids[1]);
}

static void a_handover_is_read_as_it_was_written(void)
{
    struct tg_handover written, read;
    char text[TG_HANDOVER_TEXT];
    for (size_t i = 0; i < sizeof written; i++)
        ((unsigned char *)&written)[i] = (unsigned char)(i * 37);
    tg_handover_write(text, &written);
    CHECK_EQUAL(strlen(text), 2 * sizeof written);
    CHECK(tg_handover_read(text, &read));
    CHECK(memcmp(&written, &read, sizeof read) == 0);
}

static void a_handover_of_another_size_or_with_other_characters_is_refused(void)
{
    struct tg_handover written = {.lifeline = 5}, read;
    char text[TG_HANDOVER_TEXT + 1];
    for (size_t at = 0; at < 2 * sizeof written; at++) {
        tg_handover_write(text, &written);
        text[at] = "gG/:`@ "[at % 7];
        CHECK(!tg_handover_read(text, &read));
        text[at] = 0;
        CHECK(!tg_handover_read(text, &read));
    }
    tg_handover_write(text, &written);
    strcat(text, "0");
    CHECK(!tg_handover_read(text, &read));
}

int main(int argc, char **argv)
{
    const char *name[] = {"clone3", "clone", "fork"};
    /* For an emulator that supports one method only. */
    int first = argc > 1 ? atoi(argv[1]) : TG_METHOD_CLONE3;
    RUN(a_handover_is_read_as_it_was_written);
    RUN(a_handover_of_another_size_or_with_other_characters_is_refused);
    for (int way = 2 * first; way <= 2 * TG_METHOD_FORK + 1; way++) {
        method = (enum tg_method)(way / 2);
        share_table = way % 2;
        fprintf(stderr, "by %s%s\n", name[method], share_table ? ", on the parent's table" : "");
        RUN(a_program_runs_and_is_told_so);
        RUN(a_failure_comes_with_step_and_errno);
        RUN(standard_streams_may_trade_places);
        RUN(descriptors_survive_only_when_passed);
        RUN(signals_begin_at_their_default);
        RUN(a_child_leads_its_own_group);
        RUN(a_child_dies_with_its_parent);
    }
    return 0;
}
