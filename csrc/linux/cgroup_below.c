/* linux/cgroup_below.c - operations on a cgroup and all cgroups below it, at any depth, without libc. */
#include "cgroup_below.h"

#include "direntry.h"
#include "freezer.h"
#include "../proc.h"

#include <sys/stat.h>

#ifndef AT_REMOVEDIR
#define AT_REMOVEDIR 0x200
#endif

/* HELD: number of processes whose handles are open at a time. REMOVED: number of cgroups removed per call; each takes a
 * tenth of a millisecond. */
enum { HELD = 32, REMOVED = 1024 };

enum { NAME_ROOM = 256, DIRECTORY_MODE = 0755, FILE_MODE = 0644 };

long tg_cgroup_open(int dir, const char *name, int flags)
{
    long fd = tg_sys4(SYS_openat, dir, name, flags | O_CLOEXEC, 0);
    if (fd != -EACCES || dir == AT_FDCWD)
        return fd;
    tg_sys2(SYS_fchmod, dir, DIRECTORY_MODE);
    tg_sys3(SYS_fchmodat, dir, name, flags & O_DIRECTORY ? DIRECTORY_MODE : FILE_MODE);
    return tg_sys4(SYS_openat, dir, name, flags | O_CLOEXEC, 0);
}

long tg_cgroup_write(int dir, const char *name, const char *text)
{
    size_t size = 0;
    long ret, fd = tg_cgroup_open(dir, name, O_WRONLY);
    if (fd < 0)
        return fd;
    while (text[size])
        size++;
    ret = tg_sys3(SYS_write, fd, text, size);
    tg_close((int)fd);
    return ret < 0 ? ret : 0;
}

long tg_cgroup_read(int dir, const char *name, char *ret_text, unsigned long size)
{
    long got, fd = tg_cgroup_open(dir, name, O_RDONLY);
    ret_text[0] = 0;
    if (fd < 0)
        return fd;
    got = tg_sys3(SYS_read, fd, ret_text, size - 1);
    tg_close((int)fd);
    ret_text[got < 0 ? 0 : got] = 0;
    return got;
}

long tg_cgroup_remove_at(int dir, const char *name)
{
    long ret = tg_sys3(SYS_unlinkat, dir, name, AT_REMOVEDIR);
    if (ret != -EACCES || tg_sys2(SYS_fchmod, dir, DIRECTORY_MODE) < 0)
        return ret;
    return tg_sys3(SYS_unlinkat, dir, name, AT_REMOVEDIR);
}

struct entry {
    uint64_t inode;
    char name[NAME_ROOM];
};

