/* SPDX-License-Identifier: MIT */
/*
 * The patch's story. An invalidation is told at its start and at its end; between
 * the two no vCPU may use, or map, a page in the range. Before the patch each of
 * the two took mmu_lock of every VM. Here mmu_lock is taken when, and only when,
 * the first memslot in the range is found (or the gate says must_lock), by the
 * one walker s2_handle_hva_range(), kvm_handle_hva_range() in the patch.
 *
 * What makes that sound is that start and end find the same memslots, so that
 * what the one counted the other drops. How they come to is the gate's business:
 * gate_*.c, one file each, and docs/protocol.md for the four side by side.
 */
/* The functions that headers inline elsewhere are this file's. */
#define S2_INLINE_PAIR

#include "base/guest_mode.h"
#include "base/mutant.h"
#include "base/rcu.h"
#include "base/schedule.h"
#include "memslot/vm.h"
#include "mm/mm.h"
#include "notifier/invalidate.h"

#include <errno.h>
#include <string.h>

/*
 * struct s2_invalidation.token: the s2_mm, whose lower bits are free, and one of
 * these. One word, so that the elided pair has one store and one comparison.
 *
 * TOKEN_UNSEEN: elided, and end() has nothing to do but to leave the table.
 * TOKEN_BEYOND: the same of one that was never in the table.
 * TOKEN_ELIDED: elided, but the gate must hear of the end.
 */
enum {
	TOKEN_CLOSED = 0,
	TOKEN_UNSEEN = S2_TOKEN_UNSEEN,
	TOKEN_BEYOND,
	TOKEN_ELIDED,
	TOKEN_LOCKED,
};

static uintptr_t token_of(const struct s2_mm *mm, unsigned kind)
{
	return (uintptr_t)mm | kind;
}

/*
 * struct kvm_hva_range of the patch.
 *
 * @arg:          what the handler needs beside the range.
 * @handler:      for each memslot in the range, under mmu_lock; NULL if there is
 *                nothing to do but on_lock.
 * @on_lock:      each time mmu_lock is taken, before any handler.
 * @must_lock:    take mmu_lock even if no memslot is in the range.
 * @flush_on_ret: a handler's true means that TLBs must be flushed.
 * @may_block:    false: mmu_lock was taken beforehand, and a flush may not sleep.
 */
struct s2_hva_range {
	uint64_t start;
	uint64_t end;
	union s2_notifier_arg arg;
	bool (*handler)(struct s2_vm *vm, const struct s2_gfn_range *range);
	void (*on_lock)(struct s2_vm *vm, uint64_t start, uint64_t end);
	bool must_lock;
	bool flush_on_ret;
	bool may_block;
};

/* One hva index to walk: @vm's own, or with a NULL @vm that of all of them. */
struct s2_hva_index {
	struct s2_vm *vm;
	const struct s2_itree_node *root;
};

/* Sequentially consistent, as in pinned_view(): the entry is what keeps these nodes, too. */
static const struct s2_itree_node *vm_root(struct s2_vm *vm)
{
	return atomic_load_explicit(&vm->hva_root, memory_order_seq_cst);
}

struct s2_walk {
	uint64_t locks; /* mmu_locks taken */
	bool ret;       /* some handler returned true */
	bool unflushed; /* a flush would have had to sleep */
};

static void walk_lock(struct s2_vm *vm, const struct s2_hva_range *range, struct s2_walk *walk)
{
	if (range->may_block)
		s2_write_lock(&vm->mmu_lock);
	walk->locks++;
	if (range->on_lock)
		range->on_lock(vm, range->start, range->end);
	s2_schedule_point(S2_STEP_WALK_LOCKED);
}

/*
 * Under mmu_lock, because of who comes next: an invalidation of the same page
 * finds no SPTE, flushes nothing and returns, while the vCPU still has the page.
 * A flush not waited for leaves tlbs_dirty behind, for whoever comes next.
 */
