/* freebsd/launch.c - starts a guard on FreeBSD.
 *
 * vfork(2) shares the parent's memory, so its cost does not depend on the size of that memory. The calling thread waits
 * until the child's exec, and the guard's program starts at once. */
#include "../bsd/launch.h"

/* The child must not return from this function: it runs on the parent's stack, and returning would destroy the frame
 * that the parent continues with. */
long tg_launch_quick(struct tg_launch *l)
{
    l->child.status_fd = -1;
    long ret = tg_result(vfork());
    if (ret == 0)
        tg_child_run(&l->child);
    return ret;
}
