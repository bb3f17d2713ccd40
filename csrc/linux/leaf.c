/* linux/leaf.c - checks whether a leaf is empty, as its guard has reported. */
#include "../leaf.h"

#include "../sys.h"
#include "../text.h"

int tg_leaf_populated(int manager, uint64_t leaf)
{
    char path[64], text[256];
    tg_put(tg_put_number(path, leaf), "/cgroup.events");
    long fd = tg_sys4(SYS_openat, manager, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    long got = tg_read((int)fd, text, sizeof text - 1);
    tg_close((int)fd);
    text[got < 0 ? 0 : got] = 0;
    return tg_contains(text, "populated 1");
}