static void walk_unlock(struct s2_vm *vm, const struct s2_hva_range *range, struct s2_walk *walk,
			bool flush)
{
	bool locked = range->may_block;

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	if (S2_MUTANT(FLUSH_UNLOCKED) && locked) {
		s2_write_unlock(&vm->mmu_lock);
		locked = false;
	}
	s2_schedule_point(S2_STEP_WALK_ZAPPED);
	if (range->flush_on_ret && !s2_flush_if(vm, flush, range->may_block))
		walk->unflushed = true;
	if (locked)
		s2_write_unlock(&vm->mmu_lock);
	if (S2_MUTANT(SEQUENCE_AFTER_UNLOCK) && range->on_lock && !range->handler) {
		s2_schedule_point(S2_STEP_END_DROPPED);
		atomic_fetch_add_explicit(&vm->mmu_invalidate_seq, 1, memory_order_release);
	}
}

static struct s2_gfn_range gfn_range(struct s2_memslot *slot, const struct s2_hva_range *range)
{
	uint64_t start = range->start > slot->hva ? range->start : slot->hva;
	uint64_t end = s2_memslot_hva_end(slot);

	end = range->end < end ? range->end : end;
	return (struct s2_gfn_range){
		.slot = slot,
		.start = s2_memslot_hva_to_gfn(slot, start),
		.end = s2_memslot_hva_to_gfn(slot, end),
		.arg = range->arg,
	};
}

/*
 * The walker. Finds the memslots in the range; takes mmu_lock at the first one of
 * a VM and keeps it for those that follow of the same VM. In an index of many VMs
 * a VM may come up twice, with others in between: it is then locked, and counted,
 * twice, and so it is by the walk of the same snapshot at the other end.
 */
static void s2_handle_hva_range(const struct s2_hva_index *index, const struct s2_hva_range *range,
				struct s2_walk *walk)
{
	const struct s2_itree_node *root = index->root;
	struct s2_vm *locked = NULL;
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;
	bool flush = false;

	if (range->must_lock && index->vm) {
		locked = index->vm;
		walk_lock(locked, range, walk);
		/*
		 * Where nothing keeps memslots from changing, the lock may have been
		 * long in coming: a memslot that came meanwhile may be mapped already.
		 */
		root = vm_root(locked);
	}
	s2_itree_iter_init(&it, root, range->start, range->end);
	while ((iv = s2_itree_iter_next(&it))) {
		struct s2_memslot *slot = iv->value;
		struct s2_gfn_range gfns = gfn_range(slot, range);

		if (slot->vm != locked) {
			if (locked)
				walk_unlock(locked, range, walk, flush);
			locked = slot->vm;
			flush = false;
			walk_lock(locked, range, walk);
		}
		if (range->handler && range->handler(locked, &gfns))
			flush = walk->ret = true;
	}
	if (locked)
		walk_unlock(locked, range, walk, flush);
}

/*
 * What a start() sees, and its end() again: the pinned root of the shared index,
 * or the pinned list of VMs with an index each.
 */
static unsigned nr_indexes(const struct s2_mm *mm, const void *view)
{
	return mm->gate->shared_index ? 1 : ((const struct s2_vm_list *)view)->nr;
}

static struct s2_hva_index index_at(const struct s2_mm *mm, const void *view, unsigned i)
{
	struct s2_vm *vm;

	if (mm->gate->shared_index)
		return (struct s2_hva_index){ .root = view };
	vm = ((const struct s2_vm_list *)view)->vms[i];
	return (struct s2_hva_index){ .vm = vm, .root = vm_root(vm) };
}

/*
 * Sequentially consistent loads: after barrier C, the claiming of the entry, the
 * version read here is the latest, or the updater finds the entry (mm/inflight.h).
 */
static const void *pinned_view(struct s2_mm *mm)
{
	if (mm->gate->shared_index)
		return atomic_load_explicit(&mm->hva_root, memory_order_seq_cst);
	return atomic_load_explicit(&mm->vms, memory_order_seq_cst);
}

/* Walks everything @view holds, outside any pair or inside one that is open. */
static struct s2_walk walk_view(struct s2_mm *mm, const void *view, const struct s2_hva_range *range)
{
	struct s2_walk walk = { 0 };

	for (unsigned i = 0; i < nr_indexes(mm, view); i++) {
		struct s2_hva_index index = index_at(mm, view, i);

		s2_handle_hva_range(&index, range, &walk);
	}
	return walk;
}

static bool unmap_gfn_range(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	return vm->ops->unmap_gfn_range(vm, range);
}

static void invalidate_begin(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	vm->invalidations++;
	s2_mmu_invalidate_begin(vm, start, end);
}

