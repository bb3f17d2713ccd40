/* bsd/isolation.c - no isolation, because Landlock exists on Linux only. The guard never gets an order to set it up
 * here. */
#include "../isolation.h"

#include "../sys.h"
#include "../treeguard.h"

long tg_isolate(void)
{
    return -ENOSYS;
}

long tg_settle_inside(void)
{
    return -ENOSYS;
}

int tg_isolation_abi(int *ret_needed)
{
    *ret_needed = 0;
    return -ENOSYS;
}
