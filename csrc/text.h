/* text.h - text functions for code without libc. */
#ifndef TG_TEXT_H
#define TG_TEXT_H

#include <stdint.h>

/* Appends a text and terminates it with a NUL. Returns the position of the NUL. */
char *tg_put(char *to, const char *from);
char *tg_put_number(char *to, uint64_t n);

int tg_contains(const char *text, const char *part);

/* Returns the number after `part` in `text`; 0 if there is none. */
int64_t tg_number_after(const char *text, const char *part);

/* The same for a hexadecimal number. */
uint64_t tg_hex_after(const char *text, const char *part);

/* Called with each number. A non-zero result ends the iteration. */
typedef int (*tg_visit)(int number, void *context);

/* Visits the numbers in the contents of a descriptor. Returns how many there were, or -errno. */
int tg_each_number(int fd, tg_visit visit, void *context);

#endif
