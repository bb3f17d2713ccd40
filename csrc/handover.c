/* handover.c - what a guard is given, as an argument. Library and guard share it, so it uses no libc. */
#include "handover.h"

_Static_assert(sizeof(struct tg_handover) == sizeof(uint64_t) + 7 * sizeof(int32_t) + sizeof(struct tg_options),
               "padding would hand over bytes that nobody has set");

void tg_handover_write(char ret_text[TG_HANDOVER_TEXT], const struct tg_handover *handover)
{
    const unsigned char *from = (const unsigned char *)handover;
    char *to = ret_text;
    for (size_t i = 0; i < sizeof *handover; i++) {
        *to++ = "0123456789abcdef"[from[i] >> 4];
        *to++ = "0123456789abcdef"[from[i] & 15];
    }
    *to = 0;
}

/* Returns the value of a hexadecimal digit, or -1. */
static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int tg_handover_read(const char *text, struct tg_handover *ret_handover)
{
    unsigned char *to = (unsigned char *)ret_handover;
    for (size_t i = 0; i < sizeof *ret_handover; i++, text += 2) {
        int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);
        if (low < 0)
            return 0;
        to[i] = (unsigned char)(high << 4 | low);
    }
    return !*text;
}
