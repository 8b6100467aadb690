/* SPDX-License-Identifier: MIT */
/* Updates of the hva index; invalidations read it in notifier/notifier.c. */
#include "memslot/hva_index.h"

#include "memslot/garbage.h"

/*
 * Between the filling of the reserve and its use, other VMs may make a shared
 * tree grow; by two levels at most, since for the next two it would have to
 * become sixteen times as large.
 */
#define GROWTH 4

static _Atomic(struct s2_itree_node *) *root_of(struct s2_vm *vm)
{
	return vm->mm->gate->shared_index ? &vm->mm->hva_root : &vm->hva_root;
}

static struct s2_itree_node *current_root(struct s2_vm *vm)
{
	return atomic_load_explicit(root_of(vm), memory_order_relaxed);
}

unsigned s2_hva_index_nodes(struct s2_vm *vm)
{
	unsigned nodes;

	s2_mutex_lock(&vm->mm->index_lock);
	nodes = s2_itree_nodes_for(current_root(vm), 2) + 2 * GROWTH;
	s2_mutex_unlock(&vm->mm->index_lock);
	return nodes;
}

/* Release pairs with the loads in pinned_view() and index_at(): the nodes before the root. */
static void publish_hva_root(struct s2_vm *vm, struct s2_itree_node *root,
			     struct s2_itree_node *replaced)
{
	S2_ASSERT_HELD(&vm->mm->index_lock);
	atomic_store_explicit(root_of(vm), root, memory_order_release);
	s2_garbage_nodes(vm->mm, replaced);
}

void s2_hva_index_add(struct s2_vm *vm, struct s2_memslot *slot, struct s2_itree_reserve *reserve)
{
	struct s2_itree_iv iv = { slot->hva, s2_memslot_hva_end(slot), slot };
	struct s2_itree_node *replaced = NULL, *root;

	s2_mutex_lock(&vm->mm->index_lock);
	if (vm->mm->gate->shared_index)
		s2_hva_filter_add(&vm->mm->filter, iv.start, iv.end);
	root = s2_itree_insert(current_root(vm), &iv, reserve, &replaced);
	publish_hva_root(vm, root, replaced);
	s2_mutex_unlock(&vm->mm->index_lock);
}

void s2_hva_index_remove(struct s2_vm *vm, struct s2_memslot *slot,
			 struct s2_itree_reserve *reserve)
{
	struct s2_itree_node *replaced = NULL, *root;

	s2_mutex_lock(&vm->mm->index_lock);
	root = s2_itree_remove(current_root(vm), slot->hva, s2_memslot_hva_end(slot), slot, reserve,
			       &replaced);
	publish_hva_root(vm, root, replaced);
	if (vm->mm->gate->shared_index)
		s2_hva_filter_remove(&vm->mm->filter, slot->hva, s2_memslot_hva_end(slot));
	s2_mutex_unlock(&vm->mm->index_lock);
}

void s2_hva_index_replace(struct s2_vm *vm, struct s2_memslot *old, struct s2_memslot *slot,
			  struct s2_itree_reserve *reserve)
{
	struct s2_itree_node *replaced = NULL, *root;

	s2_mutex_lock(&vm->mm->index_lock);
	root = s2_itree_replace(current_root(vm), old->hva, s2_memslot_hva_end(old), old, slot,
				reserve, &replaced);
	publish_hva_root(vm, root, replaced);
	s2_mutex_unlock(&vm->mm->index_lock);
}
