/* SPDX-License-Identifier: MIT */
/*
 * kvm_tdp_page_fault() and kvm_faultin_pfn(). A fault looks a page up with no lock
 * held, and by the time it holds mmu_lock the page may be gone:
 *
 *	CPU 0 (fault)				CPU 1 (invalidation)
 *	-------------				--------------------
 *	seq = mmu_invalidate_seq
 *	page = provider's fault()
 *						start(): count up, zap (nothing there)
 *						the page goes away
 *						end(): seq up, count down
 *	lock(mmu_lock)
 *	count is 0, but seq has changed: retry
 *
 * and the same for its memslot:
 *
 *	CPU 0 (fault)				CPU 1 (memslot delete)
 *	-------------				----------------------
 *	seq = mmu_invalidate_seq
 *	slot = lookup by gfn
 *						out of the gfn index
 *						lock(mmu_lock), zap, seq up, unlock
 *						out of the hva index
 *	lock(mmu_lock)
 *	seq has changed: retry
 *
 * If CPU 0 gets the lock first, what it maps is zapped; if CPU 1 does, the sequence
 * has changed, even if the memslot is back by then. Hence a delete waits for no
 * fault, however long its provider takes. Under mmu_lock the memslot is looked up
 * again all the same, for its dirty log: that may have begun meanwhile.
 */
#include "mmu/fault.h"

#include "base/alloc.h"
#include "base/guest_mode.h"
#include "base/mutant.h"
#include "base/rcu.h"
#include "base/schedule.h"
#include "mm/mm.h"
#include "mmu/spte.h"
#include "mmu/window.h"
#include "notifier/invalidate.h"

#include <errno.h>
#include <sched.h>

/* How often a fault looks before it goes to sleep until an invalidation ends. */
#define SPINS 100

/* Beside 0 and errors: something changed on the way, start again. RET_PF_RETRY. */
#define RETRY 1

#define HUGE_PAGES (UINT64_C(1) << (S2_HUGE_SHIFT - S2_PAGE_SHIFT))

/*
 * One try of a fault, and what it has looked up with no lock held.
 *
 * @seq:   the sequence from before that.
 * @hva:   of the page; @low, @high: both ends of the memslot, and @readonly, copied out of the
 *         RCU section.
 * @error: the provider's, if there is no @page.
 */
struct s2_try {
	uint64_t gfn;
	unsigned access;
	uint32_t seq;
	uint64_t hva;
	uint64_t low;
	uint64_t high;
	bool readonly;
	int error;
	struct s2_page page;
};

static int find_memslot(struct s2_vm *vm, struct s2_try *try)
{
	struct s2_memslot *slot;
	int ret = -ENXIO;

	s2_rcu_read_lock();
	slot = s2_gfn_to_memslot(vm, try->gfn);
	if (slot) {
		try->hva = s2_memslot_gfn_to_hva(slot, try->gfn);
		try->low = slot->hva;
		try->high = s2_memslot_hva_end(slot);
		try->readonly = s2_memslot_readonly(slot);
		ret = try->readonly && try->access == S2_ACCESS_WRITE ? -EROFS : 0;
	}
	s2_rcu_read_unlock();
	return ret;
}

/* Tables for every level below the root, before the lock: an allocator may call us back. */
static int top_up(struct s2_fault_state *state, const struct s2_allocator *a)
{
	while (!state->window && state->nr_spare < S2_TABLE_LEVELS - 1) {
		struct s2_table *table = s2_table_alloc(a);

		if (!table)
			return -ENOMEM;
		table->next = state->spare;
		state->spare = table;
		state->nr_spare++;
	}
	return 0;
}

static void count_spare(struct s2_fault_state *state)
{
	state->nr_spare = 0;
	for (struct s2_table *table = state->spare; table; table = table->next)
		state->nr_spare++;
}

void s2_fault_state_free(struct s2_fault_state *state, const struct s2_allocator *a)
{
	s2_table_free_list(state->spare, a);
	state->spare = NULL;
	state->nr_spare = 0;
}

/*
 * Waits while the page at @hva is being invalidated. Without mmu_lock: a hint that
 * is wrong costs one more round. Announced before the word is read, see
 * s2_wake_faults(). The sleep ends by itself after a while because of one
 * case in which nobody wakes: end() drops its count, and wakes, before it leaves
 * the table; if other counts are up then, the page still looks covered.
 */
