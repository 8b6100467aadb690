/* SPDX-License-Identifier: MIT */
/* The pool of tree nodes; a pool is a reserve that is shared, under index_lock. */
#include "memslot/node_pool.h"

/*
 * 640 KiB: what an RCU grace period sets free (garbage.c), for the updates up to the
 * next one, and the reserves of a few updates besides.
 */
#define POOL_MOST 1280

int s2_node_pool_take(struct s2_mm *mm, struct s2_itree_reserve *reserve, unsigned nr)
{
	int ret;

	if (reserve->count >= nr)
		return 0;
	s2_mutex_lock(&mm->index_lock);
	s2_itree_reserve_move(reserve, &mm->node_pool, nr - reserve->count);
	s2_mutex_unlock(&mm->index_lock);
	ret = s2_itree_reserve_fill(reserve, &mm->allocator, nr);
	if (ret)
		s2_node_pool_give(mm, reserve);
	return ret;
}

void s2_node_pool_give(struct s2_mm *mm, struct s2_itree_reserve *reserve)
{
	if (!reserve->count)
		return;
	s2_mutex_lock(&mm->index_lock);
	if (mm->node_pool.count < POOL_MOST)
		s2_itree_reserve_move(&mm->node_pool, reserve, POOL_MOST - mm->node_pool.count);
	s2_mutex_unlock(&mm->index_lock);
	s2_itree_reserve_drain(reserve, &mm->allocator);
}
