/* adversary.c - trees that do not want to be ended.
 *
 *     adversary MARKER FD LIFE KIND [SIZE | PLAN]
 *
 * MARKER stays in the command line of every member, through forks and execs, for a judge to find. Each member writes one
 * byte to FD, a pipe, when it is in place, and keeps it open. So that a test that failed or crashed leaves nothing for
 * long, members end when nobody reads that pipe any more, and after LIFE seconds. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

typedef void kind_fn(int size);

static char **args;
static int report_fd;
static double deadline;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report(void)
{
    while (write(report_fd, "x", 1) < 0 && errno == EINTR)
        ;
}

/* Whether the test has gone, or has had enough. */
static int over(int timeout)
{
    struct pollfd p = {report_fd, 0, 0};
    return (poll(&p, 1, timeout) > 0 && p.revents & POLLERR) || now() >= deadline;
}

_Noreturn static void stay_quietly(void)
{
    while (!over((int)((deadline - now()) * 1000) + 1))
        ;
    _exit(0);
}

_Noreturn static void stay(int unused)
{
    (void)unused;
    report();
    stay_quietly();
}

/* A child that does `fn`, or returns if there is none. Where processes are short, it is tried again: the number of
 * members is a promise. */
static pid_t start(kind_fn *fn, int size)
{
    pid_t pid;
    while ((pid = fork()) < 0 && now() < deadline)
        poll(NULL, 0, 1);
    if (pid == 0 && fn) {
        fn(size);
        _exit(0);
    }
    return pid;
}

/* A grandchild whose parent has ended. */
static void start_orphan(kind_fn *fn)
{
    pid_t between = fork();
    if (between == 0) {
        start(fn, 0);
        _exit(0);
    }
    waitpid(between, NULL, 0);
}

/* Child and grandchild in the root's group, and an orphan in it. */
static void family(int size)
{
    if (size == 0) {
        start(stay, 0);
    } else {
        start(family, 0);
        start_orphan(stay);
    }
    stay(0);
}

static void in_session(int size)
{
    setsid();
    if (size)
        start(in_session, size - 1);
    stay(0);
}

/* Child and grandchild in sessions of their own. */
static void session(int size)
{
    start(in_session, size);
    stay(0);
}

static void close_all(void)
{
    for (int fd = 1023; fd >= 0; fd--)
        close(fd);
    report_fd = -1; /* which poll(2) ignores */
}

/* The second half of a daemon: it has been executed anew, so its environment is really gone. */
static void daemonized(int size)
{
    (void)size;
    umask(0);
    if (chdir("/") < 0)
        _exit(1);
    report();
    close_all();
    stay_quietly();
}

_Noreturn static void begin_anew(const char *kind, const char *plan)
{
    char *argv[] = {args[0], args[1], args[2], args[3], (char *)(size_t)kind, (char *)(size_t)plan, NULL};
    char *envp[] = {NULL};
    execve("/proc/self/exe", argv, envp);
    _exit(1);
}

static void become_daemon(int size)
{
    (void)size;
    begin_anew("daemonized", NULL);
}

static void fork_twice(int size)
{
    setsid();
    start(become_daemon, size);
}

static void daemon_by_the_book(int size)
{
    pid_t between = start(fork_twice, size);
    waitpid(between, NULL, 0);
    stay(0);
}

/* The root itself is gone, its daemon stays. */
static void fled(int size)
{
    pid_t between = start(fork_twice, size);
    waitpid(between, NULL, 0);
    _exit(7);
}

static void hear_nothing(void)
{
    sigset_t all;
    for (int n = 1; n < NSIG; n++)
        signal(n, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
}

static void deaf(int size)
{
    hear_nothing();
    for (int i = 0; i < size; i++)
        start(stay, 0);
    stay(0);
}

static void wide(int size)
{
    for (int i = 0; i < size; i++)
        start(stay, 0);
    stay(0);
}

static void stay_in_group(int own_session)
{
    if (own_session)
        setsid();
    else
        setpgid(0, 0);
    stay(0);
}

static void groups(int size)
{
    for (int i = 0; i < size; i++)
        start(stay_in_group, i % 2);
    stay(0);
}

/* A chain, each in a session of its own. */
static void deep(int size)
{
    for (; size > 0; size--) {
        pid_t pid = start(NULL, 0);
        if (pid > 0)
            break;
        setsid();
    }
    stay(0);
}

static void stop(int own_session)
{
    if (own_session)
        setsid();
    raise(SIGSTOP);
    stay_quietly();
}

/* Who is stopped cannot report, so the parent does when it has seen the stop. */
static void stopped(int size)
{
    for (int i = 0; i < size; i++) {
        pid_t pid = start(stop, i % 2);
        waitpid(pid, NULL, WUNTRACED);
        report();
    }
    report();
    raise(SIGSTOP);
    stay_quietly();
}

static void adopt(int size)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (int i = 0; i < size; i++)
        start_orphan(in_session);
}

static void inner_reaper(int size)
{
    setsid();
    adopt(size);
    stay(0);
}

/* A subreaper with orphans, and another below it. */
static void reaper(int size)
{
    adopt(size);
    start(inner_reaper, size);
    stay(0);
}