static int await_invalidation(struct s2_vm *vm, uint64_t hva)
{
	uint64_t end = hva + S2_PAGE_SIZE;

	for (unsigned i = 0; i < SPINS; i++) {
		if (!s2_mmu_invalidating(vm, hva, end))
			return 0;
		s2_cpu_relax();
	}
	if (s2_inflight_owned(&vm->mm->inflight, hva, end))
		return -EDEADLK;
	atomic_fetch_add_explicit(&vm->fault_waiters, 1, memory_order_seq_cst);
	for (;;) {
		uint32_t wake = atomic_load_explicit(&vm->fault_wake, memory_order_seq_cst);

		if (!s2_mmu_invalidating(vm, hva, end))
			break;
		s2_schedule_point(S2_STEP_FAULT_SLEEPS);
		s2_futex_wait_for(&vm->fault_wake, wake, 1000000);
	}
	atomic_fetch_sub_explicit(&vm->fault_waiters, 1, memory_order_relaxed);
	return 0;
}

/* The same page under the same memslot as before, and nothing happened to it meanwhile? */
static struct s2_memslot *still_valid(struct s2_vm *vm, const struct s2_try *try)
{
	struct s2_memslot *slot = s2_gfn_to_memslot(vm, try->gfn);

	S2_ASSERT_MMU_LOCK(&vm->mmu_lock);
	if (!slot || s2_memslot_gfn_to_hva(slot, try->gfn) != try->hva || slot->hva != try->low ||
	    s2_memslot_hva_end(slot) != try->high || s2_memslot_readonly(slot) != try->readonly)
		return NULL;
	return s2_mmu_invalidate_retry(vm, try->seq, try->hva) ? NULL : slot;
}

/*
 * May a 2 MiB leaf around @gfn stand for @page? Dirty logs are kept by 4 KiB; and
 * of the pages it would map besides, none may be under invalidation.
 */
static bool fits_huge(const struct s2_memslot *slot, uint64_t gfn, const struct s2_page *page)
{
	uint64_t size = UINT64_C(1) << S2_HUGE_SHIFT;
	uint64_t first = gfn & ~(HUGE_PAGES - 1), hva;

	if (page->shift != S2_HUGE_SHIFT || s2_memslot_logs_dirty(slot) ||
	    first < slot->base_gfn || first + HUGE_PAGES > slot->base_gfn + slot->npages)
		return false;
	hva = s2_memslot_gfn_to_hva(slot, first);
	return ((hva | (uintptr_t)page->addr) & (size - 1)) == 0 &&
	       (S2_MUTANT(HUGE_OVER_INVALIDATED) ||
		!s2_mmu_invalidating(slot->vm, hva, hva + size));
}

static uint64_t spte_flags(const struct s2_memslot *slot, bool writable, unsigned access)
{
	uint64_t spte = S2_SPTE_PRESENT | S2_SPTE_LEAF | S2_SPTE_ACCESSED;

	/*
	 * With a log, a page becomes writable by being written to, since that is
	 * when it is marked; likewise nobody may write to a read-only memslot.
	 */
	if (!writable || s2_memslot_readonly(slot) ||
	    (s2_memslot_logs_dirty(slot) && access != S2_ACCESS_WRITE))
		return spte;
	spte |= S2_SPTE_WRITABLE;
	return access == S2_ACCESS_WRITE ? spte | S2_SPTE_DIRTY : spte;
}

/*
 * Of the pages that the provider has found after this one, those that the memslot has, too.
 * None with a log, where a page becomes writable by being written to.
 */
static uint64_t count_after(const struct s2_memslot *slot, uint64_t gfn, const struct s2_page *page)
{
	uint64_t left = slot->base_gfn + slot->npages - gfn - 1;
	uint64_t n = page->after < left ? page->after : left;
	uint64_t hva = s2_memslot_gfn_to_hva(slot, gfn + 1);

	if (!n || page->shift != S2_PAGE_SHIFT || s2_memslot_logs_dirty(slot) ||
	    (s2_mmu_invalidating(slot->vm, hva, hva + (n << S2_PAGE_SHIFT)) &&
	     !S2_MUTANT(WINDOW_AFTER_UNCHECKED)))
		return 0;
	return n;
}

static struct s2_mapping make_mapping(const struct s2_memslot *slot, const struct s2_try *try)
{
	const struct s2_page *page = &try->page;
	uint64_t gfn = try->gfn, in_page = try->hva & ((UINT64_C(1) << page->shift) - 1);
	uint64_t spte = (uintptr_t)page->addr | spte_flags(slot, page->writable, try->access);

