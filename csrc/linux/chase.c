/* linux/chase.c - kills a chain of processes of which each forks the next one and exits.
 *
 * A look at all processes takes milliseconds, and such a chain has moved on by then. The kernel gives out process ids in
 * ascending order, and /proc/loadavg shows the last one of this namespace, so the newest link is found at once. */
#include "../proc.h"
#include "../sys.h"
#include "../treeguard.h"

/* NEWEST: how many of the newest process ids are examined at a time; others on the host fork too. IDLE_MS: how long no
 * process may have been created for the chase to end. LONGEST_LINE: the chain of parents may change while it is
 * followed. */
enum { NEWEST = 8, IDLE_MS = 2, LONGEST_LINE = 4096 };

/* Returns the last process id that was given out, or -errno. */
static int last_pid(int loadavg)
{
    char text[128];
    int n = 0;
    long got = tg_sys4(SYS_pread64, loadavg, text, sizeof text, 0);
    if (got <= 0)
        return got < 0 ? (int)got : -ENOENT;
    long at = got - 1;
    while (at > 0 && text[at - 1] != ' ')
        at--;
    for (; at < got && text[at] >= '0' && text[at] <= '9'; at++)
        n = n * 10 + (text[at] - '0');
    return n;
}

static int is_below(int pid, int ancestor)
{
    struct tg_stat stat;
    for (int depth = 0; depth < LONGEST_LINE && pid > 1; depth++) {
        if (tg_stat(pid, &stat) < 0 || (depth == 0 && tg_ended(stat.state)))
            return 0;
        if (stat.ppid == ancestor)
            return 1;
        pid = stat.ppid;
    }
    return 0;
}

/* Returns whether there was such a process. Open the handle before the second look, so that the signal goes to the
 * process that was seen. */
static int kill_below(int pid, int ancestor)
{
    if (!is_below(pid, ancestor))
        return 0;
    long handle = tg_sys2(SYS_pidfd_open, pid, 0);
    int found = is_below(pid, ancestor);
    if (found)
        tg_signal_held((int)handle, pid, SIGKILL);
    if (handle >= 0)
        tg_close((int)handle);
    return found;
}

int tg_chase(int ancestor, int milliseconds)
{
    int64_t now = tg_clock(), end = now + (int64_t)milliseconds * 1000000, idle = now;
    int killed = 0, newest = 0;
    long loadavg = tg_sys4(SYS_openat, AT_FDCWD, "/proc/loadavg", O_RDONLY | O_CLOEXEC, 0);
    if (loadavg < 0)
        return (int)loadavg;
    for (; now < end && now - idle < IDLE_MS * 1000000; now = tg_clock()) {
        int top = last_pid((int)loadavg);
        if (top != newest)
            idle = now;
        newest = top;
        for (int pid = top; pid > 1 && pid > top - NEWEST; pid--)
            killed += kill_below(pid, ancestor);
    }
    tg_close((int)loadavg);
    return killed;
}
