/* cgroup_linux.c - a leaf of the cgroup v2 tree for one tree of processes, without libc. */
#include "cgroup.h"

#include "direntry.h"
#include "text.h"

#ifndef AT_REMOVEDIR
#define AT_REMOVEDIR 0x200
#endif

#ifndef TG_CGROUP_KILL
#define TG_CGROUP_KILL "cgroup.kill"
#endif

/* How often, a millisecond apart, it is looked whether a cgroup stands still: FREEZE_TRIES. */
enum { MAX_DEPTH = 32, NAME_ROOM = 16, FREEZE_TRIES = 100 };

static long open_at(int dir, const char *name, int flags)
{
    return tg_sys4(SYS_openat, dir, name, flags | O_CLOEXEC, 0);
}

static long write_at(int dir, const char *name, const char *text)
{
    size_t size = 0;
    long ret, fd = open_at(dir, name, O_WRONLY);
    if (fd < 0)
        return fd;
    while (text[size])
        size++;
    ret = tg_sys3(SYS_write, fd, text, size);
    tg_close((int)fd);
    return ret < 0 ? ret : 0;
}

int tg_cgroup_make(struct tg_cgroup *cgroup)
{
    char name[NAME_ROOM];
    cgroup->leaf = cgroup->kill = -1;
    tg_put_number(name, (unsigned)cgroup->name);
    long ret = cgroup->made ? 0 : tg_sys3(SYS_mkdirat, cgroup->manager, name, 0755);
    if (ret < 0)
        return (int)ret;
    ret = open_at(cgroup->manager, name, O_RDONLY | O_DIRECTORY);
    if (ret < 0) {
        if (!cgroup->made)
            tg_sys3(SYS_unlinkat, cgroup->manager, name, AT_REMOVEDIR);
        return (int)ret;
    }
    cgroup->leaf = (int)ret;
    cgroup->kill = (int)open_at(cgroup->leaf, TG_CGROUP_KILL, O_WRONLY);
    return 0;
}

static long read_at(int dir, const char *name, char *ret_text, size_t size)
{
    long got, fd = open_at(dir, name, O_RDONLY);
    if (fd < 0)
        return fd;
    got = tg_sys3(SYS_read, fd, ret_text, size - 1);
    tg_close((int)fd);
    ret_text[got < 0 ? 0 : got] = 0;
    return got;
}

int tg_leaf_populated(int manager, uint32_t leaf)
{
    char path[NAME_ROOM + sizeof "/cgroup.events"], text[256];
    tg_put(tg_put_number(path, leaf), "/cgroup.events");
    long got = read_at(manager, path, text, sizeof text);
    /* ENODEV: it was removed while it was opened. */
    return got != -ENOENT && got != -ENODEV && (got < 0 || tg_contains(text, "populated 1"));
}

int64_t tg_cgroup_oom_kills(const struct tg_cgroup *cgroup)
{
    char text[256];
    /* Counted before the process gets its SIGKILL (mm/oom_kill.c), so one that was reaped has been counted. */
    if (!cgroup->made || cgroup->leaf < 0 || read_at(cgroup->leaf, "memory.events", text, sizeof text) < 0)
        return 0;
    return tg_number_after(text, "oom_kill ");
}

static int kill_listed(int pid, void *context)
{
    (void)context;
    /* 0 stands for a process that has no number in this namespace; it would mean the guard's own group. */
    if (pid > 0)
        tg_kill(pid, SIGKILL);
    return 0;
}

/* Calls for each directory in `dir`. Their names are read in batches; one that is removed meanwhile moves none. */
static void each_directory(int dir, int depth, void (*visit)(int parent, const char *name, int depth))
{
    _Alignas(struct tg_direntry) char buffer[512];
    long got;
    tg_sys3(SYS_lseek, dir, 0, SEEK_SET);
    while ((got = tg_sys3(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < got;) {
            const struct tg_direntry *e = (const struct tg_direntry *)(buffer + at);
            at += e->size;
            if (e->type == TG_DIRECTORY && e->name[0] != '.')
                visit(dir, e->name, depth + 1);
        }
    }
}

static void kill_in(int parent, const char *name, int depth)
{
    long fd, dir = open_at(parent, name, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return;
    fd = open_at((int)dir, "cgroup.procs", O_RDONLY);
    if (fd >= 0) {
        tg_each_number((int)fd, kill_listed, NULL);
        tg_close((int)fd);
    }
    if (depth < MAX_DEPTH)
        each_directory((int)dir, depth, kill_in);
    tg_close((int)dir);
}

/* Before cgroup.kill: what is frozen cannot fork, exit or be replaced, so the lists are complete and the numbers in them
 * stay who they are. SIGKILL reaches the frozen (cgroup v2, 5.2). As long as somebody does not stand still, nobody is
 * killed by number, and nobody let go on. */
static int kill_frozen(const struct tg_cgroup *cgroup)
{
    char text[64];
    long ret = write_at(cgroup->leaf, "cgroup.freeze", "1");
    for (int tries = 0; ret >= 0 && tries < FREEZE_TRIES; tries++) {
        ret = read_at(cgroup->leaf, "cgroup.events", text, sizeof text);
        if (ret >= 0 && tg_contains(text, "frozen 1")) {
            kill_in(cgroup->leaf, ".", 0);
            write_at(cgroup->leaf, "cgroup.freeze", "0");
            return 0;
        }
        tg_poll(NULL, 0, 1);
    }
    return ret < 0 ? (int)ret : -EAGAIN;
}

int tg_cgroup_kill(const struct tg_cgroup *cgroup)
{
    if (cgroup->kill < 0)
        return kill_frozen(cgroup);
    long ret = tg_write(cgroup->kill, "1", 1);
    return ret < 0 ? (int)ret : 0;
}

static void remove_below(int parent, const char *name, int depth)
{
    if (tg_sys3(SYS_unlinkat, parent, name, AT_REMOVEDIR) != -EBUSY || depth >= MAX_DEPTH)
        return;
    long dir = open_at(parent, name, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return;
    each_directory((int)dir, depth, remove_below);
    tg_close((int)dir);
    tg_sys3(SYS_unlinkat, parent, name, AT_REMOVEDIR);
}

int tg_cgroup_remove(struct tg_cgroup *cgroup)
{
    char name[NAME_ROOM];
    tg_put_number(name, (unsigned)cgroup->name);
    /* EBUSY says: a process lives in it, or there are cgroups below it, left by a supervisor within the tree. */
    long ret = tg_sys3(SYS_unlinkat, cgroup->manager, name, AT_REMOVEDIR);
    if (ret == -EBUSY) {
        each_directory(cgroup->leaf, 0, remove_below);
        ret = tg_sys3(SYS_unlinkat, cgroup->manager, name, AT_REMOVEDIR);
    }
    if (ret == -EBUSY || ret == -ENOMEM || ret == -EINTR)
        return -EBUSY;
    tg_close(cgroup->leaf);
    if (cgroup->kill >= 0)
        tg_close(cgroup->kill);
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
