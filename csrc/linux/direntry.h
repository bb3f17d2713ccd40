/* linux/direntry.h - reads directories whose entries are numbers (/proc, /proc/self/fd), without libc. */
#ifndef TG_DIRENTRY_H
#define TG_DIRENTRY_H

#include "../sys.h"

#define TG_DIRECTORY 4  /* DT_DIR */

/* struct linux_dirent64, see getdents64(2). */
struct tg_direntry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

/* Returns the number that is the entry's name, or -1 if the name is not a number. */
TG_RAW static inline int tg_direntry_number(const struct tg_direntry *e)
{
    int n = 0;
    const char *s = e->name;
    for (; *s >= '0' && *s <= '9'; s++)
        n = n * 10 + (*s - '0');
    return *s ? -1 : n;
}

#endif