	if (fits_huge(slot, gfn, page))
		return (struct s2_mapping){
			.gfn = gfn & ~(HUGE_PAGES - 1),
			.n = HUGE_PAGES,
			.spte = spte,
			.huge = true,
		};
	return (struct s2_mapping){
		.gfn = gfn,
		.n = 1 + count_after(slot, gfn, page),
		.spte = spte + in_page,
	};
}

/*
 * In the VM's table, with compare-exchange: other faults hold mmu_lock shared as we do. A
 * present SPTE of another address cannot be replaced without a flush.
 * 0, -EBUSY: something is in the way that has to be zapped first.
 */
static int install_in_table(struct s2_vm *vm, struct s2_fault_state *state, uint64_t gfn,
			    const struct s2_mapping *mapping)
{
	uint64_t new = mapping->spte, old;
	_Atomic uint64_t *sptep = NULL;
	bool huge = mapping->huge;

	if (huge)
		sptep = s2_table_reach(vm, gfn, 2, &state->spare);
	if (!sptep && huge && s2_table_is_hollow(vm, gfn))
		return -EBUSY;
	if (!sptep && huge) {
		new += (gfn & (HUGE_PAGES - 1)) << S2_PAGE_SHIFT;
		huge = false;
	}
	if (!sptep)
		sptep = s2_table_reach(vm, gfn, 1, &state->spare);
	if (!sptep)
		return -EBUSY;
	old = atomic_load_explicit(sptep, memory_order_relaxed);
	do {
		if (s2_spte_present(old) && s2_spte_addr(old) != s2_spte_addr(new))
			return -EBUSY;
		/* Release pairs with the acquire of the walk: the page's contents before its SPTE. */
	} while (!atomic_compare_exchange_weak_explicit(sptep, &old, new | (old & S2_SPTE_FLAGS),
							memory_order_release,
							memory_order_relaxed));
	if (!s2_spte_present(old))
		s2_count(&state->counts.leaves_made[huge], 1);
	return 0;
}

static int install(struct s2_vm *vm, struct s2_fault_state *state, const struct s2_memslot *slot,
		   const struct s2_try *try)
{
	struct s2_mapping mapping = make_mapping(slot, try);
	bool dirty = mapping.spte & S2_SPTE_DIRTY;
	int ret;

	S2_ASSERT_MMU_LOCK(&vm->mmu_lock);
	/*
	 * Before the SPTE, as in KVM: once that is there another vCPU can store by it,
	 * and a log that is only copied takes no mmu_lock that would wait for us.
	 */
	if (dirty && !S2_MUTANT(DIRTY_AFTER_SPTE))
		s2_memslot_mark_dirty(slot, try->gfn);
	ret = state->window ? s2_window_install(state->window, try->gfn, &mapping) :
			      install_in_table(vm, state, try->gfn, &mapping);
	s2_schedule_point(S2_STEP_FAULT_INSTALLED);
	if (!ret && dirty && S2_MUTANT(DIRTY_AFTER_SPTE))
		s2_memslot_mark_dirty(slot, try->gfn);
	return ret;
}

/*
 * Rare: the primary MMU put another page there without a notification, or a leaf's size
 * changed; perhaps there is a table in its place, all leaves of which have been zapped.
 */
static void make_way(struct s2_vm *vm, uint64_t gfn)
{
	struct s2_gfn_range range = { .start = gfn, .end = gfn + 1 };
	struct s2_table *unhooked;

	s2_write_lock(&vm->mmu_lock);
	unhooked = s2_mmu_zap_tables(vm, &range);
	s2_write_unlock(&vm->mmu_lock);
	s2_table_free_list(unhooked, &vm->mm->allocator);
}

/* A mutant's: between the check and the mapping anything may happen. */
static void drop_mmu_lock_once(struct s2_vm *vm, struct s2_brlock_reader *reader)
{
	s2_read_unlock(&vm->mmu_lock, reader);
	s2_schedule_point(S2_STEP_FAULT_CHECKED);
	s2_read_lock(&vm->mmu_lock, reader);
}

/* Maps the page, or without one only finds out whether the provider's error still counts. */
static int map_checked(struct s2_vm *vm, struct s2_fault_state *state, const struct s2_try *try,
		       struct s2_brlock_reader *reader)
{
	const struct s2_memslot *slot = still_valid(vm, try);

