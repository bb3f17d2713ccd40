/* witness.c - tells on standard output how it found itself: records "name value", each ended by a NUL.
 *
 * Not a script, since every interpreter changes signals and descriptors before it can look at them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

extern char **environ;

static void tell_fds(void)
{
    char path[32], target[PATH_MAX];
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(dir))
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%.10s", e->d_name);
        long n = readlink(path, target, sizeof target - 1);
        if (n >= 0)
            printf("fd %s %.*s%c", e->d_name, (int)n, target, 0);
    }
    if (dir)
        closedir(dir);
}

static void tell_signals(void)
{
    sigset_t blocked;
    struct sigaction action;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int n = 1; n < NSIG; n++) {
        if (sigismember(&blocked, n) > 0)
            printf("blocked %d%c", n, 0);
        if (sigaction(n, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            printf("ignored %d%c", n, 0);
    }
}

int main(int argc, char **argv)
{
    char cwd[PATH_MAX];
    int deathsig = -1;
    prctl(PR_GET_PDEATHSIG, &deathsig);
    for (int i = 0; i < argc; i++)
        printf("arg %s%c", argv[i], 0);
    for (char **e = environ; *e; e++)
        printf("env %s%c", *e, 0);
    printf("cwd %s%c", getcwd(cwd, sizeof cwd) ? cwd : "?", 0);
    printf("pid %d%cparent %d%cgroup %d%csession %d%cdeathsig %d%c", (int)getpid(), 0, (int)getppid(), 0, (int)getpgid(0), 0,
           (int)getsid(0), 0, deathsig, 0);
    tell_fds();
    tell_signals();
    return 0;
}
