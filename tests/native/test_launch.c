/* Tests the start of a process, by each method that the kernel offers. */
#include "check.h"

#include "../../csrc/attributes.h"
#include "../../csrc/handover.h"
#include "../../csrc/launch.h"

#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

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
    l->cgroup = l->child.directory = l->child.joined = -1;
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
    l->child.directory = output[1];
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
    l->child.options = (struct tg_options){.terminal = 2, .new_session = 1};
    l->child.stdio[2] = output[1];
    fails(l, TG_STEP_PTY, ENOTTY);
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

static const struct tg_attributes *its_attributes;

static void a_child_dies_with_its_parent(void)
{
    int pids[2];
    CHECK(pipe(pids) == 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int parent = fork();
    if (parent == 0) {
        char *argv[] = {"/bin/sleep", "100", NULL};
        struct tg_launch *l = prepared(argv);
        l->child.attributes = its_attributes;
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

/* Attributes with something in each member, and with the highest number of groups. */
static struct tg_attributes *full(void)
{
    static struct tg_attributes a;
    for (size_t i = 0; i < sizeof a; i++)
        ((unsigned char *)&a)[i] = (unsigned char)(i * 41);
    a.ngroups = TG_MAX_GROUPS;
    return &a;
}

static void a_handover_is_read_as_it_was_written(void)
{
    static struct tg_attributes none, had;
    struct tg_handover written, read;
    struct tg_attributes *a = full();
    char text[2 * (sizeof written + sizeof *a) + 1];
    for (size_t i = 0; i < sizeof written; i++)
        ((unsigned char *)&written)[i] = (unsigned char)(i * 37);
    tg_handover_write(text, &written, NULL);
    CHECK_EQUAL(strlen(text) + 1, tg_handover_room(NULL));
    CHECK(tg_handover_read(text, &read, &none));
    CHECK(memcmp(&written, &read, sizeof read) == 0);
    CHECK_EQUAL(none.given, 0);
    tg_handover_write(text, &written, a);
    CHECK_EQUAL(strlen(text) + 1, tg_handover_room(a));
    CHECK_EQUAL(strlen(text) + 1, sizeof text);
    CHECK(tg_handover_read(text, &read, &had));
    CHECK(memcmp(&written, &read, sizeof read) == 0 && memcmp(a, &had, sizeof had) == 0);
}

static void refuses_spoiled(const struct tg_attributes *attributes)
{
    static struct tg_attributes had;
    static char text[2 * (sizeof(struct tg_handover) + sizeof had) + 2];
    struct tg_handover written = {.lifeline = 5}, read;
    size_t length = tg_handover_room(attributes) - 1, whole = tg_handover_room(NULL) - 1;
    for (size_t at = 0; at < length; at++) {
        tg_handover_write(text, &written, attributes);
        text[at] = "gG/:`@ "[at % 7];
        CHECK(!tg_handover_read(text, &read, &had));
        text[at] = 0;
        /* Without all of its attributes it is whole. */
        CHECK_EQUAL(tg_handover_read(text, &read, &had), at == whole);
    }
    tg_handover_write(text, &written, attributes);
    strcat(text, "0");
    CHECK(!tg_handover_read(text, &read, &had));
}

static void a_handover_of_another_size_or_with_other_characters_is_refused(void)
{
    struct tg_attributes *a = full();
    refuses_spoiled(NULL);
    a->ngroups = 2;
    refuses_spoiled(a);
    a->ngroups = 0;
    refuses_spoiled(a);
}

static void a_handover_with_too_many_groups_is_refused(void)
{
    static struct tg_attributes had;
    static char text[4 * sizeof had];
    struct tg_handover written = {.lifeline = 5}, read;
    struct tg_attributes *a = full();
    a->ngroups = TG_MAX_GROUPS;
    tg_handover_write(text, &written, a);
    /* The number in front of the groups, in the order of this machine's bytes; and a group more. */
    size_t at = 2 * (sizeof written + offsetof(struct tg_attributes, ngroups));
    uint32_t more = TG_MAX_GROUPS + 1;
    for (size_t i = 0; i < sizeof more; i++)
        snprintf(text + at + 2 * i, 3, "%02x", ((unsigned char *)&more)[i]);
    text[at + 2 * sizeof more] = '0';
    strcat(text, "00000000");
    CHECK(!tg_handover_read(text, &read, &had));
}

/* Returns a CPU that this process may use. */
static int own_cpu(void)
{
    cpu_set_t cpus;
    int cpu = 0;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    while (!CPU_ISSET(cpu, &cpus))
        cpu++;
    return cpu;
}

static int own_score(void)
{
    int score = 0;
    FILE *f = fopen("/proc/self/oom_score_adj", "r");
    CHECK(f && fscanf(f, "%d", &score) == 1 && fclose(f) == 0);
    return score;
}

/* This memory is shared with children that do not change what belongs to it. */
static struct tg_attributes attributes;

static struct tg_attributes *given(uint32_t which)
{
    memset(&attributes, 0, sizeof attributes);
    attributes.given = which;
    return &attributes;
}

static void a_child_has_its_attributes(void)
{
    char *argv[] = {"/bin/sh", "-c", "umask; nice; ulimit -St; ulimit -Ht; cat /proc/self/oom_score_adj;"
                                     "grep Cpus_allowed_list /proc/self/status", NULL};
    char text[256], wanted[256];
    int score = own_score(), cpu = own_cpu(), before = getpriority(PRIO_PROCESS, 0);
    struct tg_launch *l = prepared(argv);
    struct tg_attributes *a = given(TG_GIVEN_UMASK | TG_GIVEN_NICE | TG_GIVEN_RLIMITS | TG_GIVEN_OOM_SCORE_ADJ |
                                    TG_GIVEN_CPU_AFFINITY);
    a->umask = 027;
    a->nice = 3;
    a->oom_score_adj = score + 5;
    /* Not of descriptors: valgrind keeps some for itself, and refuses to lower that limit. */
    a->which_rlimits = 1 << RLIMIT_CPU;
    a->rlimits[RLIMIT_CPU] = (struct tg_rlimit){50, 60};
    a->cpu_affinity[cpu / 64] = 1ULL << cpu % 64;
    l->child.attributes = a;
    CHECK_EQUAL(launch(l, 1), 0);
    await(l);
    CHECK_EQUAL(l->child.fault.step, TG_STEP_NONE);
    finish(l, text, sizeof text);
    snprintf(wanted, sizeof wanted, "0027\n%d\n50\n60\n%d\nCpus_allowed_list:\t%d\n",
             before + 3 > 19 ? 19 : before + 3, score + 5, cpu);
    CHECK(strcmp(text, wanted) == 0);
    /* Those of the parent stay as they were. */
    CHECK_EQUAL(own_score(), score);
    CHECK_EQUAL(getpriority(PRIO_PROCESS, 0), before);
}

static void each_attribute_fails_with_its_own_step(void)
{
    char *sh[] = {"/bin/sh", NULL};
    struct tg_launch *l = prepared(sh);
    struct tg_attributes *a = given(TG_GIVEN_OOM_SCORE_ADJ);
    a->oom_score_adj = -2000;
    l->child.attributes = a;
    fails(l, TG_STEP_OOM_SCORE_ADJ, EINVAL);
    l = prepared(sh);
    l->child.attributes = given(TG_GIVEN_CPU_AFFINITY);
    fails(l, TG_STEP_CPU_AFFINITY, EINVAL);
    l = prepared(sh);
    a = given(TG_GIVEN_RLIMITS);
    a->which_rlimits = 1 << RLIMIT_NOFILE;
    a->rlimits[RLIMIT_NOFILE] = (struct tg_rlimit){2, 1};
    l->child.attributes = a;
    fails(l, TG_STEP_RLIMITS, EINVAL);
    if (geteuid() == 0)
        return;
    l = prepared(sh);
    a = given(TG_GIVEN_NICE);
    a->nice = -1;
    l->child.attributes = a;
    fails(l, TG_STEP_NICE, EACCES);
    l = prepared(sh);
    l->child.attributes = given(TG_GIVEN_GROUPS);
    fails(l, TG_STEP_GROUPS, EPERM);
    l = prepared(sh);
    l->child.attributes = given(TG_GIVEN_GROUP);
    fails(l, TG_STEP_GROUP, EPERM);
    l = prepared(sh);
    l->child.attributes = given(TG_GIVEN_USER);
    CHECK_EQUAL(tg_check_reach(l->child.attributes), 0); /* it cannot even be started */
    fails(l, TG_STEP_USER, EPERM);
}

/* Runs a test as an ordinary user in a process of its own, if this process is root's. */
static void as_an_ordinary_user(void (*test)(void))
{
    int status = -1, pid = geteuid() == 0 ? fork() : 0;
    if (pid == 0 && geteuid() == 0) {
        CHECK(setgroups(0, NULL) == 0 && setregid(54321, 54321) == 0 && setreuid(54321, 54321) == 0);
        /* As for a process that such a user has started. */
        prctl(PR_SET_DUMPABLE, 1);
        test();
        _exit(check_failures != 0);
    }
    if (pid == 0)
        test();
    else
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void an_ordinary_user_has_fewer_attributes(void)
{
    as_an_ordinary_user(each_attribute_fails_with_its_own_step);
    as_an_ordinary_user(a_child_has_its_attributes);
}

static struct tg_attributes *another_user(void)
{
    struct tg_attributes *a = given(TG_GIVEN_USER | TG_GIVEN_GROUP | TG_GIVEN_GROUPS);
    a->user = 12345;
    a->group = 23456;
    a->ngroups = 2;
    a->groups[0] = 7;
    a->groups[1] = 70000;
    return a;
}

/* A change of user changes the memory of a process (prctl(2), PR_SET_DUMPABLE): not that of the parent. */
static void a_child_may_be_another_user(void)
{
    char *argv[] = {"/bin/sh", "-c", "grep -E '^(Uid|Gid|Groups):' /proc/self/status", NULL};
    char text[256];
    if (geteuid() != 0)
        return;
    struct tg_launch *l = prepared(argv);
    l->child.attributes = another_user();
    CHECK_EQUAL(tg_check_reach(l->child.attributes), 0);
    CHECK_EQUAL(launch(l, 1), 0);
    await(l);
    CHECK_EQUAL(l->child.fault.step, TG_STEP_NONE);
    finish(l, text, sizeof text);
    CHECK(strcmp(text, "Uid:\t12345\t12345\t12345\t12345\nGid:\t23456\t23456\t23456\t23456\n"
                       "Groups:\t7 70000 \n") == 0);
    CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 1);
    CHECK_EQUAL(geteuid(), 0);
}

static void another_user_dies_with_its_parent_too(void)
{
    if (geteuid() != 0)
        return;
    its_attributes = another_user();
    a_child_dies_with_its_parent();
    its_attributes = NULL;
}

int main(int argc, char **argv)
{
    const char *name[] = {"clone3", "clone", "fork"};
    /* For an emulator that supports one method only. */
    int first = argc > 1 ? atoi(argv[1]) : TG_METHOD_CLONE3;
    RUN(a_handover_is_read_as_it_was_written);
    RUN(a_handover_of_another_size_or_with_other_characters_is_refused);
    RUN(a_handover_with_too_many_groups_is_refused);
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
        RUN(a_child_has_its_attributes);
        RUN(each_attribute_fails_with_its_own_step);
        RUN(an_ordinary_user_has_fewer_attributes);
        RUN(a_child_may_be_another_user);
        RUN(another_user_dies_with_its_parent_too);
    }
    return 0;
}