static int main_thread_has_ended(void)
{
    char text[512];
    FILE *stat = fopen("/proc/self/stat", "re");
    size_t got = stat ? fread(text, 1, sizeof text - 1, stat) : 0;
    if (stat)
        fclose(stat);
    text[got] = 0;
    const char *name_end = strrchr(text, ')');
    return !name_end || name_end[2] == 'Z';
}

static int work_on(void *reports)
{
    while (!main_thread_has_ended())
        poll(NULL, 0, 1);
    if (reports)
        report();
    stay_quietly();
}

/* The main thread ends while another one works: the process is shown as a zombie. */
_Noreturn static void become_husk(int reports)
{
    static _Alignas(16) char stack[65536];
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    if (clone(work_on, stack + sizeof stack, flags, reports ? stack : NULL) < 0)
        _exit(1);
    for (;;)
        syscall(SYS_exit, 0);
}

static void husk_in_session(int size)
{
    (void)size;
    setsid();
    start(stay, 0);
    become_husk(1);
}

/* Root, child in the group and orphan in a session of its own are such, and two of them have a child that is none. */
static void husk(int size)
{
    if (size) {
        start(husk, 0);
        start_orphan(husk_in_session);
        start(stay, 0);
    }
    become_husk(1);
}

/* So many generations come as fast as they can. Where nobody reaps them, because the guard is stopped, more would fill the
 * host's table of processes (32,768), and no other test could start one. Those after them come a millisecond apart. */
enum { UNBRIDLED = 8000 };

/* Cut off one head, and another has grown: each process is the parent of its replacement and gone. */
static void head(int leaves)
{
    for (unsigned long generation = 0; !over(0); generation++) {
        if (generation > UNBRIDLED)
            usleep(1000);
        if (generation == 20)
            report();
        pid_t pid = fork();
        if (pid > 0)
            _exit(0);
        if (pid == 0 && leaves)
            setsid();
    }
}

static void hydra(int size)
{
    for (int i = 0; i < size; i++)
        start(head, 1);
    stay(0);
}

/* The same, but they stay in the root's group. */
static void swarm(int size)
{
    for (int i = 0; i < size; i++)
        start(head, 0);
    stay(0);
}

/* One of each. */
static void zoo(int size)
{
    start(family, 1);
    start(session, size);
    start(daemon_by_the_book, 0);
    start(fled, 0);
    start(deaf, size);
    start(wide, size);
    start(groups, size);
    start(deep, size);
    start(stopped, size);
    start(reaper, size);
    start(husk, 1);
    start(hydra, 1);
    stay(0);
}

/* A plan, as tests/support/plans.py tells it: letters for what a process does, then its children in parentheses. */
static const char *after(const char *plan)
{
    for (int depth = 0;; plan++) {
        depth += (*plan == '(') - (*plan == ')');
        if (*plan == ')' && depth == 0)
            return plan + 1;
    }
}

_Noreturn static void fork_on(void)
{
    /* Slowly, so that it is a nuisance to the tree's keeper alone. */
    while (!over(10))
        if (fork() > 0)
            _exit(0);
    _exit(0);
}

_Noreturn static void grow(const char *plan);

static void plant(const char *plan)
{
    pid_t pid = start(NULL, 0);
    if (pid == 0 && (*plan != 'o' || start(NULL, 0) == 0))
        grow(plan);
    if (pid == 0)
        _exit(0);
    if (*plan == 'o')
        waitpid(pid, NULL, 0);
}

_Noreturn static void grow(const char *plan)
{
    const char *letters = plan;
    for (; *plan != '('; plan++) {
        if (*plan == 's')
            setsid();
        else if (*plan == 'g')
            setpgid(0, 0);
        else if (*plan == 'c')
            begin_anew("grown", plan + 1);
        else if (*plan == 'i')
            hear_nothing();
        else if (*plan == 'r')
            prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    size_t count = (size_t)(plan - letters);
    for (plan++; *plan != ')'; plan = after(plan))
        plant(plan);
    report();
    if (memchr(letters, 'q', count))
        close_all();
    if (memchr(letters, 't', count))
        raise(SIGSTOP);
    if (memchr(letters, 'x', count))
        _exit(7);
    if (memchr(letters, 'h', count))
        fork_on();
    if (memchr(letters, 'z', count))
        become_husk(0);
    stay_quietly();
}

static void grown(int size)
{
    (void)size;
    grow(args[5]);
}

static const struct {
    const char *name;
    kind_fn *fn;
} kinds[] = {
    {"alone", stay}, {"family", family}, {"session", session}, {"daemon", daemon_by_the_book}, {"daemonized", daemonized},
    {"fled", fled},  {"deaf", deaf},     {"wide", wide},       {"groups", groups},             {"deep", deep},
    {"stopped", stopped}, {"reaper", reaper}, {"husk", husk},   {"hydra", hydra}, {"swarm", swarm}, {"zoo", zoo}, {"grown", grown},
};

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    args = argv;
    report_fd = atoi(argv[2]);
    deadline = now() + atof(argv[3]);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(argv[4], kinds[i].name) == 0)
            kinds[i].fn(argc > 5 ? atoi(argv[5]) : 0);
    return 2;
}
