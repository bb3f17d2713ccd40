/* direntry.h - directories of numbers (/proc, /proc/self/fd) without libc. */
#ifndef TG_DIRENTRY_H
#define TG_DIRENTRY_H

#include "sys.h"

#define TG_DIRECTORY 4  /* DT_DIR */

/* As getdents64(2) gives it. */
struct tg_direntry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
};

/* The number that the entry is named after; -1 if its name is no number. */
TG_RAW static inline int tg_direntry_number(const struct tg_direntry *e)
{
    int n = 0;
    const char *s = e->name;
    for (; *s >= '0' && *s <= '9'; s++)
        n = n * 10 + (*s - '0');
    return *s ? -1 : n;
}

#endif
