/* linux/proc.c - reads parents, children and states of processes from /proc, without libc. */
#include "../proc.h"

#include "direntry.h"

static long open_read(const char *path, int flags)
{
    return tg_sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | flags, 0);
}

struct filter {
    int parent;
    int count;
    tg_visit visit;
    void *context;
};

static int visit_if_child(int pid, void *context)
{
    struct filter *f = context;
    struct tg_stat stat;
    if (tg_stat(pid, &stat) < 0 || stat.ppid != f->parent)
        return 0;
    f->count++;
    return f->visit(pid, f->context);
}

/* /proc may belong to another pid namespace than this process. Then its numbers refer to other processes: -ENOENT. */
static int check_proc(void)
{
    char link[16];
    int number = 0;
    long got = tg_sys4(SYS_readlinkat, AT_FDCWD, "/proc/self", link, sizeof link);
    for (long i = 0; i < got; i++)
        number = number * 10 + (link[i] - '0');
    return got < 0 ? (int)got : number == (int)tg_getpid() ? 0 : -ENOENT;
}

/* CONFIG_PROC_CHILDREN; 3.5. */
int tg_open_children(void)
{
    return (int)open_read("/proc/thread-self/children", 0);
}

/* The kernel generates the list anew for each read from its beginning. It may omit a child that is created or reaped at
 * the same time, so callers read it repeatedly. */
int tg_each_child(int list, tg_visit visit, void *context)
{
    int ret = check_proc();
    if (ret < 0)
        return ret;
    if (list >= 0) {
        tg_sys3(SYS_lseek, list, 0, SEEK_SET);
        return tg_each_number(list, visit, context);
    }
    struct filter filter = {(int)tg_getpid(), 0, visit, context};
    ret = tg_each_process(visit_if_child, &filter);
    return ret < 0 ? ret : filter.count;
}

int tg_each_process(tg_visit visit, void *context)
{
    _Alignas(struct tg_direntry) char buffer[1024];
    int count = 0, stop = 0;
    long got = 0, dir = check_proc();
    if (dir < 0)
        return (int)dir;
    dir = open_read("/proc", O_DIRECTORY);
    if (dir < 0)
        return (int)dir;
    while (!stop && (got = tg_sys3(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < got && !stop;) {
            const struct tg_direntry *e = (const struct tg_direntry *)(buffer + at);
            int pid = tg_direntry_number(e);
            at += e->size;
            if (pid < 0)
                continue;
            count++;
            stop = visit(pid, context);
        }
    }
    tg_close((int)dir);
    return got < 0 ? (int)got : count;
}

/* Reads /proc/`name`/stat. Returns the offset of the state, or -errno, and stores the length. The process name may
 * contain any characters, including parentheses, so the fields start after the last parenthesis (proc(5)). */
static long read_stat(int dir, const char *name, char *ret_text, size_t size, long *ret_size)
{
    long fd = tg_sys4(SYS_openat, dir, name, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    long got = tg_sys3(SYS_read, fd, ret_text, size);
    tg_close((int)fd);
    if (got <= 0)
        return got < 0 ? got : -ESRCH;
    long at = got - 1;
    while (at > 0 && ret_text[at] != ')')
        at--;
    *ret_size = got;
    return at + 4 >= got ? -EINVAL : at + 2;
}

/* Returns the state of a thread that has not ended; 'Z' if there is none. */
static char living_state(int pid)
{
    _Alignas(struct tg_direntry) char buffer[1024];
    char path[32], text[512], state = 'Z';
    long got, size;
    tg_put(tg_put_number(tg_put(path, "/proc/"), (unsigned)pid), "/task");
    long dir = open_read(path, O_DIRECTORY);
    if (dir < 0)
        return state;
    while (tg_ended(state) && (got = tg_sys3(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < got && tg_ended(state);) {
            const struct tg_direntry *e = (const struct tg_direntry *)(buffer + at);
            at += e->size;
            if (tg_direntry_number(e) < 0)
                continue;
            tg_put(tg_put(path, e->name), "/stat");
            long found = read_stat((int)dir, path, text, sizeof text, &size);
            state = found < 0 ? 'Z' : text[found];
        }
    }
    tg_close((int)dir);
    return state;
}

/* linux/sched.h: PF_FORKNOEXEC */
enum { FORKED_WITHOUT_EXEC = 0x40 };

/* "pid (comm) state ppid pgrp … num_threads … starttime": the 20th and the 22nd field. num_threads includes ended
 * threads that a tracer has not waited for, so it does not prove that a thread lives. */
int tg_stat(int pid, struct tg_stat *ret_stat)
{
    char path[32], text[512];
    long got;
    tg_put(tg_put_number(tg_put(path, "/proc/"), (unsigned)pid), "/stat");
    long at = read_stat(AT_FDCWD, path, text, sizeof text, &got);
    if (at < 0)
        return (int)at;
    ret_stat->state = text[at];
    uint64_t fields[22 - 3] = {0};
    at += 2;
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++, at++)
        for (; at < got && text[at] != ' '; at++)
            fields[i] = fields[i] * 10 + (uint64_t)(text[at] - '0');
    ret_stat->ppid = (int)fields[0];
    ret_stat->pgrp = (int)fields[1];
    ret_stat->started = (int64_t)fields[22 - 4];
    ret_stat->session = (int)fields[6 - 4];
    ret_stat->executed = !(fields[9 - 4] & FORKED_WITHOUT_EXEC);
    ret_stat->reaped = (int64_t)(fields[11 - 4] + fields[13 - 4]);
    if (tg_ended(ret_stat->state) && fields[20 - 4] > 1)
        ret_stat->state = living_state(pid);
    return 0;
}

void tg_signal_held(int pidfd, int pid, int signal)
{
    long ret = pidfd < 0 ? -ENOSYS : tg_sys4(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
    if (ret == -ENOSYS || ret == -EPERM)
        tg_kill(pid, signal);
}
