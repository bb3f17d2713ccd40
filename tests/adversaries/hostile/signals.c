/* signals.c - stopping a guard, letting it go on, killing it, and drowning it in signals. */
#define _GNU_SOURCE
#include "hostile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FLOODERS = 4, BURST = 200, LAST_SIGNAL = 64 };

static long send_signal(int handle, int signal)
{
    return syscall(SYS_pidfd_send_signal, handle, signal, NULL, 0);
}

static void let_go_on(void)
{
    send_signal(victim_handle, SIGCONT);
}

void stop(void)
{
    undo = let_go_on;
    told_ret("kill", send_signal(victim_handle, SIGSTOP));
}

/* The same from a session of its own, which no signal to the group reaches. */
void stop_by_session(void)
{
    if (round_number == 0)
        told_ret("setsid", setsid());
    stop();
}

static unsigned long newborns_stopped;

static void stop_child(pid_t pid)
{
    int handle = (int)syscall(SYS_pidfd_open, pid, 0);
    if (handle < 0)
        return;
    if (pid != victim && parent_of(pid) == supervisor && send_signal(handle, SIGSTOP) == 0 && !newborns_stopped++)
        told("stopped", 0);
    close(handle);
}

static void stop_children_of_thread(const char *thread)
{
    char path[320], list[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", supervisor, thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t size = read(fd, list, sizeof list - 1);
    close(fd);
    list[size > 0 ? size : 0] = 0;
    char *rest;
    for (char *each = strtok_r(list, " ", &rest); each; each = strtok_r(NULL, " ", &rest))
        stop_child(atoi(each));
}

static void stop_children(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", supervisor);
    DIR *tasks = opendir(path);
    for (const struct dirent *entry; tasks && (entry = readdir(tasks));)
        if (entry->d_name[0] != '.')
            stop_children_of_thread(entry->d_name);
    if (tasks)
        closedir(tasks);
}

/* The guards of other trees, as soon as they are born: before they have said that their root runs. Its own is left alone,
 * so that this goes on until the tree is ended. */
void stop_newborns(void)
{
    told("ready", 0);
    while (!gone() && !over(0))
        stop_children();
    stay();
}

/* A guard that somebody wants to keep stopped, or to see as continued. */
void resume(void)
{
    for (int i = 0; i < BURST; i++)
        send_signal(victim_handle, SIGCONT);
    told_ret("kill", send_signal(victim_handle, SIGCONT));
}

void kill_guard(void)
{
    told_ret("kill", send_signal(victim_handle, SIGKILL));
}

static int harmless(int signal)
{
    return signal != SIGKILL && signal != SIGSTOP;
}

/* Each signal in each of the ways to send one. Real-time ones are queued, until the user may have no more pending. */
void flood(void)
{
    for (int signal = 1; signal <= LAST_SIGNAL && !gone(); signal++) {
        if (!harmless(signal))
            continue;
        siginfo_t info;
        memset(&info, 0, sizeof info);
        info.si_signo = signal;
        info.si_code = SI_QUEUE;
        info.si_pid = getpid();
        info.si_uid = getuid();
        told_ret("pidfd_send_signal", send_signal(victim_handle, signal));
        told_ret("kill", kill(victim, signal));
        told_ret("tgkill", syscall(SYS_tgkill, victim, victim, signal));
        told_ret("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, victim, signal, &info));
    }
}

/* What a guard waits for, from several processes at a time: it wakes, and nobody has died. */
void flood_deaths(void)
{
    for (int i = 1; round_number == 0 && i < FLOODERS; i++)
        if (fork() == 0)
            break;
    for (int i = 0; i < BURST; i++)
        send_signal(victim_handle, SIGCHLD);
    told_ret("kill", send_signal(victim_handle, SIGCHLD));
}
