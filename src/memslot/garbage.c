/* SPDX-License-Identifier: MIT */
/* The two grace periods between an update and the freeing of what it replaced. */
#include "memslot/garbage.h"

#include "base/alloc.h"
#include "base/mutant.h"
#include "base/rcu.h"
#include "memslot/node_pool.h"
#include "memslot/vm.h"

/*
 * An RCU grace period is shared by this much garbage, so that its price, which
 * may be a sleep, is not paid by each update: with 32,000 memslots by 180 of them.
 */
#define BYTES_PER_RCU_GRACE (512 << 10)

void s2_garbage_hva_nodes(struct s2_mm *mm, struct s2_itree_node *list)
{
	S2_ASSERT_HELD(&mm->index_lock);
	s2_itree_reserve_add_list(&mm->fresh.hva_nodes, list);
}

void s2_garbage_gfn_nodes(struct s2_mm *mm, struct s2_itree_node *list)
{
	struct s2_itree_reserve *nodes = &mm->fresh.gfn_nodes;
	unsigned before = nodes->count;

	S2_ASSERT_HELD(&mm->index_lock);
	s2_itree_reserve_add_list(nodes, list);
	mm->fresh.bytes += (uint64_t)(nodes->count - before) * sizeof(*list);
}

void s2_garbage_memslot(struct s2_mm *mm, struct s2_memslot *slot)
{
	S2_ASSERT_HELD(&mm->index_lock);
	slot->retired = mm->fresh.memslots;
	mm->fresh.memslots = slot;
	mm->fresh.bytes += sizeof(*slot);
	if (slot->dirty_bitmap && !slot->bitmap_passed)
		mm->fresh.bytes += s2_bitmap_words(slot->npages) * sizeof(uint64_t);
}

void s2_garbage_vm_list(struct s2_mm *mm, struct s2_vm_list *list)
{
	S2_ASSERT_HELD(&mm->index_lock);
	list->retired = mm->fresh.vm_lists;
	mm->fresh.vm_lists = list;
	mm->fresh.bytes += sizeof(*list) + list->nr * sizeof(list->vms[0]);
}

void s2_garbage_vm(struct s2_mm *mm, struct s2_vm *vm)
{
	S2_ASSERT_HELD(&mm->index_lock);
	vm->retired = mm->fresh.vms;
	mm->fresh.vms = vm;
	mm->fresh.bytes += sizeof(*vm) +
			   atomic_load_explicit(&vm->nr_tables, memory_order_relaxed) * 4096;
}

/* Prepends list @from to list @to and empties it; @link is the member that links them. */
#define SPLICE(to, from, link)                                                                     \
	do {                                                                                       \
		while (from) {                                                                     \
			__typeof__(from) first = (from);                                           \
                                                                                                   \
			(from) = first->link;                                                      \
			first->link = (to);                                                        \
			(to) = first;                                                              \
		}                                                                                  \
	} while (0)

static void move_garbage(struct s2_garbage *to, struct s2_garbage *from)
{
	s2_itree_reserve_move(&to->hva_nodes, &from->hva_nodes, from->hva_nodes.count);
	s2_itree_reserve_move(&to->gfn_nodes, &from->gfn_nodes, from->gfn_nodes.count);
	SPLICE(to->memslots, from->memslots, retired);
	SPLICE(to->vm_lists, from->vm_lists, retired);
	SPLICE(to->vms, from->vms, retired);
	to->bytes += from->bytes;
	from->bytes = 0;
}

static void free_memslot(const struct s2_allocator *a, struct s2_memslot *slot)
{
	if (!slot->bitmap_passed)
		s2_free(a, slot->dirty_bitmap);
	s2_free(a, slot);
}

static void free_garbage(struct s2_mm *mm, struct s2_garbage *garbage)
{
	const struct s2_allocator *a = &mm->allocator;

	s2_node_pool_give(mm, &garbage->gfn_nodes);
	while (garbage->memslots) {
		struct s2_memslot *slot = garbage->memslots;

		garbage->memslots = slot->retired;
		free_memslot(a, slot);
	}
	while (garbage->vm_lists) {
		struct s2_vm_list *list = garbage->vm_lists;

		garbage->vm_lists = list->retired;
		s2_free(a, list);
	}
	while (garbage->vms) {
		struct s2_vm *vm = garbage->vms;

		garbage->vms = vm->retired;
		s2_vm_free(vm);
	}
}

/* Moves garbage along as far as the invalidations in flight allow. Caller holds index_lock. */
static void advance_grace(struct s2_mm *mm)
{
	S2_ASSERT_HELD(&mm->index_lock);
	for (;;) {
		if (mm->grace_open && !S2_MUTANT(GRACE_IGNORES_STARTS) &&
		    !s2_inflight_grace_passed(&mm->inflight))
			return;
		mm->grace_open = false;
		move_garbage(&mm->passed, &mm->waiting);
		if (!mm->fresh.bytes && !mm->fresh.hva_nodes.count)
			return;
		move_garbage(&mm->waiting, &mm->fresh);
		s2_inflight_grace_begin(&mm->inflight);
		mm->grace_open = true;
	}
}

void s2_mm_reclaim(struct s2_mm *mm)
{
	struct s2_itree_reserve hva_nodes;
	struct s2_garbage ripe = { 0 };

	s2_mutex_lock(&mm->index_lock);
	advance_grace(mm);
	hva_nodes = mm->passed.hva_nodes;
	mm->passed.hva_nodes = (struct s2_itree_reserve){ 0 };
	if (mm->passed.bytes >= BYTES_PER_RCU_GRACE)
		move_garbage(&ripe, &mm->passed);
	s2_mutex_unlock(&mm->index_lock);
	s2_node_pool_give(mm, &hva_nodes);
	if (!ripe.bytes)
		return;
	s2_synchronize_rcu();
	free_garbage(mm, &ripe);
}

void s2_mm_reclaim_all(struct s2_mm *mm)
{
	struct s2_garbage all = { 0 };

	move_garbage(&all, &mm->fresh);
	move_garbage(&all, &mm->waiting);
	move_garbage(&all, &mm->passed);
	if (all.bytes)
		s2_synchronize_rcu();
	s2_node_pool_give(mm, &all.hva_nodes);
	free_garbage(mm, &all);
}