static void invalidate_end(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	(void)start;
	(void)end;
	s2_mmu_invalidate_end(vm);
}

static void invalidate_undo(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	(void)start;
	(void)end;
	vm->invalidations--;
	s2_mmu_invalidate_undo(vm);
}

static struct s2_hva_range start_range(const struct s2_mm *mm, const struct s2_invalidation *inv)
{
	return (struct s2_hva_range){
		.start = inv->start,
		.end = inv->end,
		.handler = unmap_gfn_range,
		.on_lock = invalidate_begin,
		.must_lock = mm->gate->must_lock(inv->flags),
		.flush_on_ret = !S2_MUTANT(START_DOES_NOT_FLUSH),
		.may_block = !(inv->flags & S2_NONBLOCK),
	};
}

static void gate_begin(struct s2_mm *mm, const struct s2_hva_index *index, unsigned flags)
{
	if (index->vm)
		mm->gate->vm_begin(index->vm, flags);
}

static void gate_end(struct s2_mm *mm, const struct s2_hva_index *index, unsigned flags)
{
	if (index->vm)
		mm->gate->vm_end(index->vm, flags);
}

static struct s2_walk start_blockable(struct s2_mm *mm, struct s2_invalidation *inv)
{
	struct s2_hva_range range = start_range(mm, inv);
	struct s2_walk walk = { 0 };

	for (unsigned i = 0; i < nr_indexes(mm, inv->view); i++) {
		struct s2_hva_index index = index_at(mm, inv->view, i);

		gate_begin(mm, &index, inv->flags);
		/* Again: under the gate it is the version that stays until end(). */
		index = index_at(mm, inv->view, i);
		s2_handle_hva_range(&index, &range, &walk);
	}
	return walk;
}

/*
 * For those that may not sleep: mmu_lock of every VM concerned is taken first, by
 * trying, so that there is nothing to undo when one is held elsewhere. Many
 * VMs' locks are held at once then, in no order; trying cannot deadlock.
 */
static void unlock_concerned(const struct s2_hva_index *index, const struct s2_hva_range *range)
{
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;

	if (index->vm && s2_write_owned(&index->vm->mmu_lock))
		s2_write_unlock(&index->vm->mmu_lock);
	if (index->vm)
		return;
	s2_itree_iter_init(&it, index->root, range->start, range->end);
	while ((iv = s2_itree_iter_next(&it))) {
		struct s2_vm *vm = ((struct s2_memslot *)iv->value)->vm;

		if (s2_write_owned(&vm->mmu_lock))
			s2_write_unlock(&vm->mmu_lock);
	}
}

/* A holder is usually gone in no time, and spinning is not sleeping. */
static bool try_mmu_lock(struct s2_vm *vm)
{
	if (s2_write_owned(&vm->mmu_lock))
		return true;
	for (unsigned i = 0; i < 1000; i++) {
		if (s2_write_trylock(&vm->mmu_lock))
			return true;
		s2_cpu_relax();
	}
	return false;
}

static bool trylock_concerned(const struct s2_hva_index *index, const struct s2_hva_range *range)
{
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;

	if (range->must_lock && index->vm)
		return try_mmu_lock(index->vm);
	s2_itree_iter_init(&it, index->root, range->start, range->end);
	while ((iv = s2_itree_iter_next(&it)))
		if (!try_mmu_lock(((struct s2_memslot *)iv->value)->vm))
			return false;
	return true;
}

