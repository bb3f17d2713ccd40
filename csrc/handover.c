/* handover.c - what a guard is given, as an argument. Library and guard share it, so it uses no libc. */
#include "handover.h"

#include "attributes.h"

_Static_assert(sizeof(struct tg_handover) == sizeof(uint64_t) + 9 * sizeof(int32_t) + sizeof(struct tg_options),
               "padding would hand over bytes that nobody has set");
_Static_assert(sizeof(struct tg_attributes) == (TG_CPU_WORDS + 2 * TG_RLIMITS + 1) * sizeof(uint64_t) +
                                                   (12 + TG_MAX_GROUPS) * sizeof(uint32_t),
               "the same, and the arrays have the sizes that are known by name");

static char *write_bytes(char *to, const void *bytes, size_t size)
{
    const unsigned char *from = bytes;
    for (size_t i = 0; i < size; i++) {
        *to++ = "0123456789abcdef"[from[i] >> 4];
        *to++ = "0123456789abcdef"[from[i] & 15];
    }
    return to;
}

size_t tg_handover_room(const struct tg_attributes *attributes)
{
    return 2 * (sizeof(struct tg_handover) + (attributes ? tg_attributes_size(attributes) : 0)) + 1;
}

void tg_handover_write(char *ret_text, const struct tg_handover *handover, const struct tg_attributes *attributes)
{
    char *to = write_bytes(ret_text, handover, sizeof *handover);
    if (attributes)
        to = write_bytes(to, attributes, tg_attributes_size(attributes));
    *to = 0;
}

/* Returns the value of a hexadecimal digit, or -1. */
static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Returns what follows in the text, or NULL. */
static const char *read_bytes(const char *text, void *ret_bytes, size_t size)
{
    unsigned char *to = ret_bytes;
    for (size_t i = 0; i < size; i++, text += 2) {
        int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);
        if (low < 0)
            return NULL;
        to[i] = (unsigned char)(high << 4 | low);
    }
    return text;
}

/* The attributes have a size of their own, which follows from their first part. */
static int read_attributes(const char *text, struct tg_attributes *ret_attributes)
{
    text = read_bytes(text, ret_attributes, offsetof(struct tg_attributes, groups));
    if (!text || ret_attributes->ngroups > TG_MAX_GROUPS)
        return 0;
    text = read_bytes(text, ret_attributes->groups, ret_attributes->ngroups * sizeof ret_attributes->groups[0]);
    return text && !*text;
}

int tg_handover_read(const char *text, struct tg_handover *ret_handover, struct tg_attributes *ret_attributes)
{
    text = read_bytes(text, ret_handover, sizeof *ret_handover);
    ret_attributes->given = 0;
    return text && (!*text || read_attributes(text, ret_attributes));
}
