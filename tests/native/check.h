/* check.h - helpers of the native tests: named tests, checks that print what they saw, a deadline. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int check_failures;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            check_failures++; \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
        } \
    } while (0)

#define CHECK_EQUAL(got, wanted) \
    do { \
        long got_ = (long)(got), wanted_ = (long)(wanted); \
        if (got_ != wanted_) { \
            check_failures++; \
            fprintf(stderr, "%s:%d: %s is %ld, not %ld\n", __FILE__, __LINE__, #got, got_, wanted_); \
        } \
    } while (0)

static inline long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Kills all current children. */
static inline void check_kill_children(void)
{
    char path[64], line[32];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    while (f && fscanf(f, "%31s", line) == 1)
        kill(atoi(line), SIGKILL);
    if (f)
        fclose(f);
}

/* Runs a test. It must leave no child and the same number of descriptors. */
static int check_open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += dup2(fd, fd) == fd;
    return n;
}

#define RUN(test) \
    do { \
        int before_ = check_open_fds(); \
        alarm(60); \
        test(); \
        alarm(0); \
        CHECK_EQUAL(check_open_fds(), before_); \
        CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); \
        fprintf(stderr, "%s %s\n", check_failures ? "FAILED" : "ok", #test); \
        if (check_failures) \
            exit(1); \
    } while (0)

#endif
