/* main.c - a tree that attacks what keeps it: everything that a process may do to another one of the same user.
 *
 *     hostile MARKER FD LIFE ATTACK[=PLACE][,ATTACK[=PLACE]...] [once|loop] [guard|supervisor|stand-in|anybody|capable]
 *
 * As in adversary.c, MARKER stays in the command line of every member for a judge to find, members end when nobody reads the
 * pipe FD any more, and after LIFE seconds. For each attack the root has a child, which makes it once or again and again,
 * and writes lines "ATTACK STEP ERRNO" to FD: of the first time alone, with "ATTACK ready 0" as the last one. Its first
 * is "ATTACK pid PID", and the next child is started when one is ready. A step "try_..." may fail. The victim is the root's parent, a guard, or
 * that one's parent; or a stand-in for a guard: a process of this program without a guard's defences, to see what the
 * attack does to one. "anybody": whoever can be found (targets.c); "capable": the same with the capabilities of a user
 * namespace of its own. SIGTERM to a child ends its attack. */
#define _GNU_SOURCE
#include "hostile.h"

#include "../../../csrc/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

pid_t victim, supervisor, root;
int victim_handle = -1;
const char *place;
unsigned long round_number;
attack_fn *undo;

static char **args;
static const char *attack_name;
static int report_fd;
static int anybody, capable;
static int starting = -1; /* closed when this child is ready */
static double deadline;
static volatile sig_atomic_t told_to_end;

/* How long a child may take to be ready until the next is started, in milliseconds. */
enum { READY_WAIT = 5000 };

static const struct attack {
    const char *name;
    attack_fn *fn;
} attacks[] = {
    {"stop", stop},
    {"stop_by_session", stop_by_session},
    {"stop_newborns", stop_newborns},
    {"resume", resume},
    {"kill_guard", kill_guard},
    {"flood", flood},
    {"flood_deaths", flood_deaths},
    {"seize", seize},
    {"attach", attach},
    {"overwrite", overwrite},
    {"overwrite_file", overwrite_file},
    {"limit_nofile", limit_nofile},
    {"limit_as", limit_as},
    {"limit_data", limit_data},
    {"limit_stack", limit_stack},
    {"limit_cpu", limit_cpu},
    {"limit_fsize", limit_fsize},
    {"limit_sigpending", limit_sigpending},
    {"limit_nproc", limit_nproc},
    {"limit_msgqueue", limit_msgqueue},
    {"limit_rttime", limit_rttime},
    {"limit_memlock", limit_memlock},
    {"limit_core", limit_core},
    {"limit_all", limit_all},
    {"take_descriptors", take_descriptors},
    {"flee_with_descriptors", flee_with_descriptors},
    {"open_descriptors", open_descriptors},
    {"forge_empty", forge_empty},
    {"hang_up", hang_up},
    {"hang_up_above", hang_up_above},
    {"give_orders", give_orders},
    {"steal_events", steal_events},
    {"move_guard_in", move_guard_in},
    {"move_guard_out", move_guard_out},
    {"move_guard_into_frozen", move_guard_into_frozen},
    {"move_guard_into_freezer", move_guard_into_freezer},
    {"move_self_out", move_self_out},
    {"move_self_into_freezer", move_self_into_freezer},
    {"move_supervisor_in", move_supervisor_in},
    {"freeze_leaf", freeze_leaf},
    {"freeze_all", freeze_all},
    {"dig_deep", dig_deep},
    {"shut_files", shut_files},
    {"forbid_cgroups", forbid_cgroups},
    {"oom_score", oom_score},
    {"coredump_filter", coredump_filter},
    {"autogroup", autogroup},
    {"timer_slack", timer_slack},
    {"nice_19", nice_19},
    {"sched_idle", sched_idle},
    {"one_busy_cpu", one_busy_cpu},
    {"io_idle", io_idle},
    {"set_group", set_group},
    {"leave_leader", leave_leader},
    {"leave_leader_in_session", leave_leader_in_session},
    {"grow_heads", grow_heads},
    {"be_daemon", be_daemon},
    {"enter", enter},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int over(int timeout)
{
    struct pollfd p = {report_fd, 0, 0};
    return told_to_end || (poll(&p, 1, timeout) > 0 && p.revents & POLLERR) || now() >= deadline || told_to_end;
}

static void let_next_start(void)
{
    if (starting >= 0)
        close(starting);
    starting = -1;
}

void stay(void)
{
    let_next_start();
    while (!over((int)((deadline - now()) * 1000) + 1))
        ;
    if (undo && !gone())
        undo();
    _exit(0);
}

int gone(void)
{
    struct pollfd p = {victim_handle, POLLIN, 0};
    return victim_handle >= 0 && poll(&p, 1, 0) > 0;
}

void told(const char *step, int err)
{
    char line[256];
    if (round_number > 0)
        return;
    int size = snprintf(line, sizeof line, "%s %s %d\n", attack_name, step, err);
    while (write(report_fd, line, (size_t)size) < 0 && errno == EINTR)
        ;
    if (strcmp(step, "ready") == 0)
        let_next_start();
}

void told_ret(const char *step, long ret)
{
    told(step, ret < 0 ? errno : 0);
}

int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int err = write(fd, text, strlen(text)) < 0 ? errno : 0;
    close(fd);
    return err;
}

