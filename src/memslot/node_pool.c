/* SPDX-License-Identifier: MIT */
/* The pool of tree nodes; a pool is a reserve that is shared, under index_lock. */
#include "memslot/node_pool.h"

/* 128 KiB: what a handful of updates under way at once may reserve. */
#define POOL_MOST 256

static void move_node(struct s2_itree_reserve *to, struct s2_itree_reserve *from)
{
	struct s2_itree_node *node = from->head;

	from->head = node->next;
	from->count--;
	node->next = to->head;
	to->head = node;
	to->count++;
}

int s2_node_pool_take(struct s2_mm *mm, struct s2_itree_reserve *reserve, unsigned nr)
{
	int ret;

	s2_mutex_lock(&mm->index_lock);
	while (reserve->count < nr && mm->node_pool.count)
		move_node(reserve, &mm->node_pool);
	s2_mutex_unlock(&mm->index_lock);
	ret = s2_itree_reserve_fill(reserve, &mm->allocator, nr);
	if (ret)
		s2_node_pool_give(mm, reserve);
	return ret;
}

void s2_node_pool_give(struct s2_mm *mm, struct s2_itree_reserve *reserve)
{
	s2_mutex_lock(&mm->index_lock);
	while (reserve->count && mm->node_pool.count < POOL_MOST)
		move_node(&mm->node_pool, reserve);
	s2_mutex_unlock(&mm->index_lock);
	s2_itree_reserve_drain(reserve, &mm->allocator);
}

void s2_node_pool_give_list(struct s2_mm *mm, struct s2_itree_node *list)
{
	struct s2_itree_reserve reserve = { .head = list };

	for (struct s2_itree_node *node = list; node; node = node->next)
		reserve.count++;
	s2_node_pool_give(mm, &reserve);
}
