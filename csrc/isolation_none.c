/* isolation_none.c - no isolation: Landlock is of Linux. The guard is given none to set up. */
#include "isolation.h"

#include "sys.h"
#include "treeguard.h"

long tg_isolate(void)
{
    return -ENOSYS;
}

int tg_isolation_abi(int *ret_needed)
{
    *ret_needed = 0;
    return -ENOSYS;
}
