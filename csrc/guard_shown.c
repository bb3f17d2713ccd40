/* guard_shown.c - what other processes can read of a guard although they cannot access it: the first argument of its
 * command line (wire.h). Writing it takes no system call. */
#include "guard.h"

/* Returns the place of a part, behind `before`; NULL if the guard was not started with all that it writes to. */
static char *part(const struct guard *g, const char *before)
{
    const char *expected = TG_SHOWN_TREE;
    size_t at = 0, shown = 0;
    while (before[at])
        at++;
    while (expected[shown] && g->argv[0][shown])
        shown++;
    return expected[shown] ? NULL : g->argv[0] + at;
}

void tg_guard_show_state(const struct guard *g, const char *state)
{
    char *to = part(g, TG_SHOWN_STATE);
    while (to && *state)
        *to++ = *state++;
}

/* A process id has at most ten digits. Spaces follow. */
void tg_guard_show_root(const struct guard *g)
{
    char *to = part(g, TG_SHOWN_ROOT);
    int digits = 1;
    for (int rest = g->root; rest > 9; rest /= 10)
        digits++;
    for (int rest = g->root; to && digits > 0; rest /= 10)
        to[--digits] = (char)('0' + rest % 10);
}
