/* targets.c - whom to attack from where the parent cannot be seen: everybody who can be found, by every means. */
#define _GNU_SOURCE
#include "hostile.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 32, FIRST_FD = 3, LAST_FD = 64, LENT = 2 };

static struct target {
    pid_t pid;
    int handle;
} targets[MOST];
static int ntargets;

static void add(pid_t pid, int handle)
{
    if (pid > 0 && pid != root && ntargets < MOST)
        targets[ntargets++] = (struct target){pid, handle};
}

/* By its number, as far as that is anybody's here. */
static void add_number(pid_t pid)
{
    add(pid, (int)syscall(SYS_pidfd_open, pid, 0));
}

/* The test sends the numbers of guard and supervisor, as they are outside, and a handle of each. */
static void receive(int fd)
{
    char text[64] = "", room[CMSG_SPACE(LENT * sizeof(int))];
    struct iovec part = {text, sizeof text - 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    int pids[LENT], handles[LENT];
    if (recvmsg(fd, &message, 0) <= 0 || sscanf(text, "%d %d", &pids[0], &pids[1]) != LENT)
        return;
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (!rights || rights->cmsg_len != CMSG_LEN(sizeof handles))
        return;
    memcpy(handles, CMSG_DATA(rights), sizeof handles);
    supervisor = pids[1];
    for (int i = 0; i < LENT; i++) {
        add(pids[i], handles[i]);
        add_number(pids[i]);
    }
}

/* Only where the parent is outside of the namespace: elsewhere /proc lists processes that the test must not attack. */
static void add_everybody(void)
{
    DIR *proc = opendir("/proc");
    for (const struct dirent *entry; proc && (entry = readdir(proc));)
        add_number(atoi(entry->d_name));
    if (proc)
        closedir(proc);
    for (pid_t pid = 1; pid < root; pid++)
        add_number(pid);
}

void find_targets(void)
{
    int kind;
    for (int fd = FIRST_FD; fd < LAST_FD; fd++) {
        socklen_t size = sizeof kind;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) == 0 && kind == SOCK_SEQPACKET)
            receive(fd);
    }
    if (getppid() == 0)
        add_everybody();
    if (ntargets == 0)
        exit(2);
}

void attack_targets(attack_fn *attack)
{
    pid_t self = getpid();
    for (int i = 0; i < ntargets; i++) {
        victim = targets[i].pid;
        victim_handle = targets[i].handle;
        if (!gone())
            attack();
        if (getpid() != self) /* what an attack has forked attacks nobody else */
            stay();
    }
}

/* All capabilities of a user namespace within, and what lies beneath /proc. */
void gain_capabilities(void)
{
    char map[64];
    int user = (int)geteuid();
    told_ret("try_unshare", unshare(CLONE_NEWUSER | CLONE_NEWNS));
    snprintf(map, sizeof map, "0 %d 1", user);
    told("try_uid_map", put("/proc/self/uid_map", map));
    told_ret("try_umount", umount2("/proc", MNT_DETACH));
    told_ret("try_mount", mount("proc", "/proc", "proc", 0, NULL));
}

/* Going where the victim is. */
void enter(void)
{
    static const int kinds[] = {CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        told_ret("setns", setns(victim_handle, kinds[i]));
}
