/* cgroups.c - moving guard, supervisor or itself between cgroups, freezing them, and taking their files away.
 *
 * Cgroups that are made here are removed by the test. */
#define _GNU_SOURCE
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deeper than a walk with a bound of 32 levels looks. */
enum { LEVELS = 40 };

static char own[PATH_MAX / 2], other[PATH_MAX];

static const char *file_of(const char *directory, const char *name)
{
    static char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static int mount_of_version_2(char *ret_mount, size_t size)
{
    char line[1024], mount[512], kind[64];
    FILE *mounts = fopen("/proc/self/mounts", "re");
    int found = 0;
    while (mounts && !found && fgets(line, sizeof line, mounts))
        found = sscanf(line, "%*s %511s %63s", mount, kind) == 2 && strcmp(kind, "cgroup2") == 0;
    if (mounts)
        fclose(mounts);
    if (found)
        snprintf(ret_mount, size, "%s", mount);
    return found;
}

/* The directory of this process's cgroup of version 2: the tree's leaf, as long as nobody moved. Found once, since it
 * changes. */
static int find_own(void)
{
    char line[1024], mount[512];
    FILE *file = own[0] ? NULL : fopen("/proc/self/cgroup", "re");
    if (file && mount_of_version_2(mount, sizeof mount))
        while (fgets(line, sizeof line, file))
            if (strncmp(line, "0::", 3) == 0) {
                line[strcspn(line, "\n")] = 0;
                snprintf(own, sizeof own, "%s%s", mount, line + 3);
            }
    if (file)
        fclose(file);
    if (!own[0])
        told("find", ENOENT);
    return own[0] != 0;
}

/* Where to move to: the place that the test names, or one beside the leaf that is made here. */
static const char *elsewhere(void)
{
    if (place)
        return place;
    if (!other[0]) {
        snprintf(other, sizeof other, "%.*s/hostile-%d", (int)(strrchr(own, '/') - own), own, root);
        told("mkdir", mkdir(other, 0755) < 0 && errno != EEXIST ? errno : 0);
    }
    return other;
}

static int move(pid_t pid, const char *directory)
{
    return put_number(file_of(directory, "cgroup.procs"), pid);
}

void move_guard_in(void)
{
    if (find_own())
        told("move", move(victim, own));
}

void move_guard_out(void)
{
    if (find_own())
        told("move", move(victim, elsewhere()));
}

static void thaw(void)
{
    put(file_of(elsewhere(), "cgroup.freeze"), "0");
}

void move_guard_into_frozen(void)
{
    if (!find_own())
        return;
    undo = thaw;
    told("freeze", put(file_of(elsewhere(), "cgroup.freeze"), "1"));
    told("move", move(victim, elsewhere()));
}

/* A freezer of version 1, which the test names: what stands in it is not killed before somebody thaws it. */
static void thaw_freezer(void)
{
    put(file_of(place ? place : "", "freezer.state"), "THAWED");
}

void move_guard_into_freezer(void)
{
    undo = thaw_freezer;
    told("freeze", put(file_of(place ? place : "", "freezer.state"), "FROZEN"));
    told("move", move(victim, place ? place : ""));
}

void move_self_out(void)
{
    if (find_own())
        told("move", move(getpid(), elsewhere()));
}

/* Somebody else has to freeze it, so a child goes in, and waits there. */
void move_self_into_freezer(void)
{
    if (round_number > 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        stay();
    }
    undo = thaw_freezer;
    told("move", move(pid, place ? place : ""));
    told("freeze", put(file_of(place ? place : "", "freezer.state"), "FROZEN"));
}

void move_supervisor_in(void)
{
    if (find_own())
        told("move", move(supervisor, own));
}

/* This process stands still from then on, so it says that it is ready before. */
void freeze_leaf(void)
{
    told("ready", 0);
    if (find_own())
        told("freeze", put(file_of(own, "cgroup.freeze"), "1"));
}

/* The manager's cgroup: all trees. */
void freeze_all(void)
{
    told("ready", 0);
    if (find_own())
        told("freeze", put(file_of(own, "../cgroup.freeze"), "1"));
}

/* A process below more levels than anybody expects. */
void dig_deep(void)
{
    if (!find_own() || round_number > 0)
        return;
    snprintf(other, sizeof other, "%s", own);
    int err = 0;
    for (int level = 0; level < LEVELS && !err; level++) {
        strncat(other, "/d", sizeof other - strlen(other) - 1);
        err = mkdir(other, 0755) < 0 ? errno : 0;
    }
    told("mkdir", err);
    told("move", move(getpid(), other));
}

static const char *const files[] = {"cgroup.procs", "cgroup.kill", "cgroup.freeze", "cgroup.events", "cgroup.threads",
                                    "cgroup.subtree_control"};

/* Nobody may open them any more, nor find the leaf by its name. */
void shut_files(void)
{
    if (!find_own())
        return;
    int err = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (chmod(file_of(own, files[i]), 0) < 0)
            err = errno;
        char above[64];
        snprintf(above, sizeof above, "../%s", files[i]);
        if (chmod(file_of(own, above), 0) < 0)
            err = errno;
    }
    told("chmod_files", err);
    told_ret("chmod", chmod(own, 0555));
    snprintf(other, sizeof other, "%s-renamed", own);
    told_ret("try_rename", rename(own, other));
}

/* No more cgroups below the manager's, and none of the usual kind. */
void forbid_cgroups(void)
{
    if (!find_own())
        return;
    told("descendants", put(file_of(own, "../cgroup.max.descendants"), "0"));
    told("depth", put(file_of(own, "../cgroup.max.depth"), "0"));
    told("try_threaded", put(file_of(own, "cgroup.type"), "threaded"));
}
