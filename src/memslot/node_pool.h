/* SPDX-License-Identifier: MIT */
/*
 * Tree nodes that an s2_mm keeps for its next updates: an update reserves more
 * than it uses, and leaves as many behind as it used, so that most updates need
 * no allocator.
 */
#ifndef S2_MEMSLOT_NODE_POOL_H
#define S2_MEMSLOT_NODE_POOL_H

#include "mm/mm.h"

/* Fills @reserve to @nr nodes. -ENOMEM: nothing was taken. They take index_lock. */
int s2_node_pool_take(struct s2_mm *mm, struct s2_itree_reserve *reserve, unsigned nr);

/* Empties @reserve into the pool as far as that has room; what does not fit is freed. */
void s2_node_pool_give(struct s2_mm *mm, struct s2_itree_reserve *reserve);

#endif /* S2_MEMSLOT_NODE_POOL_H */
