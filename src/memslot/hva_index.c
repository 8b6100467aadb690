/* SPDX-License-Identifier: MIT */
/* Updates of the hva index; invalidations read it in notifier/notifier.c. */
#include "memslot/hva_index.h"

/*
 * Between the filling of the reserve and its use, other VMs may make a shared
 * tree grow. Enough for a tree of this many levels at least, which holds four
 * million memslots however badly its nodes are filled.
 */
#define LEVELS 11

static bool shared(const struct s2_vm *vm)
{
	return vm->mm->gate->shared_index;
}

static _Atomic(struct s2_itree_node *) *root_of(struct s2_vm *vm)
{
	return shared(vm) ? &vm->mm->hva_root : &vm->hva_root;
}

/* An index of the VM's own has slots_lock for its updates, and no allocator is called under either. */
static struct s2_itree_node *lock_root(struct s2_vm *vm)
{
	if (shared(vm))
		s2_mutex_lock(&vm->mm->index_lock);
	return atomic_load_explicit(root_of(vm), memory_order_relaxed);
}

/* Release pairs with the loads in pinned_view() and vm_root(): the nodes before the root. */
static void publish_and_unlock(struct s2_vm *vm, struct s2_itree_node *root)
{
	atomic_store_explicit(root_of(vm), root, memory_order_release);
	if (shared(vm))
		s2_mutex_unlock(&vm->mm->index_lock);
}

unsigned s2_hva_index_nodes(struct s2_vm *vm, unsigned steps)
{
	if (shared(vm))
		return s2_itree_nodes_for_height(LEVELS, steps);
	return s2_itree_nodes_for(atomic_load_explicit(&vm->hva_root, memory_order_relaxed), steps);
}

void s2_hva_index_add(struct s2_vm *vm, struct s2_memslot *slot, struct s2_itree_reserve *reserve,
		      struct s2_itree_node **replaced)
{
	struct s2_itree_iv iv = { slot->hva, s2_memslot_hva_end(slot), slot };
	struct s2_itree_node *root;

	S2_ASSERT_HELD(&vm->slots_lock);
	root = lock_root(vm);
	if (shared(vm))
		s2_hva_filter_add(&vm->mm->filter, iv.start, iv.end);
	publish_and_unlock(vm, s2_itree_insert(root, &iv, reserve, replaced));
}

void s2_hva_index_remove(struct s2_vm *vm, struct s2_memslot *slot,
			 struct s2_itree_reserve *reserve, struct s2_itree_node **replaced)
{
	uint64_t end = s2_memslot_hva_end(slot);
	struct s2_itree_node *root = lock_root(vm);

	root = s2_itree_remove(root, slot->hva, end, slot, reserve, replaced);
	/* Before or after the root's publication: the memslot was zapped long since. */
	if (shared(vm))
		s2_hva_filter_remove(&vm->mm->filter, slot->hva, end);
	publish_and_unlock(vm, root);
}

void s2_hva_index_replace(struct s2_vm *vm, struct s2_memslot *old, struct s2_memslot *slot,
			  struct s2_itree_reserve *reserve, struct s2_itree_node **replaced)
{
	struct s2_itree_node *root;

	S2_ASSERT_HELD(&vm->slots_lock);
	root = lock_root(vm);
	root = s2_itree_replace(root, old->hva, s2_memslot_hva_end(old), old, slot, reserve, replaced);
	publish_and_unlock(vm, root);
}
