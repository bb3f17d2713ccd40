/* cgroup_below_linux.c - a cgroup with all that is below it, at any depth, without libc. */
#include "cgroup_below.h"

#include "direntry.h"
#include "freezer.h"
#include "proc.h"

#include <sys/stat.h>

#ifndef AT_REMOVEDIR
#define AT_REMOVEDIR 0x200
#endif

/* How many are held by their handles at a time; how many are removed at a time, a tenth of a millisecond each. */
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

/* The first directory in `dir`, the one with inode `wanted`, or the one that follows that with inode `before`; 0 stands for
 * none. Returns whether there is such a one. */
static int find(int dir, uint64_t wanted, uint64_t before, struct entry *ret_entry)
{
    _Alignas(struct tg_direntry) char buffer[1024];
    long got;
    tg_sys3(SYS_lseek, dir, 0, SEEK_SET);
    while ((got = tg_sys3(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < got;) {
            const struct tg_direntry *e = (const struct tg_direntry *)(buffer + at);
            at += e->size;
            if (e->type != TG_DIRECTORY || e->name[0] == '.')
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

/* 0: not to be had. By statx(2), since a struct stat is not the same for libc and kernel everywhere. */
static uint64_t inode_of(int fd)
{
    struct statx stat;
    return tg_sys5(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_INO, &stat) < 0 ? 0 : stat.stx_ino;
}

/* Goes to the directory above, or to one below. Returns whether it could; else `*dir` stays open. */
static int go(int *dir, const char *name)
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
    int skipped;    /* how many of the list are passed over, since they had their turn */
    int count;
    int threads[HELD];
    int processes[HELD];
    int handles[HELD];
};

/* The process of a thread. A list of a cgroup's processes leaves out one whose main thread ended elsewhere. */
static int process_of(int thread)
{
    char path[32], text[512];
    tg_put(tg_put_number(tg_put(path, "/proc/"), (unsigned)thread), "/status");
    int64_t process = tg_cgroup_read(AT_FDCWD, path, text, sizeof text) < 0 ? 0 : tg_number_after(text, "\nTgid:\t");
    return process ? (int)process : thread;
}

static int hold(int thread, void *context)
{
    struct held *h = context;
    if (h->skipped) {
        h->skipped--;
        return 0;
    }
    if (h->count == HELD)
        return 1;
    /* 0 stands for one that has no number in this namespace; to kill(2) it would mean the guard's own group. */
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

static int strike(int thread, void *context)
{
    const struct held *h = context;
    for (int i = 0; thread > 0 && i < h->count; i++)
        if (h->threads[i] == thread && h->handles[i] != -ESRCH)
            kill_held(h, i);
    return 0;
}

static void each_thread(int dir, tg_visit visit, void *context)
{
    /* Of a threaded cgroup there is no list of processes (EOPNOTSUPP), and a kill(2) to a thread is one to its process. */
    long fd = tg_cgroup_open(dir, "cgroup.threads", O_RDONLY);
    if (fd < 0)
        return;
    tg_each_number((int)fd, visit, context);
    tg_close((int)fd);
}

/* A number that is still listed when its process is held is that of this process, whatever happened before. */
static void kill_in(int dir, int spared)
{
    struct held h;
    h.spared = spared;
    for (int from = 0;; from += HELD) {
        h.skipped = from;
        h.count = 0;
        each_thread(dir, hold, &h);
        if (h.count)
            each_thread(dir, strike, &h);
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
            if (!go(&at, entry.name))
                continue;
            kill_in(at, spared);
            before = 0;
            depth++;
        } else {
            before = inode_of(at);
            if (!before || !depth-- || !go(&at, ".."))
                break;
        }
    }
    tg_close(at);
}

/* Always the first that is met: while somebody lives in it, the rest may wait too. */
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
            if (ret == -EBUSY && go(&at, entry.name))
                depth++;
            else if (ret < 0 && ret != -ENOENT)
                break;
            removed += ret == 0;
        } else {
            uint64_t inode = inode_of(at);
            if (!inode || !depth-- || !go(&at, ".."))
                break;
            if (find(at, inode, 0, &entry) && tg_cgroup_remove_at(at, entry.name) == -EBUSY)
                break;
            removed++;
        }
    }
    tg_close(at);
    return 0;
}
