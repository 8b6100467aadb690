/* SPDX-License-Identifier: MIT */
/*
 * s2_vm_set_memory_region(): kvm_set_memory_region() and the swap of memslots
 * that the gates guard. The rules of what may be asked for are in region.c; here
 * is in which order an update becomes visible, and to whom:
 *
 *   create: hva index -> wait for overlapping invalidations -> gfn index
 *   delete: gfn index -> zap and flush -> hva index
 *   move:   out of the gfn index -> zap and flush -> replaced in the hva index
 *           -> wait -> into the gfn index at its new place
 *   flags:  replaced in both; nobody waits
 *
 * So whatever vCPUs can find by gfn, invalidations find by hva. A fault that
 * looked a memslot up by gfn before its deletion looks it up again under mmu_lock
 * before it maps anything (mmu/fault.c), so a delete need not wait for faults.
 */
#include "base/alloc.h"
#include "base/guest_mode.h"
#include "base/mutant.h"
#include "base/schedule.h"
#include "memslot/garbage.h"
#include "memslot/hva_index.h"
#include "memslot/node_pool.h"
#include "memslot/region.h"
#include "memslot/vm.h"

#include <errno.h>
#include <sched.h>

/* One update on its way: everything it may need is here before anything is changed. */
struct s2_update {
	struct s2_vm *vm;
	enum s2_region_change change;
	struct s2_memslot *old;
	struct s2_memslot *new;
	struct s2_memslot ***chunk; /* where to hang a new chunk of slots[], if one is needed */
	struct s2_memslot **new_chunk;
	struct s2_itree_reserve reserve; /* for both indexes */
	struct s2_itree_node *gfn_replaced; /* what readers may still hold afterwards */
	struct s2_itree_node *hva_replaced;
};

static const struct s2_region_rules rules = {
	.nr_slots = S2_USER_MEM_SLOTS,
	.nr_address_spaces = 1,
	.max_gfn = S2_REGION_MAX_GFN,
	.hva_limit = S2_REGION_HVA_LIMIT,
};

static struct s2_itree_node *gfn_root(struct s2_vm *vm)
{
	S2_ASSERT_HELD(&vm->slots_lock);
	return atomic_load_explicit(&vm->gfn_root, memory_order_relaxed);
}

static bool gfn_overlaps_other(struct s2_vm *vm, const struct kvm_userspace_memory_region *mem)
{
	struct s2_itree_iter it;
	const struct s2_itree_iv *iv;
	uint64_t start = s2_region_base_gfn(mem);

	s2_itree_iter_init(&it, gfn_root(vm), start, start + s2_region_npages(mem));
	while ((iv = s2_itree_iter_next(&it)))
		if (((struct s2_memslot *)iv->value)->id != s2_region_slot_id(mem))
			return true;
	return false;
}

/* What KVM would say; sets @change. */
static int classify(struct s2_vm *vm, const struct kvm_userspace_memory_region *mem,
		    enum s2_region_change *change)
{
	const struct s2_memslot *slot = s2_vm_slot_by_id(vm, s2_region_slot_id(mem));
	struct s2_region_old old;
	int ret;

	S2_ASSERT_HELD(&vm->slots_lock);
	if (slot)
		old = (struct s2_region_old){ slot->base_gfn, slot->npages, slot->hva, slot->flags };
	ret = s2_region_classify(mem, slot ? &old : NULL, vm->nr_memslot_pages, change);
	if (ret || (*change != S2_REGION_CREATE && *change != S2_REGION_MOVE))
		return ret;
	if (gfn_overlaps_other(vm, mem))
		return -EEXIST;
	return s2_region_check_reach(mem, *change, &rules);
}

static void set_all_dirty(struct s2_memslot *slot)
{
	for (uint64_t word = 0; word < slot->npages / 64; word++)
		atomic_init(&slot->dirty_bitmap[word], UINT64_MAX);
	if (slot->npages % 64)
		atomic_init(&slot->dirty_bitmap[slot->npages / 64],
			    (UINT64_C(1) << (slot->npages % 64)) - 1);
}

static int prepare_bitmap(struct s2_update *up)
{
	const struct s2_allocator *a = &up->vm->mm->allocator;
	uint64_t words = s2_bitmap_words(up->new->npages);

	if (!s2_memslot_logs_dirty(up->new))
		return 0;
	if (up->old && up->old->dirty_bitmap) {
		up->new->dirty_bitmap = up->old->dirty_bitmap;
		return 0;
	}
	up->new->dirty_bitmap = s2_zalloc(a, words * sizeof(uint64_t), 64);
	if (!up->new->dirty_bitmap)
		return -ENOMEM;
	if (up->vm->dirty_initially_set)
		set_all_dirty(up->new);
	return 0;
}

