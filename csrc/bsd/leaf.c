/* bsd/leaf.c - stub for systems without cgroups. */
#include "../leaf.h"

int tg_leaf_populated(int manager, uint64_t leaf)
{
    (void)manager, (void)leaf;
    return 0;
}