/* Returns whether a name is "." or "..". A cgroup may have any other name that begins with a dot. */
static int is_dot(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Finds a directory in `dir`: the first one, the one with inode `wanted`, or the one after the one with inode `before`;
 * 0 means not specified. Returns whether there is one. */
static int find(int dir, uint64_t wanted, uint64_t before, struct entry *ret_entry)
{
    _Alignas(struct tg_direntry) char buffer[1024];
    long got;
    tg_sys3(SYS_lseek, dir, 0, SEEK_SET);
    while ((got = tg_sys3(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < got;) {
            const struct tg_direntry *e = (const struct tg_direntry *)(buffer + at);
            at += e->size;
            if (e->type != TG_DIRECTORY || is_dot(e->name))
                continue;
            if (before) {
                before = e->inode == before ? 0 : before;
            } else if (!wanted || e->inode == wanted) {
                ret_entry->inode = e->inode;
                tg_put(ret_entry->name, e->name);
                return 1;
            }
        }
    }
    return 0;
}

/* Returns 0 on failure. Uses statx(2), because struct stat differs between libc and kernel on some machines. */
static uint64_t inode_of(int fd)
{
    struct statx stat;
    return tg_sys5(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_INO, &stat) < 0 ? 0 : stat.stx_ino;
}

/* Changes to the parent directory or to a subdirectory. Returns whether that worked; otherwise `*dir` stays open. */
static int enter(int *dir, const char *name)
{
    long fd = tg_cgroup_open(*dir, name, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return 0;
    tg_close(*dir);
    *dir = (int)fd;
    return 1;
}

struct held {
    int spared;
    int skipped;    /* number of list entries to skip because they are already done */
    int count;
    int threads[HELD];
    int processes[HELD];
    int handles[HELD];
};

/* Returns the process of a thread. The list of processes of a cgroup omits a process whose main thread has ended in
 * another cgroup, so the caller reads the list of threads. */
static int process_of(int thread)
{
    char path[32], text[512];
    tg_put(tg_put_number(tg_put(path, "/proc/"), (unsigned)thread), "/status");
    int64_t process = tg_cgroup_read(AT_FDCWD, path, text, sizeof text) < 0 ? 0 : tg_number_after(text, "\nTgid:\t");
    return process ? (int)process : thread;
}

static int hold_listed(int thread, void *context)
{
    struct held *h = context;
    if (h->skipped) {
        h->skipped--;
        return 0;
    }
    if (h->count == HELD)
        return 1;
    /* 0 stands for a process without a process id in this namespace. kill(2) would take it as the guard's own group. */
    int process = thread > 0 ? process_of(thread) : 0;
    int wanted = process && process != h->spared && process != (int)tg_getpid();
    h->threads[h->count] = wanted ? thread : 0;
    h->processes[h->count] = process;
    h->handles[h->count++] = wanted ? (int)tg_sys2(SYS_pidfd_open, process, 0) : -1;
    return 0;
}

static void kill_held(const struct held *h, int i)
{
    tg_signal_held(h->handles[i], h->processes[i], SIGKILL);
    tg_release_frozen(h->processes[i]);
}

static int kill_listed(int thread, void *context)
{
    const struct held *h = context;
    for (int i = 0; thread > 0 && i < h->count; i++)
        if (h->threads[i] == thread && h->handles[i] != -ESRCH)
            kill_held(h, i);
    return 0;
}

static void each_thread(int dir, tg_visit visit, void *context)
{
    /* A threaded cgroup has no list of processes (EOPNOTSUPP). kill(2) with a thread id signals the whole process. */
    long fd = tg_cgroup_open(dir, "cgroup.threads", O_RDONLY);
    if (fd < 0)
        return;
    tg_each_number((int)fd, visit, context);
    tg_close((int)fd);
}

/* Kills the processes in one cgroup. Open the handles first and read the list again afterwards: a thread id that is
 * still listed while the handle of its process is open belongs to that process, even if the id was reused before. */
static void kill_in(int dir, int spared)
{
    struct held h;
    h.spared = spared;
    for (int from = 0;; from += HELD) {
        h.skipped = from;
        h.count = 0;
        each_thread(dir, hold_listed, &h);
        if (h.count)
            each_thread(dir, kill_listed, &h);
        for (int i = 0; i < h.count; i++)
            if (h.handles[i] >= 0)
                tg_close(h.handles[i]);
        if (h.count < HELD)
            return;
    }
}

void tg_kill_below(int dir, int spared)
{
    struct entry entry;
    uint64_t before = 0;
    long fd = tg_cgroup_open(dir, ".", O_RDONLY | O_DIRECTORY);
    int at = (int)fd, depth = 0;
    if (fd < 0)
        return;
    kill_in(at, spared);
    for (;;) {
        if (find(at, 0, before, &entry)) {
            before = entry.inode;
            if (!enter(&at, entry.name))
                continue;
            kill_in(at, spared);
            before = 0;
            depth++;
        } else {
            before = inode_of(at);
            if (!before || !depth-- || !enter(&at, ".."))
                break;
        }
    }
    tg_close(at);
}

/* Always removes the first directory found. If a process still lives in it, the rest can wait as well. */
long tg_remove_below(int dir)
{
    struct entry entry;
    long fd = tg_cgroup_open(dir, ".", O_RDONLY | O_DIRECTORY);
    int at = (int)fd, depth = 0;
    if (fd < 0)
        return fd;
    for (int removed = 0; removed < REMOVED;) {
        if (find(at, 0, 0, &entry)) {
            long ret = tg_cgroup_remove_at(at, entry.name);
            if (ret == -EBUSY && enter(&at, entry.name))
                depth++;
            else if (ret < 0 && ret != -ENOENT)
                break;
            removed += ret == 0;
        } else {
            uint64_t inode = inode_of(at);
            if (!inode || !depth-- || !enter(&at, ".."))
                break;
            if (find(at, inode, 0, &entry) && tg_cgroup_remove_at(at, entry.name) == -EBUSY)
                break;
            removed++;
        }
    }
    tg_close(at);
    return 0;
}
