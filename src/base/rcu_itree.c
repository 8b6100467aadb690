/* SPDX-License-Identifier: MIT */
/* Updates of an interval index that is read under RCU. */
#include "base/rcu_itree.h"

#include "base/rcu.h"

/* What the update has replaced is for later ones, when nobody reads it any more. */
static void publish(struct s2_rcu_itree *tree, struct s2_itree_node *root,
		    struct s2_itree_node *replaced)
{
	/* Release pairs with the acquire in s2_rcu_itree_root(). */
	atomic_store_explicit(&tree->root, root, memory_order_release);
	s2_synchronize_rcu();
	s2_itree_reserve_add_list(&tree->nodes, replaced);
}

int s2_rcu_itree_add(struct s2_rcu_itree *tree, const struct s2_allocator *a,
		     const struct s2_itree_iv *iv)
{
	struct s2_itree_node *root = atomic_load_explicit(&tree->root, memory_order_relaxed);
	struct s2_itree_node *replaced = NULL;
	/*
	 * One half for this update, the other for a removal. That takes no more nodes than it
	 * gives back, so that the half is there for the next one, too.
	 */
	int ret = s2_itree_reserve_fill(&tree->nodes, a, 2 * S2_ITREE_UPDATE_NODES);

	if (ret)
		return ret;
	root = s2_itree_insert(root, iv, &tree->nodes, &replaced);
	publish(tree, root, replaced);
	return 0;
}

void s2_rcu_itree_remove(struct s2_rcu_itree *tree, const struct s2_allocator *a,
			 const struct s2_itree_iv *iv)
{
	struct s2_itree_node *root = atomic_load_explicit(&tree->root, memory_order_relaxed);
	struct s2_itree_node *replaced = NULL;

	root = s2_itree_remove(root, iv->start, iv->end, iv->value, &tree->nodes, &replaced);
	publish(tree, root, replaced);
	if (!root)
		s2_itree_reserve_drain(&tree->nodes, a);
}
