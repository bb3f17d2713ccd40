/* text.h - the little text that code without libc has to make and to read. */
#ifndef TG_TEXT_H
#define TG_TEXT_H

#include <stdint.h>

/* Appends, and ends with a NUL. Returns where that stands. */
char *tg_put(char *to, const char *from);
char *tg_put_number(char *to, uint64_t n);

int tg_contains(const char *text, const char *part);

/* The number that follows a part of a text; 0 if there is none. */
int64_t tg_number_after(const char *text, const char *part);

/* Called with a number. Returning non-zero ends the walk. */
typedef int (*tg_visit)(int number, void *context);

/* Visits the numbers in what can be read from a descriptor. Returns how many there were, or -errno. */
int tg_each_number(int fd, tg_visit visit, void *context);

#endif