static int start_nonblock(struct s2_mm *mm, struct s2_invalidation *inv, struct s2_walk *walk)
{
	struct s2_hva_range range = start_range(mm, inv);
	unsigned nr = nr_indexes(mm, inv->view);
	int ret = 0;

	/* All gates before the first mmu_lock: that is their order. */
	for (unsigned i = 0; i < nr; i++) {
		struct s2_hva_index index = index_at(mm, inv->view, i);

		gate_begin(mm, &index, inv->flags);
	}
	for (unsigned i = 0; i < nr && !ret; i++) {
		struct s2_hva_index index = index_at(mm, inv->view, i);

		if (!trylock_concerned(&index, &range))
			ret = -EAGAIN;
	}
	s2_schedule_point(S2_STEP_NONBLOCK_LOCKED);
	if (!ret)
		*walk = walk_view(mm, inv->view, &range);
	s2_schedule_point(S2_STEP_NONBLOCK_WALKED);
	if (walk->unflushed && !S2_MUTANT(UNFLUSHED_IGNORED)) {
		/* The SPTEs that are gone come back by fault; their flush is due in tlbs_dirty. */
		ret = -EAGAIN;
		range.handler = NULL;
		range.on_lock = invalidate_undo;
		range.flush_on_ret = false;
		walk_view(mm, inv->view, &range);
	}
	for (unsigned i = 0; i < nr; i++) {
		struct s2_hva_index index = index_at(mm, inv->view, i);

		unlock_concerned(&index, &range);
	}
	for (unsigned i = 0; ret && i < nr && !S2_MUTANT(FAILED_START_KEEPS_GATE); i++) {
		struct s2_hva_index index = index_at(mm, inv->view, i);

		gate_end(mm, &index, inv->flags);
	}
	return ret;
}

/* All but the elided starts of the range gate. Out of guest mode: it may block. */
static int start_slow(struct s2_mm *mm, struct s2_invalidation *inv)
{
	bool left = !S2_MUTANT(START_STAYS_IN_GUEST_MODE) && s2_guest_leave_all();
	struct s2_walk walk = { 0 };
	bool elided;
	int ret = 0;

	if (inv->flags & S2_NONBLOCK)
		ret = start_nonblock(mm, inv, &walk);
	else
		walk = start_blockable(mm, inv);
	elided = mm->gate->elides && !walk.locks;
	if (ret) {
		atomic_fetch_add_explicit(&mm->nonblock_failed, 1, memory_order_relaxed);
		s2_inflight_account_none(inv);
		s2_inflight_leave(&mm->inflight, inv);
		inv->token = TOKEN_CLOSED;
	} else {
		s2_inflight_account(&mm->inflight, inv, elided, walk.locks);
		inv->token = token_of(mm, elided ? TOKEN_ELIDED : TOKEN_LOCKED);
	}
	if (left)
		s2_guest_return_all();
	return ret;
}

static bool bad_range(uint64_t start, uint64_t end)
{
	return start >= end || ((start | end) & (S2_PAGE_SIZE - 1));
}

/* Is there a memslot in the range? Called where the filter cannot tell. */
static bool related(const struct s2_mm *mm, const void *view, uint64_t start, uint64_t end)
{
	return !mm->gate->shared_index || s2_itree_overlaps(view, start, end);
}

static int elided_unseen(struct s2_mm *mm, struct s2_invalidation *inv)
{
	s2_schedule_point(S2_STEP_START_LOOKED_UP);
	inv->token = token_of(mm, TOKEN_UNSEEN);
	return 0;
}

int s2_invalidate_range_start_claimed(struct s2_mm *mm, struct s2_invalidation *inv,
				      uint64_t start, uint64_t end, unsigned flags)
{
	const void *view = S2_MUTANT(LOOK_BEFORE_PUBLISH) ? inv->view : pinned_view(mm);

	if (!related(mm, view, start, end))
		return elided_unseen(mm, inv);
	s2_schedule_point(S2_STEP_START_LOOKED_UP);
	inv->view = view;
	inv->start = start;
	inv->end = end;
	inv->flags = flags;
	return start_slow(mm, inv);
}

/* Misuse, and whatever is not the pair of a thread at home; that one too where pairs are called. */
int s2_invalidate_range_start_slow(struct s2_mm *mm, struct s2_invalidation *inv, uint64_t start,
				   uint64_t end, unsigned flags)
{
	int ret;

	if (!mm || !inv || bad_range(start, end) || (flags & ~S2_NONBLOCK))
		return -EINVAL;
	if (S2_MUTANT(LOOK_BEFORE_PUBLISH))
		inv->view = pinned_view(mm);
	s2_schedule_point(S2_STEP_START_BEGIN);
	s2_inflight_enter(&mm->inflight, inv, start, end);
	s2_schedule_point(S2_STEP_START_PUBLISHED);
	if (S2_MUTANT(LOOK_BEFORE_PUBLISH) || s2_hva_filter_may_overlap(mm->filter.bits, start, end))
		ret = s2_invalidate_range_start_claimed(mm, inv, start, end, flags);
	else
		ret = elided_unseen(mm, inv);
	if (!inv->entry && inv->token == token_of(mm, TOKEN_UNSEEN)) {
		s2_inflight_account(&mm->inflight, inv, true, 0);
		inv->token = token_of(mm, TOKEN_BEYOND);
	}
	return ret;
}