static int prepare_memslot(struct s2_update *up, const struct kvm_userspace_memory_region *mem)
{
	struct s2_vm *vm = up->vm;
	const struct s2_allocator *a = &vm->mm->allocator;

	if (up->change == S2_REGION_DELETE)
		return 0;
	up->new = s2_zalloc(a, sizeof(*up->new), sizeof(void *));
	if (!up->new)
		return -ENOMEM;
	*up->new = (struct s2_memslot){
		.vm = vm,
		.base_gfn = s2_region_base_gfn(mem),
		.npages = s2_region_npages(mem),
		.hva = mem->userspace_addr,
		.flags = mem->flags,
		.id = s2_region_slot_id(mem),
	};
	if (!*up->chunk) {
		up->new_chunk = s2_zalloc(a, S2_SLOT_CHUNK * sizeof(**up->chunk), sizeof(void *));
		if (!up->new_chunk)
			return -ENOMEM;
	}
	return prepare_bitmap(up);
}

static int prepare(struct s2_update *up, const struct kvm_userspace_memory_region *mem)
{
	/* A move takes its memslot out and puts it in again, and any replacement may have to. */
	bool replaces = up->change == S2_REGION_MOVE || up->change == S2_REGION_FLAGS_ONLY;
	unsigned steps = replaces ? 2 : 1;
	int ret = prepare_memslot(up, mem);

	if (!ret)
		ret = s2_node_pool_take(up->vm->mm, &up->reserve,
					s2_itree_nodes_for(gfn_root(up->vm), steps) +
						s2_hva_index_nodes(up->vm, steps));
	return ret;
}

/* Frees what the update did not use; if it did not happen, that is all of it. */
static void clean_up(struct s2_update *up, bool happened)
{
	const struct s2_allocator *a = &up->vm->mm->allocator;

	s2_node_pool_give(up->vm->mm, &up->reserve);
	if (happened)
		return;
	s2_free(a, up->new_chunk);
	if (up->new && !(up->old && up->new->dirty_bitmap == up->old->dirty_bitmap))
		s2_free(a, up->new->dirty_bitmap);
	s2_free(a, up->new);
}

/* Release pairs with the acquire in s2_gfn_to_memslot(): the nodes, and the memslot, before the root. */
static void publish_gfn_root(struct s2_vm *vm, struct s2_itree_node *root)
{
	S2_ASSERT_HELD(&vm->slots_lock);
	atomic_store_explicit(&vm->gfn_root, root, memory_order_release);
}

static void gfn_index_add(struct s2_update *up)
{
	struct s2_memslot *slot = up->new;
	struct s2_itree_iv iv = { slot->base_gfn, slot->base_gfn + slot->npages, slot };

	publish_gfn_root(up->vm, s2_itree_insert(gfn_root(up->vm), &iv, &up->reserve,
						 &up->gfn_replaced));
}

static void gfn_index_remove(struct s2_update *up)
{
	struct s2_memslot *slot = up->old;

	publish_gfn_root(up->vm, s2_itree_remove(gfn_root(up->vm), slot->base_gfn,
						 slot->base_gfn + slot->npages, slot,
						 &up->reserve, &up->gfn_replaced));
}

static void gfn_index_replace(struct s2_update *up)
{
	struct s2_memslot *slot = up->old;

	publish_gfn_root(up->vm, s2_itree_replace(gfn_root(up->vm), slot->base_gfn,
						  slot->base_gfn + slot->npages, slot, up->new,
						  &up->reserve, &up->gfn_replaced));
}

static void set_slot(struct s2_update *up)
{
	unsigned id = up->new ? up->new->id : up->old->id;

	S2_ASSERT_HELD(&up->vm->slots_lock);
	if (up->new_chunk)
		*up->chunk = up->new_chunk;
	(*up->chunk)[id % S2_SLOT_CHUNK] = up->new;
}

static struct s2_gfn_range whole(struct s2_memslot *slot)
{
	return (struct s2_gfn_range){
		.slot = slot,
		.start = slot->base_gfn,
		.end = slot->base_gfn + slot->npages,
	};
}

/* Tells s2_lock_slots() for whose end() the holder of slots_lock waits. */
static void tell_wait(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	/* An end of 0 is nobody; the last wait's start stays then, so that no reader takes 0 for it. */
	if (end)
		atomic_store_explicit(&vm->update_wait_start, start, memory_order_release);
	atomic_store_explicit(&vm->update_wait_end, end, memory_order_release);
}

