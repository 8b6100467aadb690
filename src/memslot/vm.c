/* SPDX-License-Identifier: MIT */
/*
 * The end of a VM, and lookups by gfn. A VM may go between an invalidation's
 * start and its end: it is unlinked at once, but its memory stays, with the
 * counters that the end() will drop, until no invalidation holds a version of
 * the indexes that leads to it.
 */
#include "memslot/vm.h"

#include "base/alloc.h"
#include "base/rcu.h"
#include "memslot/garbage.h"
#include "memslot/hva_index.h"
#include "memslot/node_pool.h"
#include "memslot/vm_list.h"
#include "mm/mm.h"

#include <errno.h>

void s2_vm_get(struct s2_vm *vm)
{
	atomic_fetch_add_explicit(&vm->refs, 1, memory_order_relaxed);
}

static void free_slots(struct s2_vm *vm)
{
	const struct s2_allocator *a = &vm->mm->allocator;

	for (unsigned i = 0; i < S2_SLOT_CHUNKS; i++) {
		for (unsigned j = 0; vm->slots[i] && j < S2_SLOT_CHUNK; j++) {
			struct s2_memslot *slot = vm->slots[i][j];

			if (slot) {
				s2_free(a, slot->dirty_bitmap);
				s2_free(a, slot);
			}
		}
		s2_free(a, vm->slots[i]);
	}
}

void s2_vm_free(struct s2_vm *vm)
{
	const struct s2_allocator *a = &vm->mm->allocator;

	vm->ops->destroy(vm);
	s2_itree_free_all(atomic_load_explicit(&vm->gfn_root, memory_order_relaxed), a);
	s2_itree_free_all(atomic_load_explicit(&vm->hva_root, memory_order_relaxed), a);
	free_slots(vm);
	s2_free(a, vm);
}

static void unindex_slot(struct s2_vm *vm, struct s2_memslot *slot,
			 struct s2_itree_reserve *reserve)
{
	struct s2_itree_node *replaced = NULL;

	s2_hva_index_remove(vm, slot, reserve, &replaced);
	slot->unindexed = true;
	s2_mutex_lock(&vm->mm->index_lock);
	s2_garbage_hva_nodes(vm->mm, replaced);
	s2_mutex_unlock(&vm->mm->index_lock);
	/* Each time: the copies that 32,000 memslots leave behind are many times the index itself. */
	s2_mm_reclaim(vm->mm);
}

/* Takes every memslot out of a shared hva index; false if memory ran out on the way. */
static bool unindex_slots(struct s2_vm *vm)
{
	struct s2_itree_reserve reserve = { 0 };
	bool done = true;

	for (unsigned id = 0; done && id < S2_USER_MEM_SLOTS; id++) {
		struct s2_memslot *slot;

		if (!vm->slots[id / S2_SLOT_CHUNK]) {
			id |= S2_SLOT_CHUNK - 1;
			continue;
		}
		slot = s2_vm_slot_by_id(vm, id);
		if (!slot || slot->unindexed)
			continue;
		done = !s2_node_pool_take(vm->mm, &reserve, s2_hva_index_nodes(vm, 1));
		if (done)
			unindex_slot(vm, slot, &reserve);
	}
	s2_node_pool_give(vm->mm, &reserve);
	return done;
}

/*
 * Takes a VM out of the reach of new invalidations. Those in flight go on with
 * it, so under the gates that ask each VM its own index stays as it is, for their
 * end() to find what their start() found.
 */
static bool unlink_vm(struct s2_vm *vm)
{
	struct s2_mm *mm = vm->mm;

	if (mm->gate->shared_index && !unindex_slots(vm))
		return false;
	return s2_vm_list_remove(mm, vm) == 0;
}

static void bury(struct s2_vm *vm)
{
	struct s2_mm *mm = vm->mm;
	bool unlinked = unlink_vm(vm);

	s2_mutex_lock(&mm->index_lock);
	if (unlinked) {
		s2_garbage_vm(mm, vm);
	} else {
		vm->retired = mm->zombies;
		mm->zombies = vm;
	}
	s2_mutex_unlock(&mm->index_lock);
}

/* Another try at the VMs that could not be unlinked when they were dropped. */
static void bury_zombies(struct s2_mm *mm)
{
	struct s2_vm *vm;

	s2_mutex_lock(&mm->index_lock);
	vm = mm->zombies;
	mm->zombies = NULL;
	s2_mutex_unlock(&mm->index_lock);
	while (vm) {
		struct s2_vm *next = vm->retired;

		bury(vm);
		vm = next;
	}
}

void s2_vm_drop(struct s2_vm *vm)
{
	struct s2_mm *mm = vm->mm;

	/* Release and acquire: what others did with the VM comes before its end. */
	if (atomic_fetch_sub_explicit(&vm->refs, 1, memory_order_acq_rel) != 1)
		return;
	bury_zombies(mm);
	bury(vm);
	s2_mm_reclaim(mm);
	s2_mm_put(mm);
}

void s2_vm_put(struct s2_vm *vm)
{
	if (vm)
		s2_vm_drop(vm);
}

int s2_vm_gfn_to_hva(struct s2_vm *vm, uint64_t gfn, uint64_t *hva)
{
	struct s2_memslot *slot;
	int ret = -ENOENT;

	if (!vm || !hva)
		return -EINVAL;
	s2_rcu_read_lock();
	slot = s2_gfn_to_memslot(vm, gfn);
	if (slot) {
		*hva = s2_memslot_gfn_to_hva(slot, gfn);
		ret = 0;
	}
	s2_rcu_read_unlock();
	return ret;
}