static void end_slow(struct s2_mm *mm, struct s2_invalidation *inv)
{
	struct s2_hva_range range = {
		.start = inv->start,
		.end = inv->end,
		.on_lock = invalidate_end,
		.must_lock = mm->gate->must_lock(inv->flags),
		.may_block = true,
	};
	bool left = s2_guest_leave_all();
	struct s2_walk walk = { 0 };

	if (S2_MUTANT(ENTRY_LEFT_EARLY))
		s2_inflight_leave(&mm->inflight, inv);
	s2_schedule_point(S2_STEP_END_BEGIN);
	for (unsigned i = 0; i < nr_indexes(mm, inv->view); i++) {
		struct s2_hva_index index = index_at(mm, inv->view, i);

		s2_handle_hva_range(&index, &range, &walk);
		gate_end(mm, &index, inv->flags);
	}
	s2_schedule_point(S2_STEP_END_COUNTED);
	s2_inflight_account_locks(&mm->inflight, inv, walk.locks);
	if (!S2_MUTANT(ENTRY_LEFT_EARLY))
		s2_inflight_leave(&mm->inflight, inv);
	if (left)
		s2_guest_return_all();
}

static bool token_open(const struct s2_mm *mm, const struct s2_invalidation *inv)
{
	return inv->token > token_of(mm, TOKEN_CLOSED) && inv->token <= token_of(mm, TOKEN_LOCKED);
}

/* The mutant's: as end() would be that decides for itself. */
static void end_afresh(struct s2_mm *mm, struct s2_invalidation *inv)
{
	s2_inflight_range(inv, &inv->start, &inv->end);
	inv->view = pinned_view(mm);
	if (related(mm, inv->view, inv->start, inv->end))
		end_slow(mm, inv);
	else
		s2_inflight_leave(&mm->inflight, inv);
	inv->token = TOKEN_CLOSED;
}

void s2_invalidate_range_end_slow(struct s2_mm *mm, struct s2_invalidation *inv)
{
	uintptr_t token;

	if (!mm || !inv)
		return;
	S2_RULE(token_open(mm, inv), "token life cycle: end() without start(), or twice, or on another mm");
	if (!token_open(mm, inv))
		return;
	if (S2_MUTANT(END_LOOKS_AGAIN)) {
		end_afresh(mm, inv);
		return;
	}
	token = inv->token;
	inv->token = TOKEN_CLOSED;
	if (token == token_of(mm, TOKEN_UNSEEN) || token == token_of(mm, TOKEN_BEYOND))
		s2_inflight_leave(&mm->inflight, inv);
	else
		end_slow(mm, inv);
}

#ifdef S2_PAIRS_CALLED

int s2_invalidate_range_start(struct s2_mm *mm, struct s2_invalidation *inv, uint64_t start,
			      uint64_t end, unsigned flags)
{
	return s2_invalidate_range_start_slow(mm, inv, start, end, flags);
}

void s2_invalidate_range_end(struct s2_mm *mm, struct s2_invalidation *inv)
{
	s2_invalidate_range_end_slow(mm, inv);
}

#endif

/*
 * Is the memslot that start() saw still what guests have at the range's gfn? It may
 * have been deleted since, and its place taken by another, of other host pages,
 * which nobody waits for: that one's SPTE is not to be touched.
 */
static bool still_mapped(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	struct s2_memslot *now;
	bool same;

	s2_rcu_read_lock();
	now = s2_gfn_to_memslot(vm, range->start);
	same = now && s2_memslot_gfn_to_hva(now, range->start) ==
			      s2_memslot_gfn_to_hva(range->slot, range->start);
	s2_rcu_read_unlock();
	return same;
}

static bool set_spte_gfn(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	/* The patch's assertion: the bracket that was not elided raised the count. */
	S2_RULE(atomic_load_explicit(&vm->mmu_invalidate_in_progress, memory_order_relaxed) > 0,
		"change_pte outside an invalidation of its VM");
	return still_mapped(vm, range) && vm->ops->set_spte_gfn(vm, range);
}