static void swap_begin(struct s2_update *up)
{
	const struct s2_gate_ops *gate = up->vm->mm->gate;

	tell_wait(up->vm, 0, gate->waits == S2_WAITS_FOR_ALL ? UINT64_MAX : 0);
	gate->swap_begin(up->vm);
	tell_wait(up->vm, 0, 0);
}

static void swap_end(struct s2_update *up)
{
	up->vm->mm->gate->swap_end(up->vm);
}

/* The hva index has the new memslot: wait for the invalidations that missed it there. */
static void wait_for_overlapping(struct s2_update *up)
{
	struct s2_memslot *slot = up->new;

	if (S2_MUTANT(ADD_DOES_NOT_WAIT))
		return;
	s2_schedule_point(S2_STEP_UPDATE_IN_HVA);
	tell_wait(up->vm, slot->hva, s2_memslot_hva_end(slot));
	up->vm->mm->gate->wait(up->vm, slot->hva, s2_memslot_hva_end(slot));
	tell_wait(up->vm, 0, 0);
}

static void commit_create(struct s2_update *up)
{
	swap_begin(up);
	if (S2_MUTANT(GFN_BEFORE_HVA))
		gfn_index_add(up);
	s2_schedule_point(S2_STEP_UPDATE_BEGUN);
	s2_hva_index_add(up->vm, up->new, &up->reserve, &up->hva_replaced);
	wait_for_overlapping(up);
	if (!S2_MUTANT(GFN_BEFORE_HVA))
		gfn_index_add(up);
	swap_end(up);
	up->vm->nr_memslot_pages += up->new->npages;
}

/* Out of reach for vCPUs by gfn, and nothing of it left in the stage-2 table or a TLB. */
static void hide_old(struct s2_update *up)
{
	struct s2_gfn_range range = whole(up->old);

	if (S2_MUTANT(ZAP_BEFORE_HIDE))
		up->vm->ops->zap_memslot(up->vm, &range);
	swap_begin(up);
	gfn_index_remove(up);
	swap_end(up);
	s2_schedule_point(S2_STEP_UPDATE_HIDDEN);
	if (!S2_MUTANT(ZAP_BEFORE_HIDE))
		up->vm->ops->zap_memslot(up->vm, &range);
	s2_schedule_point(S2_STEP_UPDATE_ZAPPED);
}

static void commit_delete(struct s2_update *up)
{
	if (!S2_MUTANT(HVA_REMOVED_FIRST))
		hide_old(up);
	swap_begin(up);
	s2_hva_index_remove(up->vm, up->old, &up->reserve, &up->hva_replaced);
	swap_end(up);
	if (S2_MUTANT(HVA_REMOVED_FIRST))
		hide_old(up);
	up->vm->nr_memslot_pages -= up->old->npages;
}

static void start_logging(struct s2_update *up)
{
	struct s2_gfn_range range = whole(up->new);
	struct s2_vm *vm = up->vm;

	if (!s2_memslot_logs_dirty(up->new) || s2_memslot_logs_dirty(up->old))
		return;
	if (S2_MUTANT(LOG_BEGINS_UNPROTECTED))
		return;
	s2_write_lock(&vm->mmu_lock);
	s2_flush_if(vm, vm->ops->write_protect(vm, &range), true);
	s2_write_unlock(&vm->mmu_lock);
}

static void commit_move(struct s2_update *up)
{
	hide_old(up);
	swap_begin(up);
	s2_hva_index_replace(up->vm, up->old, up->new, &up->reserve, &up->hva_replaced);
	wait_for_overlapping(up);
	gfn_index_add(up);
	swap_end(up);
}

static void commit_flags(struct s2_update *up)
{
	swap_begin(up);
	s2_hva_index_replace(up->vm, up->old, up->new, &up->reserve, &up->hva_replaced);
	s2_schedule_point(S2_STEP_UPDATE_REPLACED);
	gfn_index_replace(up);
	swap_end(up);
	s2_schedule_point(S2_STEP_UPDATE_LOGS);
	start_logging(up);
}

static void retire_replaced(struct s2_update *up)
{
	struct s2_mm *mm = up->vm->mm;

	if (up->old)
		up->old->bitmap_passed = up->new && up->new->dirty_bitmap == up->old->dirty_bitmap;
	s2_mutex_lock(&mm->index_lock);
	s2_garbage_hva_nodes(mm, up->hva_replaced);
	s2_garbage_gfn_nodes(mm, up->gfn_replaced);
	if (up->old)
		s2_garbage_memslot(mm, up->old);
	s2_mutex_unlock(&mm->index_lock);
}