int put_number(const char *path, long number)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", number);
    return put(path, text);
}

pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return 0;
    text[size] = 0;
    const char *end = strrchr(text, ')');
    return end && strlen(end) > 4 ? atoi(end + 4) : 0;
}

void begin_anew(void)
{
    char fd[16], *argv[] = {args[0], args[1], args[2], args[3], (char *)(size_t)attack_name, "anew", fd, NULL};
    char *envp[] = {NULL};
    snprintf(fd, sizeof fd, "%d", starting);
    execve("/proc/self/exe", argv, envp);
    _exit(1);
}

int begun_anew(void)
{
    return !environ || !*environ;
}

static const struct attack *named(const char *name)
{
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
        if (strcmp(name, attacks[i].name) == 0)
            return &attacks[i];
    fprintf(stderr, "hostile: no attack %s\n", name);
    exit(2);
}

static void end(int signal)
{
    (void)signal;
    told_to_end = 1;
}

static void make_once(attack_fn *fn)
{
    if (anybody)
        attack_targets(fn);
    else if (!gone()) /* the number of a victim that has ended may be a stranger's */
        fn();
}

_Noreturn static void make(char *text, int again)
{
    char *split = strchr(text, '=');
    if (split) {
        *split = 0;
        place = split + 1;
    }
    const struct attack *attack = named(text);
    attack_name = attack->name;
    signal(SIGTERM, end);
    told("pid", getpid());
    if (capable)
        gain_capabilities();
    make_once(attack->fn);
    told("ready", 0);
    for (round_number = 1; again && !gone() && !over(0); round_number++)
        make_once(attack->fn);
    stay();
}

static void start(char *text, int again)
{
    int ends[2];
    pid_t pid;
    if (pipe(ends) < 0)
        exit(2);
    while ((pid = fork()) < 0 && !over(1))
        ;
    if (pid == 0) {
        close(ends[0]);
        starting = ends[1];
        make(text, again);
    }
    close(ends[1]);
    struct pollfd p = {ends[0], POLLIN, 0};
    poll(&p, 1, READY_WAIT);
    close(ends[0]);
}

/* What a guard is to others: it hears no signal, and has a lifeline. */
static void stand_in(void)
{
    static int lifeline[2];
    sigset_t all, before;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lifeline) < 0)
        exit(2);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    if (fork() > 0)
        stay();
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(lifeline[0]);
    close(lifeline[1]);
}

static int is_guard(pid_t pid)
{
    char path[64], name[16] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
    close(fd);
    return size > 0 && strncmp(name, TG_GUARD_NAME, strlen(TG_GUARD_NAME)) == 0;
}

/* One that has lost its guard has fallen to the test, which must not be attacked. */
static void find_victim(const char *who)
{
    pid_t parent = getppid();
    int handle = (int)syscall(SYS_pidfd_open, parent, 0);
    if (getppid() != parent || (strcmp(who, "stand-in") != 0 && !is_guard(parent)))
        exit(2);
    supervisor = parent_of(parent);
    victim = parent;
    if (strcmp(who, "supervisor") == 0) {
        victim = supervisor;
        close(handle);
        handle = (int)syscall(SYS_pidfd_open, victim, 0);
        if (parent_of(parent) != victim)
            exit(2);
    }
    victim_handle = handle;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    args = argv;
    report_fd = atoi(argv[2]);
    deadline = now() + atof(argv[3]);
    signal(SIGCHLD, SIG_IGN); /* a worker that is killed does not stay as a zombie */
    if (argc > 6 && strcmp(argv[5], "anew") == 0) {
        starting = atoi(argv[6]);
        make(argv[4], 0);
    }
    int again = argc > 5 && strcmp(argv[5], "loop") == 0;
    const char *who = argc > 6 ? argv[6] : "guard";
    if (strcmp(who, "stand-in") == 0)
        stand_in();
    root = getpid();
    capable = strcmp(who, "capable") == 0;
    anybody = capable || strcmp(who, "anybody") == 0;
    if (anybody)
        find_targets();
    else
        find_victim(who);
    char *rest, *list = strdup(argv[4]);
    for (char *each = strtok_r(list, ",", &rest); each; each = strtok_r(NULL, ",", &rest))
        start(each, again);
    stay();
}
