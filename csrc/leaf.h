/* leaf.h - what the library looks after of a tree's cgroup. One file a kind of system behind it. */
#ifndef TG_LEAF_H
#define TG_LEAF_H

#include <stdint.h>

/* Whether something is seen to live in a leaf, given the directory that it is in. */
int tg_leaf_populated(int manager, uint64_t leaf);

#endif