int s2_change_pte(struct s2_mm *mm, struct s2_invalidation *inv, uint64_t hva,
		  const struct s2_page *page)
{
	struct s2_hva_range range = {
		.start = hva,
		.end = hva + S2_PAGE_SIZE,
		.arg.page = page,
		.handler = set_spte_gfn,
		.flush_on_ret = true,
		.may_block = true,
	};
	uint64_t start, end;
	bool left;

	if (!mm || !inv || !page || !token_open(mm, inv) || (hva & (S2_PAGE_SIZE - 1)))
		return -EINVAL;
	s2_inflight_range(inv, &start, &end);
	if (hva < start || hva >= end)
		return -EINVAL;
	if (page->shift != S2_PAGE_SHIFT || !page->addr || ((uintptr_t)page->addr & (S2_PAGE_SIZE - 1)))
		return -EINVAL;
	/*
	 * start() found no memslot here and took no lock; looking again could find
	 * one that came since, whose VM's count was never raised.
	 */
	if (inv->token != token_of(mm, TOKEN_LOCKED) && !S2_MUTANT(CHANGE_PTE_ELIDED))
		return 0;
	left = s2_guest_leave_all();
	walk_view(mm, S2_MUTANT(CHANGE_PTE_ELIDED) ? pinned_view(mm) : inv->view, &range);
	if (left)
		s2_guest_return_all();
	return 0;
}

/* A walk that is no invalidation: published all the same, for the snapshot to stay. */
static bool walk_outside_pairs(struct s2_mm *mm, const struct s2_hva_range *range)
{
	struct s2_invalidation pin;
	bool left = s2_guest_leave_all();
	struct s2_walk walk;

	s2_inflight_enter(&mm->inflight, &pin, range->start, range->end);
	s2_inflight_account_none(&pin);
	walk = walk_view(mm, pinned_view(mm), range);
	s2_inflight_leave(&mm->inflight, &pin);
	if (left)
		s2_guest_return_all();
	return walk.ret;
}

static bool age_gfn(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	return vm->ops->age_gfn(vm, range);
}

static bool test_age_gfn(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	return vm->ops->test_age_gfn(vm, range);
}

static bool clear_young(struct s2_mm *mm, uint64_t start, uint64_t end, bool flush)
{
	struct s2_hva_range range = {
		.start = start,
		.end = end,
		.handler = age_gfn,
		.flush_on_ret = flush,
		.may_block = true,
	};

	if (!mm || bad_range(start, end))
		return false;
	return walk_outside_pairs(mm, &range);
}

bool s2_clear_flush_young(struct s2_mm *mm, uint64_t start, uint64_t end)
{
	return clear_young(mm, start, end, true);
}

bool s2_clear_young(struct s2_mm *mm, uint64_t start, uint64_t end)
{
	return clear_young(mm, start, end, false);
}

int s2_test_young_pages(struct s2_mm *mm, uint64_t start, uint64_t end, uint64_t *bitmap)
{
	const struct s2_young_bits bits = { .start = start, .words = bitmap };
	struct s2_hva_range range = {
		.start = start,
		.end = end,
		.arg.young = &bits,
		.handler = test_age_gfn,
		.may_block = true,
	};

	if (!mm || !bitmap || bad_range(start, end))
		return -EINVAL;
	memset(bitmap, 0, s2_bitmap_words((end - start) >> S2_PAGE_SHIFT) * sizeof(*bitmap));
	return walk_outside_pairs(mm, &range);
}

bool s2_test_young(struct s2_mm *mm, uint64_t hva)
{
	uint64_t bit;

	return s2_test_young_pages(mm, hva, hva + S2_PAGE_SIZE, &bit) > 0;
}

void s2_release(struct s2_mm *mm)
{
	struct s2_hva_range range = {
		.end = -S2_PAGE_SIZE,
		.handler = unmap_gfn_range,
		.flush_on_ret = true,
		.may_block = true,
	};

	if (!mm)
		return;
	/*
	 * Before the walk: a fault looks at it under mmu_lock, so either it maps
	 * before the walk comes by and is zapped, or it sees this and fails.
	 */
	atomic_store_explicit(&mm->released, true, memory_order_relaxed);
	walk_outside_pairs(mm, &range);
}
