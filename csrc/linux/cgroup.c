/* linux/cgroup.c - manages the cgroup v2 leaf of one tree, without libc. */
#include "../cgroup.h"

#include "cgroup_below.h"
#include "../sys.h"
#include "../text.h"

#ifndef AT_REMOVEDIR
#define AT_REMOVEDIR 0x200
#endif

#ifndef TG_CGROUP_KILL
#define TG_CGROUP_KILL "cgroup.kill"
#endif

/* FREEZE_TRIES: how often kill_frozen checks whether the leaf is frozen, with an interval of one millisecond. */
enum { NAME_ROOM = 24, PATH_ROOM = 4096, MANAGER_MODE = 0755, FREEZE_TRIES = 100 };

/* Creates a leaf, or what is beside it. Works around a manager's cgroup that another process has locked by its mode or limited, and around
 * a cgroup that already has the leaf's name. */
static long make_beside(const struct tg_cgroup *cgroup, const char *name)
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
    long ret = cgroup->made ? 0 : make_beside(cgroup, name);
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
    /* The kernel counts the kill before it sends the SIGKILL (mm/oom_kill.c), so the count includes every process that
     * was reaped. */
    if (!cgroup->made || cgroup->leaf < 0 || tg_cgroup_read(cgroup->leaf, "memory.events", text, sizeof text) < 0)
        return 0;
    return tg_number_after(text, "oom_kill ");
}

/* Writes "/MANAGER/LEAF", the end of the leaf's path. Returns the end of the text, or NULL if the path is not
 * available. */
static char *write_leaf_path(const struct tg_cgroup *cgroup, char *ret_place, char room[PATH_ROOM])
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

/* Returns whether a process is in the leaf or below it, according to its path in /proc. A path that is too long for the
 * kernel to show can only be far below the leaf. */
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
    char *end = write_leaf_path(cgroup, place, room);
    for (const char *next = "\n\0/\0 \0"; end && *next; next += 2) {
        tg_put(end, next);
        if (tg_contains(text, place))
            return 1;
    }
    return 0;
}

/* Moves a process that must survive the tree to the cgroup above the manager's, or to the cgroup that its supervisor
 * has moved to. */
static void move_out(const struct tg_cgroup *cgroup, int pid)
{
    char number[NAME_ROOM], path[64];
    tg_put_number(number, (unsigned)pid);
    if (tg_cgroup_write(cgroup->manager, "../cgroup.procs", number) == 0)
        return;
    tg_put(tg_put_number(tg_put(path, "../" TG_CGROUP_PLACE), (unsigned)cgroup->supervisor), "/cgroup.procs");
    tg_cgroup_write(cgroup->manager, path, number);
}

/* Waits until a move into the leaf that is under way is done. The kernel's lock on cgroups is held for milliseconds by a
 * move, and since 6.8 /proc/PID/cgroup is read without it: the path would still show the old cgroup, while cgroup.kill
 * waits for the lock and then hits the process that was moved. A removal takes the lock too, and is refused while the
 * leaf has processes. */
static void wait_for_moves(const struct tg_cgroup *cgroup)
{
    char name[NAME_ROOM];
    tg_put_number(name, cgroup->name);
    tg_sys3(SYS_unlinkat, cgroup->manager, name, AT_REMOVEDIR);
}

/* Any process of the same user can move the guard or the supervisor into the leaf. It can do so again between this
 * check and a kill, so such a leaf is never killed as a whole again. */
static void move_out_if_inside(struct tg_cgroup *cgroup, int pid)
{
    if (pid > 0 && is_inside(cgroup, pid)) {
        cgroup->trespassed = 1;
        move_out(cgroup, pid);
    }
}

/* Kills a leaf without cgroup.kill: freeze it, and send SIGKILL to each process. Frozen processes cannot fork or exit
 * and their process ids cannot be reused, so the listings are complete. SIGKILL reaches frozen processes (cgroup v2,
 * 5.2). If the leaf does not freeze completely, this function kills no process and leaves the leaf frozen for the next
 * try. */
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
    /* Usually check the supervisor only, because each check makes the kill slower. If the guard dies with its leaf, its
     * supervisor ends the rest. */
    wait_for_moves(cgroup);
    move_out_if_inside(cgroup, cgroup->supervisor);
    if (cgroup->alone)
        move_out_if_inside(cgroup, (int)tg_getpid());
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
    /* EBUSY means that a process lives in the leaf, or that cgroups exist below it, created by a supervisor within the
     * tree. */
    long ret = tg_cgroup_remove_at(cgroup->manager, name);
    if (ret == -EBUSY) {
        move_out_if_inside(cgroup, cgroup->supervisor);
        move_out_if_inside(cgroup, (int)tg_getpid());
        long below = tg_remove_below(cgroup->leaf);
        ret = tg_cgroup_remove_at(cgroup->manager, name);
        if (ret == -EBUSY && below == -EMFILE)
            return -EMFILE;
    }
    if (ret == -EBUSY || ret == -ENOMEM || ret == -EINTR)
        return -EBUSY;
    /* The descriptors close when the guard ends, and the guard has nothing else to do. */
    cgroup->leaf = cgroup->kill = -1;
    return 0;
}

int tg_cgroup_mark(const struct tg_cgroup *cgroup, const char *name)
{
    return (int)make_beside(cgroup, name);
}

void tg_cgroup_unmark(const struct tg_cgroup *cgroup, const char *name)
{
    tg_cgroup_remove_at(cgroup->manager, name);
}

void tg_cgroup_remove_manager(const struct tg_cgroup *cgroup)
{
    char link[32], path[4096];
    tg_put_number(tg_put(link, "/proc/self/fd/"), (unsigned)cgroup->manager);
    long got = tg_sys4(SYS_readlinkat, AT_FDCWD, link, path + 2, sizeof path - 3);
    if (got <= 0)
        return;
    /* Use "../NAME" relative to the directory itself: the absolute path may lead to another place in this mount
     * namespace. */
    long at = got + 1;
    path[got + 2] = 0;
    while (at > 2 && path[at] != '/')
        at--;
    path[at - 1] = path[at - 2] = '.';
    tg_sys3(SYS_unlinkat, cgroup->manager, path + at - 2, AT_REMOVEDIR);
}