	S2_ASSERT_MMU_LOCK(&vm->mmu_lock);
	s2_schedule_point(S2_STEP_FAULT_CHECKED);
	if (!slot)
		return RETRY;
	if (atomic_load_explicit(&vm->mm->released, memory_order_relaxed))
		return -EFAULT;
	if (try->error)
		return 0;
	if (state->window && S2_MUTANT(WINDOW_MAPPED_UNLOCKED))
		drop_mmu_lock_once(vm, reader);
	return install(vm, state, slot, try);
}

static int map_locked(struct s2_vm *vm, struct s2_fault_state *state, const struct s2_try *try,
		      struct s2_brlock_reader *reader)
{
	int ret;

	s2_read_lock(&vm->mmu_lock, reader);
	s2_rcu_read_lock();
	ret = map_checked(vm, state, try, reader);
	s2_rcu_read_unlock();
	s2_read_unlock(&vm->mmu_lock, reader);
	return ret;
}

static int map_in_window(struct s2_vm *vm, struct s2_fault_state *state, const struct s2_try *try)
{
	struct s2_window_reader *reader = s2_window_reader_get(state->window);
	struct s2_windows_room before = s2_windows_room(vm->mm);
	int ret = map_locked(vm, state, try, &reader->reader);

	s2_window_reader_put(reader);
	if (ret == -ENOSPC)
		ret = s2_windows_make_room(vm->mm, &before) ? RETRY : -ENOMEM;
	return ret;
}

static int map_page(struct s2_vm *vm, struct s2_fault_state *state, const struct s2_try *try)
{
	int ret = state->window ? map_in_window(vm, state, try) :
				  map_locked(vm, state, try, &state->reader);

	count_spare(state);
	if (ret != -EBUSY)
		return ret;
	make_way(vm, try->gfn);
	return RETRY;
}

/* A provider is a stranger's code: what it says goes into SPTEs only if it can be true. */
static bool sound_page(const struct s2_page *page)
{
	return page->addr && (page->shift == S2_PAGE_SHIFT || page->shift == S2_HUGE_SHIFT) &&
	       !((uintptr_t)page->addr & ((UINT64_C(1) << page->shift) - 1));
}

/* All that may take long, or call a stranger: before mmu_lock. */
static int look_up(struct s2_vm *vm, struct s2_fault_state *state, struct s2_try *try)
{
	int ret;

	/*
	 * Acquire: memslot and page are looked up after the sequence is read. Pairs
	 * with the order of who makes them stale: the page goes, or the memslot
	 * leaves the gfn index, before the sequence is raised, under the mmu_lock that
	 * we take before we compare.
	 */
	try->seq = atomic_load_explicit(&vm->mmu_invalidate_seq, memory_order_acquire);
	s2_schedule_point(S2_STEP_FAULT_SEQUENCE);
	ret = find_memslot(vm, try);
	s2_schedule_point(S2_STEP_FAULT_LOOKED_UP);
	if (!ret)
		ret = await_invalidation(vm, try->hva);
	s2_schedule_point(S2_STEP_FAULT_AWAITED);
	if (!ret)
		ret = top_up(state, &vm->mm->allocator);
	if (ret)
		return ret;
	try->error = vm->mm->provider->fault(vm->mm->provider_ctx, try->hva, try->access,
					     &try->page);
	if (!try->error && !sound_page(&try->page))
		try->error = -EFAULT;
	s2_schedule_point(S2_STEP_FAULT_PAGE);
	return 0;
}

static int try_fault(struct s2_vm *vm, struct s2_fault_state *state, uint64_t gfn, unsigned access)
{
	struct s2_try try = { .gfn = gfn, .access = access };
	int ret = look_up(vm, state, &try);

	if (ret)
		return ret;
	if (try.error && S2_MUTANT(ERROR_NOT_RETRIED))
		return try.error;
	/* A page that was not there because it was being replaced is no error: same check. */
	ret = map_page(vm, state, &try);
	return ret ? ret : try.error;
}

int s2_mmu_fault(struct s2_vm *vm, struct s2_fault_state *state, uint64_t gfn, unsigned access)
{
	int ret;

	S2_RULE(!s2_in_guest_mode(), "a fault is handled out of guest mode");
	if (gfn >= S2_GFN_LIMIT)
		return -ENXIO;
	s2_count(&state->counts.faults, 1);
	while ((ret = try_fault(vm, state, gfn, access)) == RETRY)
		s2_count(&state->counts.retries, 1);
	return ret;
}
