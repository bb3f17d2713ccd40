/* bsd/asking.c - lets a stopped process hear a request to end. */
#include "../asking.h"

#include "../proc.h"
#include "../sys.h"

struct asked {
    int group;
    int ancestor;
};

static int let_hear(int pid, void *context)
{
    const struct asked *asked = context;
    struct tg_stat stat;
    if (tg_stat(pid, &stat) == 0 && stat.pgrp == asked->group && stat.state == 'T' &&
        (!asked->ancestor || tg_descends(pid, asked->ancestor)))
        tg_kill(pid, SIGCONT);
    return 0;
}

void tg_let_hear(int group, int ancestor)
{
    struct asked asked = {group, ancestor};
    tg_each_process(let_hear, &asked);
}
