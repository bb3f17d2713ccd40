/* floor.c - what the system itself asks for a life and for an end, without Python.
 *
 *   floor TARGET vfork           vfork, exec, wait
 *   floor TARGET guard GUARD [CGROUP]    treeguard's C core alone: a guard and a root, that in a leaf below CGROUP
 *   floor TARGET group           treeguard's C core alone, without a guard
 *   floor TARGET kill CGROUP SHAPE N     cgroup.kill of a tree of N processes, and reaping them
 *
 * For each line "K" on standard input it does K of them, and prints so many lines of microseconds, each "life" or, of
 * the first three, "life spawn". */
#include "../../csrc/treeguard.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what) ((what) ? (void)0 : (perror(#what), exit(1)))

extern char **environ;

static char **words;
static struct tg_engine *engine;
static struct tg_spec spec;
static char cgroup[4096];

struct times {
    double life;
    double spawn;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static struct times by_vfork(void)
{
    char *argv[] = {words[1], NULL};
    double start = now();
    pid_t pid = vfork();
    if (pid == 0) {
        execve(argv[0], argv, environ);
        _exit(127);
    }
    double began = now();
    CHECK(waitpid(pid, NULL, 0) == pid);
    return (struct times){now() - start, began - start};
}

/* A tree has its end in the descriptor of the engine. */
static struct times by_core(void)
{
    static uint64_t tag;
    struct tg_fault fault;
    struct tg_event event = {0};
    spec.leaf = (uint32_t)++tag;
    double start = now(), began = 0;
    struct tg_tree *tree = tg_tree_spawn(engine, &spec, tag, &fault);
    CHECK(tree);
    while (event.kind != TG_EMPTY) {
        struct pollfd p = {tg_engine_fd(engine), POLLIN, 0};
        if (!tg_tree_poll(tree, &event) && !tg_engine_drain(engine, &event, 1)) {
            poll(&p, 1, 1);
            continue;
        }
        CHECK(event.kind != TG_FAILED && event.kind != TG_LOST);
        if (!began)
            began = now();
    }
    tg_tree_free(tree);
    return (struct times){now() - start, began - start};
}

static void write_to(const char *name, const char *text)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", cgroup, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) > 0);
    close(fd);
}

static struct times by_cgroup(void)
{
    char *argv[] = {words[1], words[4], words[5], NULL};
    char byte;
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        write_to("cgroup.procs", "0");
        dup2(ends[1], 1);
        execve(argv[0], argv, environ);
        _exit(127);
    }
    close(ends[1]);
    for (int n = atoi(words[5]); n > 0; n--)
        CHECK(read(ends[0], &byte, 1) == 1);
    double start = now();
    write_to("cgroup.kill", "1");
    while (wait(NULL) > 0)
        ;
    double end = now();
    close(ends[0]);
    return (struct times){end - start, 0};
}

static void prepare_core(const char *guard)
{
    size_t size = 0;
    for (char **e = environ; *e; e++, spec.nenv++)
        size += strlen(*e) + 1;
    char *env = malloc(size), *at = env;
    CHECK(env);
    for (char **e = environ; *e; e++)
        at = stpcpy(at, *e) + 1;
    spec.guard = guard;
    spec.program = spec.args = words[1];
    spec.args_size = strlen(words[1]) + 1;
    spec.nargs = 1;
    spec.env = env;
    spec.env_size = size;
    spec.stdio[0] = -1;
    spec.stdio[1] = 1;
    spec.stdio[2] = 2;
    spec.lease = spec.cgroup = spec.options.terminal = -1;
    struct tg_fault fault;
    CHECK(engine = tg_engine_open(&fault));
}

static void leave_no_cgroup(void)
{
    rmdir(cgroup);
}

static void make_cgroup(const char *parent)
{
    snprintf(cgroup, sizeof cgroup, "%s/floor-%d", parent, (int)getpid());
    CHECK(mkdir(cgroup, 0755) == 0);
    atexit(leave_no_cgroup);
}

int main(int argc, char **argv)
{
    struct times (*once)(void) = by_vfork;
    char line[32];
    words = argv;
    CHECK(argc > 2);
    if (argv[2][0] == 'g') {
        prepare_core(argc > 3 ? argv[3] : NULL);
        if (argc > 4) {
            make_cgroup(argv[4]);
            CHECK((spec.cgroup = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
        }
        once = by_core;
    } else if (argv[2][0] == 'k') {
        CHECK(argc == 6);
        make_cgroup(argv[3]);
        CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        once = by_cgroup;
    }
    while (fgets(line, sizeof line, stdin)) {
        for (int n = atoi(line); n > 0; n--) {
            struct times t = once();
            printf("%.1f %.1f\n", t.life, t.spawn);
        }
        fflush(stdout);
    }
    return 0;
}
