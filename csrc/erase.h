/* erase.h - erases memory of a program that others can see. */
#ifndef TG_ERASE_H
#define TG_ERASE_H

#include "sys.h"

/* Sets memory to zero. Returns whole pages to the system, where it takes them. */
static inline void tg_erase(char *from, size_t size)
{
    uintptr_t end = (uintptr_t)from + size;
    uintptr_t first_page = ((uintptr_t)from + 4095) & ~(uintptr_t)4095, last_page = end & ~(uintptr_t)4095;
    volatile char *c = from;
    if (first_page < last_page && tg_give_back(first_page, last_page - first_page) == 0) {
        while ((uintptr_t)c < first_page)
            *c++ = 0;
        c = (char *)last_page;
    }
    while ((uintptr_t)c < end)
        *c++ = 0;
}

#endif