static void commit(struct s2_update *up)
{
	struct s2_vm *vm = up->vm;
	uint64_t generation = atomic_load_explicit(&vm->generation, memory_order_relaxed);

	S2_ASSERT_HELD(&vm->slots_lock);
	atomic_store_explicit(&vm->generation, generation | S2_MEMSLOT_GEN_UPDATE_IN_PROGRESS,
			      memory_order_release);
	switch (up->change) {
	case S2_REGION_CREATE:
		commit_create(up);
		break;
	case S2_REGION_DELETE:
		commit_delete(up);
		break;
	case S2_REGION_MOVE:
		commit_move(up);
		break;
	case S2_REGION_FLAGS_ONLY:
		commit_flags(up);
		break;
	case S2_REGION_NONE:
		break;
	}
	set_slot(up);
	s2_schedule_point(S2_STEP_UPDATE_DONE);
	retire_replaced(up);
	/* Release: who sees the new generation sees the memslots that go with it. */
	atomic_store_explicit(&vm->generation, generation + 1, memory_order_release);
}

/* Would the update wait for an invalidation that the calling thread itself has to end? */
static bool would_deadlock(struct s2_update *up, const struct kvm_userspace_memory_region *mem)
{
	struct s2_mm *mm = up->vm->mm;

	if (mm->gate->waits == S2_WAITS_FOR_ALL)
		return s2_inflight_owned(&mm->inflight, 0, UINT64_MAX);
	if (mm->gate->waits == S2_WAITS_FOR_NOBODY ||
	    (up->change != S2_REGION_CREATE && up->change != S2_REGION_MOVE))
		return false;
	return s2_inflight_owned(&mm->inflight, mem->userspace_addr,
				 mem->userspace_addr + mem->memory_size);
}

/* Does the holder of slots_lock wait for an invalidation of the calling thread's? */
static bool waits_for_me(struct s2_vm *vm)
{
	uint64_t end = atomic_load_explicit(&vm->update_wait_end, memory_order_acquire);
	uint64_t start = atomic_load_explicit(&vm->update_wait_start, memory_order_acquire);

	/* The end again: the start may be that of the next update. */
	return start < end &&
	       end == atomic_load_explicit(&vm->update_wait_end, memory_order_relaxed) &&
	       s2_inflight_owned(&vm->mm->inflight, start, end);
}

/*
 * Who holds slots_lock may be waiting for an invalidation of ours, whatever our
 * own update is about; so a thread with one in flight does not sleep on the lock.
 */
int s2_lock_slots(struct s2_vm *vm)
{
	S2_RULE(!s2_in_guest_mode(), "blocking in guest mode");
	if (s2_mutex_trylock(&vm->slots_lock))
		return 0;
	if (!s2_inflight_owned(&vm->mm->inflight, 0, UINT64_MAX)) {
		s2_mutex_lock(&vm->slots_lock);
		return 0;
	}
	while (!s2_mutex_trylock(&vm->slots_lock)) {
		if (waits_for_me(vm))
			return -EDEADLK;
		sched_yield();
	}
	return 0;
}

static int update_locked(struct s2_vm *vm, const struct kvm_userspace_memory_region *mem)
{
	struct s2_update up = { .vm = vm };
	int ret = classify(vm, mem, &up.change);

	if (ret || up.change == S2_REGION_NONE)
		return ret;
	up.old = s2_vm_slot_by_id(vm, s2_region_slot_id(mem));
	up.chunk = &vm->slots[s2_region_slot_id(mem) / S2_SLOT_CHUNK];
	if (would_deadlock(&up, mem))
		return -EDEADLK;
	ret = prepare(&up, mem);
	if (!ret)
		commit(&up);
	clean_up(&up, !ret);
	return ret;
}

int s2_vm_set_memory_region(struct s2_vm *vm, const struct kvm_userspace_memory_region *mem)
{
	struct kvm_userspace_memory_region copy;
	int ret;

	if (!vm || !mem)
		return -EINVAL;
	copy = *mem;
	ret = s2_region_check(&copy, &rules);
	if (!ret)
		ret = s2_lock_slots(vm);
	if (ret)
		return ret;
	ret = update_locked(vm, &copy);
	s2_mutex_unlock(&vm->slots_lock);
	if (ret)
		return ret;
	atomic_fetch_add_explicit(&vm->mm->memslot_updates, 1, memory_order_relaxed);
	s2_mm_reclaim(vm->mm);
	return 0;
}

uint64_t s2_vm_memslots_generation(struct s2_vm *vm)
{
	/* Acquire pairs with the releases in commit(). */
	return vm ? atomic_load_explicit(&vm->generation, memory_order_acquire) : 0;
}
