/* linux/text.c - text functions for code without libc. */
#include "../text.h"

#include "../sys.h"

char *tg_put(char *to, const char *from)
{
    while (*from)
        *to++ = *from++;
    *to = 0;
    return to;
}

char *tg_put_number(char *to, uint64_t n)
{
    char digits[20];
    int i = 0;
    do
        digits[i++] = (char)('0' + n % 10);
    while (n /= 10);
    while (i)
        *to++ = digits[--i];
    *to = 0;
    return to;
}

/* Returns the end of `part` in `text`, or NULL if it does not occur. */
static const char *after(const char *text, const char *part)
{
    for (; *text; text++) {
        const char *t = text, *p = part;
        while (*p && *t == *p)
            t++, p++;
        if (!*p)
            return t;
    }
    return NULL;
}

int tg_contains(const char *text, const char *part)
{
    return after(text, part) != NULL;
}

int64_t tg_number_after(const char *text, const char *part)
{
    int64_t n = 0;
    for (const char *t = after(text, part); t && *t >= '0' && *t <= '9'; t++)
        n = n * 10 + (*t - '0');
    return n;
}

uint64_t tg_hex_after(const char *text, const char *part)
{
    uint64_t n = 0;
    for (const char *t = after(text, part); t; t++) {
        if (*t >= '0' && *t <= '9')
            n = n * 16 + (uint64_t)(*t - '0');
        else if (*t >= 'a' && *t <= 'f')
            n = n * 16 + (uint64_t)(*t - 'a' + 10);
        else
            break;
    }
    return n;
}

int tg_each_number(int fd, tg_visit visit, void *context)
{
    char buffer[1024];
    long got;
    int count = 0, number = 0, digits = 0;
    /* The end of the buffer may split a number. */
    while ((got = tg_sys3(SYS_read, fd, buffer, sizeof buffer)) > 0) {
        for (long i = 0; i < got; i++) {
            if (buffer[i] >= '0' && buffer[i] <= '9') {
                number = number * 10 + (buffer[i] - '0');
                digits = 1;
            } else if (digits) {
                count++;
                if (visit(number, context))
                    return count;
                number = digits = 0;
            }
        }
    }
    return got < 0 ? (int)got : count;
}
