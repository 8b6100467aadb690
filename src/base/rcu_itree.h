/* SPDX-License-Identifier: MIT */
/*
 * An interval index (itree.h) that is read in RCU sections, with the nodes for its
 * updates: a removal never needs memory.
 *
 * All zero is an empty one, which has no memory. The caller has a lock for the updates; they
 * wait for a grace period, so that he is in no RCU section.
 */
#ifndef S2_BASE_RCU_ITREE_H
#define S2_BASE_RCU_ITREE_H

#include "base/itree.h"

#include <stdatomic.h>

struct s2_rcu_itree {
	_Atomic(struct s2_itree_node *) root;
	struct s2_itree_reserve nodes;
};

/* A version of it, as good as the RCU section is long; or until the caller's next update. */
static inline const struct s2_itree_node *s2_rcu_itree_root(const struct s2_rcu_itree *tree)
{
	/* Acquire pairs with the release in publish(): the nodes, and what their values point to. */
	return atomic_load_explicit(&tree->root, memory_order_acquire);
}

/* What readers see from now on. -ENOMEM: all is as it was. */
int s2_rcu_itree_add(struct s2_rcu_itree *tree, const struct s2_allocator *a,
		     const struct s2_itree_iv *iv);

/* One that is there; when it returns, no reader has it any more. With the same allocator. */
void s2_rcu_itree_remove(struct s2_rcu_itree *tree, const struct s2_allocator *a,
			 const struct s2_itree_iv *iv);

#endif /* S2_BASE_RCU_ITREE_H */
