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
 * may be a sleep, is not paid by each update. Counted in units of about 2 KiB,
 * what an update leaves behind as a rule: half a megabyte waits meanwhile.
 */
#define UNIT 2048
#define UNITS_PER_RCU_GRACE 256

void s2_garbage_nodes(struct s2_mm *mm, struct s2_itree_node *list)
{
	S2_ASSERT_HELD(&mm->index_lock);
	while (list) {
		struct s2_itree_node *node = list;

		list = node->next;
		node->next = mm->fresh.nodes;
		mm->fresh.nodes = node;
	}
	mm->fresh.units++;
}

void s2_garbage_memslot(struct s2_mm *mm, struct s2_memslot *slot)
{
	S2_ASSERT_HELD(&mm->index_lock);
	slot->retired = mm->fresh.memslots;
	mm->fresh.memslots = slot;
	mm->fresh.units++;
	if (slot->dirty_bitmap && !slot->bitmap_passed)
		mm->fresh.units += s2_dirty_words(slot->npages) * sizeof(uint64_t) / UNIT;
}

void s2_garbage_vm_list(struct s2_mm *mm, struct s2_vm_list *list)
{
	S2_ASSERT_HELD(&mm->index_lock);
	list->retired = mm->fresh.vm_lists;
	mm->fresh.vm_lists = list;
	mm->fresh.units += 1 + list->nr * sizeof(list->vms[0]) / UNIT;
}

void s2_garbage_vm(struct s2_mm *mm, struct s2_vm *vm)
{
	S2_ASSERT_HELD(&mm->index_lock);
	vm->retired = mm->fresh.vms;
	mm->fresh.vms = vm;
	mm->fresh.units += atomic_load_explicit(&vm->nr_tables, memory_order_relaxed) * 4096 / UNIT;
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
	SPLICE(to->nodes, from->nodes, next);
	SPLICE(to->memslots, from->memslots, retired);
	SPLICE(to->vm_lists, from->vm_lists, retired);
	SPLICE(to->vms, from->vms, retired);
	to->units += from->units;
	from->units = 0;
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

	s2_node_pool_give_list(mm, garbage->nodes);
	garbage->nodes = NULL;
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
		if (!mm->fresh.units)
			return;
		move_garbage(&mm->waiting, &mm->fresh);
		s2_inflight_grace_begin(&mm->inflight);
		mm->grace_open = true;
	}
}

void s2_mm_reclaim(struct s2_mm *mm)
{
	struct s2_garbage ripe = { 0 };

	s2_mutex_lock(&mm->index_lock);
	advance_grace(mm);
	if (mm->passed.units >= UNITS_PER_RCU_GRACE)
		move_garbage(&ripe, &mm->passed);
	s2_mutex_unlock(&mm->index_lock);
	if (!ripe.units)
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
	if (all.units)
		s2_synchronize_rcu();
	free_garbage(mm, &all);
}
