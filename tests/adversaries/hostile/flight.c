/* flight.c - members of a tree that are hard to find. */
#define _GNU_SOURCE
#include "hostile.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static void *work(void *unused)
{
    (void)unused;
    stay();
}

/* The main thread ends, another works: in /proc the process has the state of a zombie. */
void leave_leader(void)
{
    pthread_t thread;
    int err = pthread_create(&thread, NULL, work, NULL);
    told("pthread_create", err);
    told("ready", 0);
    if (!err)
        pthread_exit(NULL);
}

/* The same in a session of its own and without environment, so that nothing tells whose it is. */
void leave_leader_in_session(void)
{
    if (begun_anew())
        leave_leader();
    if (fork() > 0)
        stay();
    setsid();
    begin_anew();
}

/* In milliseconds: where a guard stands still nobody reaps the dead, and there are only so many process ids. */
enum { GROWTH = 5 };

/* Cut off one head, and another has grown: each in a session of its own, without environment. */
void grow_heads(void)
{
    if (!begun_anew())
        begin_anew();
    for (unsigned long generation = 0; !over(GROWTH); generation++) {
        if (generation == 20)
            told("ready", 0);
        pid_t pid = fork();
        if (pid > 0)
            _exit(0);
        if (pid == 0)
            setsid();
    }
    _exit(0);
}

/* By the book: a child in a session of its own whose parent has ended, without environment and in the root directory. */
void be_daemon(void)
{
    if (begun_anew())
        return;
    if (fork() > 0)
        stay();
    setsid();
    if (fork() > 0)
        _exit(0);
    umask(0);
    if (chdir("/") < 0)
        _exit(1);
    begin_anew();
}
