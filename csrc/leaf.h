/* leaf.h - what the library checks about a tree's cgroup. Each platform has its own implementation. */
#ifndef TG_LEAF_H
#define TG_LEAF_H

#include <stdint.h>

/* Returns whether processes are known to live in a leaf, given the directory of its parent. */
int tg_leaf_populated(int manager, uint64_t leaf);

#endif
