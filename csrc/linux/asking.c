/* linux/asking.c - lets a stopped process hear a request to end. */
#include "../asking.h"

#include "../proc.h"
#include "../sys.h"

struct asked {
    int group;
    int ancestor;
};

static uint64_t bit(int signal)
{
    return (uint64_t)1 << (signal - 1);
}

/* Of a process that cannot be looked at, for want of descriptors or memory, nobody knows whether it is stopped. That it
 * hears the request matters more than that a running one gets no SIGCONT, so it counts as stopped unless it is gone. */
static int may_be_stopped(long err)
{
    return err != -ENOENT && err != -ESRCH;
}

/* Returns whether a signal is pending that is going to stop the process. Signals that it has blocked, ignores or handles
 * do not. */
static int will_stop(int pid)
{
    char path[32], text[4096];
    tg_put(tg_put_number(tg_put(path, "/proc/"), (unsigned)pid), "/status");
    long fd = tg_sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return may_be_stopped(fd);
    long got = tg_sys3(SYS_read, fd, text, sizeof text - 1);
    tg_close((int)fd);
    if (got < 0)
        return may_be_stopped(got);
    text[got] = 0;
    uint64_t pending = tg_hex_after(text, "\nSigPnd:\t") | tg_hex_after(text, "\nShdPnd:\t");
    uint64_t unheard = tg_hex_after(text, "\nSigBlk:\t") | tg_hex_after(text, "\nSigIgn:\t") |
                       tg_hex_after(text, "\nSigCgt:\t");
    return (pending & bit(SIGSTOP)) || (pending & ~unheard & (bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU)));
}

/* Pending signals come before the state: one that was taken from the queue meanwhile shows in the state. */
static int is_stopped(int pid)
{
    struct tg_stat stat;
    if (will_stop(pid))
        return 1;
    int ret = tg_stat(pid, &stat);
    return ret < 0 ? may_be_stopped(ret) : stat.state == 'T' || stat.state == 't';
}

static int is_asked(int pid, const struct asked *asked)
{
    return tg_sys1(SYS_getpgid, pid) == asked->group && (!asked->ancestor || tg_descends(pid, asked->ancestor));
}

/* The handle is opened before the second check, so that the signal goes to the process that was checked. */
static int let_hear(int pid, void *context)
{
    const struct asked *asked = context;
    /* A call, and no file: most processes of the host are in other groups. */
    if (tg_sys1(SYS_getpgid, pid) != asked->group || !is_stopped(pid))
        return 0;
    long fd = tg_sys2(SYS_pidfd_open, pid, 0);
    if (is_asked(pid, asked))
        tg_signal_held((int)fd, pid, SIGCONT);
    if (fd >= 0)
        tg_close((int)fd);
    return 0;
}

void tg_let_hear(int group, int ancestor)
{
    struct asked asked = {group, ancestor};
    /* Without /proc nobody can tell whether one is stopped. That all hear the request matters more. */
    if (tg_each_process(let_hear, &asked) < 0 && !ancestor)
        tg_kill(-group, SIGCONT);
}
