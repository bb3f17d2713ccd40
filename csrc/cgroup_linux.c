/* cgroup_linux.c - a leaf of the cgroup v2 tree for one tree of processes, without libc. */
#include "cgroup.h"

#include "cgroup_below.h"
#include "sys.h"
#include "text.h"

#ifndef AT_REMOVEDIR
#define AT_REMOVEDIR 0x200
#endif

#ifndef TG_CGROUP_KILL
#define TG_CGROUP_KILL "cgroup.kill"
#endif

/* How often, a millisecond apart, it is looked whether a cgroup stands still: FREEZE_TRIES. */
enum { NAME_ROOM = 24, PATH_ROOM = 4096, MANAGER_MODE = 0755, FREEZE_TRIES = 100 };

/* Makes the leaf, also where somebody has locked the manager's cgroup or put something in the leaf's place. */
static long make_leaf(const struct tg_cgroup *cgroup, const char *name)
{
    long ret = tg_sys3(SYS_mkdirat, cgroup->manager, name, 0755);
    if (ret == -EACCES) {
        tg_sys2(SYS_fchmod, cgroup->manager, MANAGER_MODE);
    } else if (ret == -EAGAIN) {
        tg_cgroup_write(cgroup->manager, "cgroup.max.descendants", "max");
        tg_cgroup_write(cgroup->manager, "cgroup.max.depth", "max");
    } else if (ret == -EEXIST) {
        tg_sys3(SYS_unlinkat, cgroup->manager, name, AT_REMOVEDIR);
    } else {
        return ret;
    }
    return tg_sys3(SYS_mkdirat, cgroup->manager, name, 0755);
}

int tg_cgroup_make(struct tg_cgroup *cgroup)
{
    char name[NAME_ROOM];
    cgroup->leaf = cgroup->kill = -1;
    tg_put_number(name, cgroup->name);
    long ret = cgroup->made ? 0 : make_leaf(cgroup, name);
    if (ret < 0)
        return (int)ret;
    ret = tg_cgroup_open(cgroup->manager, name, O_RDONLY | O_DIRECTORY);
    if (ret < 0) {
        if (!cgroup->made)
            tg_sys3(SYS_unlinkat, cgroup->manager, name, AT_REMOVEDIR);
        return (int)ret;
    }
    cgroup->leaf = (int)ret;
    cgroup->kill = (int)tg_cgroup_open(cgroup->leaf, TG_CGROUP_KILL, O_WRONLY);
    return 0;
}

void tg_cgroup_let_begin(const struct tg_cgroup *cgroup)
{
    if (cgroup->leaf < 0)
        return;
    tg_cgroup_write(cgroup->manager, "cgroup.freeze", "0");
    tg_cgroup_write(cgroup->leaf, "cgroup.freeze", "0");
}

int64_t tg_cgroup_oom_kills(const struct tg_cgroup *cgroup)
{
    char text[256];
    /* Counted before the process gets its SIGKILL (mm/oom_kill.c), so one that was reaped has been counted. */
    if (!cgroup->made || cgroup->leaf < 0 || tg_cgroup_read(cgroup->leaf, "memory.events", text, sizeof text) < 0)
        return 0;
    return tg_number_after(text, "oom_kill ");
}

/* Puts "/MANAGER/LEAF" there, the end of the leaf's path. Returns where that ends; NULL if the path is not to be had. */
static char *put_place(const struct tg_cgroup *cgroup, char *ret_place, char room[PATH_ROOM])
{
    char link[32];
    tg_put_number(tg_put(link, "/proc/self/fd/"), (unsigned)cgroup->manager);
    long at = tg_sys4(SYS_readlinkat, AT_FDCWD, link, room, PATH_ROOM - 1);
    if (at <= 0)
        return NULL;
    room[at] = 0;
    while (at > 0 && room[at] != '/')
        at--;
    return tg_put_number(tg_put(tg_put(ret_place, room + at), "/"), cgroup->name);
}

/* Whether a process lives in the leaf or below it, as /proc shows its path. One that is too long to be shown leads far
 * below. */
static int is_inside(const struct tg_cgroup *cgroup, int pid)
{
    char text[PATH_ROOM], place[PATH_ROOM + NAME_ROOM], room[PATH_ROOM];
    tg_put(tg_put_number(tg_put(room, "/proc/"), (unsigned)pid), "/cgroup");
    long got = tg_cgroup_read(AT_FDCWD, room, text, sizeof text);
    if (got == -ENAMETOOLONG)
        return 1;
    tg_put_number(tg_put(place, "/"), cgroup->name);
    if (got <= 0 || !tg_contains(text, place))
        return 0;
    char *end = put_place(cgroup, place, room);
    for (const char *next = "\n\0/\0 \0"; end && *next; next += 2) {
        tg_put(end, next);
        if (tg_contains(text, place))
            return 1;
    }
    return 0;
}

