/* linux/freezer.c - releases killed processes that a cgroup v1 freezer holds, without libc. */
#include "freezer.h"

#include "cgroup_below.h"
#include "../proc.h"
#include "../sys.h"

enum { LINE_ROOM = 1024, TEXT_ROOM = 4096, NUMBER_ROOM = 24 };

/* Parses a line of mountinfo (proc(5)): the mount point is the fifth word; " - ", the type, the source and the
 * controllers are at the end. */
static int take_mount(const char *line, char *ret_mount)
{
    if (!tg_contains(line, " - cgroup ") || !tg_contains(line, "freezer"))
        return 0;
    for (int word = 1; word < 5; line++)
        word += *line == ' ';
    while (*line != ' ')
        *ret_mount++ = *line++;
    *ret_mount = 0;
    return 1;
}

/* Returns whether the freezer hierarchy is mounted. */
static int find_mount(char ret_mount[LINE_ROOM])
{
    char text[LINE_ROOM], line[LINE_ROOM];
    int found = 0, at = 0;
    long got, fd = tg_cgroup_open(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY);
    while (fd >= 0 && !found && (got = tg_read((int)fd, text, sizeof text)) > 0) {
        for (long i = 0; i < got && !found; i++) {
            /* Drop the rest of a line that is too long. */
            if (text[i] != '\n') {
                line[at] = text[i];
                at += at < LINE_ROOM - 1;
                continue;
            }
            line[at] = 0;
            at = 0;
            found = take_mount(line, ret_mount);
        }
    }
    if (fd >= 0)
        tg_close((int)fd);
    return found;
}

void tg_release_frozen(int pid)
{
    char text[TEXT_ROOM], mount[LINE_ROOM + sizeof "/cgroup.procs"], path[32], number[NUMBER_ROOM];
    struct tg_stat stat;
    /* /proc shows frozen processes in the state of a disk wait. */
    if (tg_stat(pid, &stat) < 0 || stat.state != 'D')
        return;
    tg_put(tg_put_number(tg_put(path, "/proc/"), (unsigned)pid), "/cgroup");
    if (tg_cgroup_read(AT_FDCWD, path, text, sizeof text) <= 0 || !tg_contains(text, "freezer") || !find_mount(mount))
        return;
    tg_put_number(number, (unsigned)pid);
    char *end = mount;
    while (*end)
        end++;
    tg_put(end, "/cgroup.procs");
    tg_cgroup_write(AT_FDCWD, mount, number);
}