/* Moves a process that may not die with the tree to the cgroup above the manager's, or where a supervisor stands that
 * stepped aside from that. */
static void move_out(const struct tg_cgroup *cgroup, int pid)
{
    char number[NAME_ROOM], path[64];
    tg_put_number(number, (unsigned)pid);
    if (tg_cgroup_write(cgroup->manager, "../cgroup.procs", number) == 0)
        return;
    tg_put(tg_put_number(tg_put(path, "../" TG_CGROUP_PLACE), (unsigned)cgroup->supervisor), "/cgroup.procs");
    tg_cgroup_write(cgroup->manager, path, number);
}

/* Anybody of the same user can write the number of the guard, or of the supervisor, into the leaf. That may be done again
 * between this look and a kill, so a leaf that it was done to is never killed as a whole again. */
static void keep_out(struct tg_cgroup *cgroup, int pid)
{
    if (pid > 0 && is_inside(cgroup, pid)) {
        cgroup->trespassed = 1;
        move_out(cgroup, pid);
    }
}

/* Before cgroup.kill: what is frozen cannot fork, exit or be replaced, so the lists are complete. SIGKILL reaches the
 * frozen (cgroup v2, 5.2). As long as somebody does not stand still, nobody is killed by number, and nobody let go on. */
static int kill_frozen(const struct tg_cgroup *cgroup)
{
    char text[64];
    long ret = tg_cgroup_write(cgroup->leaf, "cgroup.freeze", "1");
    for (int tries = 0; ret >= 0 && tries < FREEZE_TRIES; tries++) {
        ret = tg_cgroup_read(cgroup->leaf, "cgroup.events", text, sizeof text);
        if (ret >= 0 && tg_contains(text, "frozen 1")) {
            tg_kill_below(cgroup->leaf, cgroup->supervisor);
            tg_cgroup_write(cgroup->leaf, "cgroup.freeze", "0");
            return 0;
        }
        tg_poll(NULL, 0, 1);
    }
    return ret < 0 ? (int)ret : -EAGAIN;
}

int tg_cgroup_kill(struct tg_cgroup *cgroup)
{
    /* One look is all that a kill may cost. A guard that dies with its leaf leaves the rest to its supervisor; one that has
     * none any more has to see to it that it stays. */
    keep_out(cgroup, cgroup->supervisor ? cgroup->supervisor : (int)tg_getpid());
    if (cgroup->trespassed)
        return -EBUSY;
    if (cgroup->kill < 0)
        return kill_frozen(cgroup);
    long ret = tg_write(cgroup->kill, "1", 1);
    return ret < 0 ? (int)ret : 0;
}

void tg_cgroup_kill_listed(const struct tg_cgroup *cgroup)
{
    if (cgroup->leaf >= 0)
        tg_kill_below(cgroup->leaf, cgroup->supervisor);
}

int tg_cgroup_remove(struct tg_cgroup *cgroup)
{
    char name[NAME_ROOM];
    tg_put_number(name, cgroup->name);
    /* EBUSY says: a process lives in it, or there are cgroups below it, left by a supervisor within the tree. */
    long ret = tg_cgroup_remove_at(cgroup->manager, name);
    if (ret == -EBUSY) {
        keep_out(cgroup, cgroup->supervisor);
        keep_out(cgroup, (int)tg_getpid());
        long below = tg_remove_below(cgroup->leaf);
        ret = tg_cgroup_remove_at(cgroup->manager, name);
        if (ret == -EBUSY && below == -EMFILE)
            return -EMFILE;
    }
    if (ret == -EBUSY || ret == -ENOMEM || ret == -EINTR)
        return -EBUSY;
    /* Their descriptors end with the guard, which has nothing left to do. */
    cgroup->leaf = cgroup->kill = -1;
    return 0;
}

void tg_cgroup_remove_manager(const struct tg_cgroup *cgroup)
{
    char link[32], path[4096];
    tg_put_number(tg_put(link, "/proc/self/fd/"), (unsigned)cgroup->manager);
    long got = tg_sys4(SYS_readlinkat, AT_FDCWD, link, path + 2, sizeof path - 3);
    if (got <= 0)
        return;
    /* "../NAME" relative to the directory itself: it is found also where its path leads elsewhere from here. */
    long at = got + 1;
    path[got + 2] = 0;
    while (at > 2 && path[at] != '/')
        at--;
    path[at - 1] = path[at - 2] = '.';
    tg_sys3(SYS_unlinkat, cgroup->manager, path + at - 2, AT_REMOVEDIR);
}
