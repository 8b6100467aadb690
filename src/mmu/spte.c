/* SPDX-License-Identifier: MIT */
/*
 * Changes to present SPTEs, all with mmu_lock held for write. They still go by
 * atomic operations: vCPUs in guest mode set accessed and dirty bits, by
 * compare-exchange and without the lock.
 */
#include "mmu/spte.h"

#include "base/alloc.h"
#include "base/mutant.h"
#include "mm/mm.h"
#include "mmu/table.h"
#include "mmu/window.h"

static bool zap(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
		void *arg)
{
	(void)gfn;
	(void)arg;
	/* Release: see s2_guest_request_flush(), which comes after. */
	atomic_store_explicit(sptep, 0, memory_order_release);
	vm->leaves_gone[shift == S2_HUGE_SHIFT]++;
	return true;
}

bool s2_mmu_unmap_gfn_range(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	const struct s2_leaf_visit visit = { .visit = zap };

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	s2_windows_for_each_leaf(vm, range->start, range->end, &visit);
	return s2_table_for_each_leaf(vm, range->start, range->end, &visit);
}

static bool set_spte(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
		     void *arg)
{
	const struct s2_page *page = arg;

	/* A writable page is for the next fault to map, which asks for what is needed. */
	if (page->writable || shift != S2_PAGE_SHIFT)
		return zap(vm, sptep, gfn, shift, NULL);
	atomic_store_explicit(sptep, (uint64_t)(uintptr_t)page->addr | S2_SPTE_PRESENT | S2_SPTE_LEAF,
			      memory_order_release);
	return true;
}

bool s2_mmu_set_spte_gfn(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	const struct s2_leaf_visit visit = { .visit = set_spte, .arg = (void *)range->arg.page };
	const struct s2_leaf_visit take_away = { .visit = zap };

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	/* To map the new page is as much work as to take the old one away, and more if nobody comes. */
	s2_windows_for_each_leaf(vm, range->start, range->end, &take_away);
	return s2_table_for_each_leaf(vm, range->start, range->end, &visit);
}

static bool age(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
		void *arg)
{
	(void)vm;
	(void)gfn;
	(void)shift;
	(void)arg;
	return atomic_fetch_and_explicit(sptep, ~S2_SPTE_ACCESSED, memory_order_relaxed) &
	       S2_SPTE_ACCESSED;
}

bool s2_mmu_age_gfn(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	const struct s2_leaf_visit visit = { .visit = age };
	bool young;

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	young = s2_windows_for_each_leaf(vm, range->start, range->end, &visit);
	return s2_table_for_each_leaf(vm, range->start, range->end, &visit) || young;
}

/* Pages [first, end) of those that the bits are of. */
static void set_young(const struct s2_young_bits *young, uint64_t first, uint64_t end)
{
	for (uint64_t page = first, next; page < end; page = next) {
		next = (page | 63) + 1 < end ? (page | 63) + 1 : end;
		young->words[page / 64] |= UINT64_MAX >> (64 - (next - page)) << (page % 64);
	}
}

/*
 * By way of the memslot, since it is host addresses that are asked about: a page may be
 * in many memslots, and in many VMs, and is young if it is in one of them.
 */
static bool test_age(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
		     void *arg)
{
	const struct s2_gfn_range *range = arg;
	const struct s2_young_bits *young = range->arg.young;
	uint64_t last = gfn | ((UINT64_C(1) << (shift - S2_PAGE_SHIFT)) - 1), first;
	uint64_t end = last < range->end ? last + 1 : range->end;

	(void)vm;
	if (!(atomic_load_explicit(sptep, memory_order_relaxed) & S2_SPTE_ACCESSED))
		return false;
	first = (s2_memslot_gfn_to_hva(range->slot, gfn) - young->start) >> S2_PAGE_SHIFT;
	set_young(young, first, first + (end - gfn));
	return true;
}

bool s2_mmu_test_age_gfn(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	const struct s2_leaf_visit visit = { .visit = test_age, .arg = (void *)range };
	bool young;

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	young = s2_windows_for_each_leaf(vm, range->start, range->end, &visit);
	return s2_table_for_each_leaf(vm, range->start, range->end, &visit) || young;
}

static bool write_protect(struct s2_vm *vm, _Atomic uint64_t *sptep, uint64_t gfn, unsigned shift,
			  void *arg)
{
	(void)arg;
	/* A log is kept by 4 KiB: a 2 MiB leaf goes, and comes back in small ones. */
	if (shift == S2_HUGE_SHIFT)
		return zap(vm, sptep, gfn, shift, NULL);
	return atomic_fetch_and_explicit(sptep, ~(S2_SPTE_WRITABLE | S2_SPTE_DIRTY),
					 memory_order_release) &
	       S2_SPTE_WRITABLE;
}

bool s2_mmu_write_protect(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	const struct s2_leaf_visit visit = { .visit = write_protect };

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	s2_windows_for_each_leaf(vm, range->start, range->end, &visit);
	return s2_table_for_each_leaf(vm, range->start, range->end, &visit);
}

struct s2_table *s2_mmu_zap_tables(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	struct s2_table *unhooked;

	s2_flush_if(vm, vm->ops->unmap_gfn_range(vm, range), true);
	unhooked = s2_table_prune(vm, range->start, range->end);
	/*
	 * vCPUs in guest mode walk without the lock: nobody starts a walk into an
	 * unhooked table, and who is inside one has come out when the flush is done.
	 */
	if (unhooked && !S2_MUTANT(TABLES_FREED_UNFLUSHED))
		vm->ops->flush_remote_tlbs(vm, true);
	return unhooked;
}

void s2_mmu_zap_memslot(struct s2_vm *vm, const struct s2_gfn_range *range)
{
	struct s2_table *unhooked;

	s2_write_lock(&vm->mmu_lock);
	/*
	 * What faults in flight looked up is stale, even if the same memslot comes
	 * back before they look again: while it was gone, invalidations of its pages
	 * were none of this VM's business and left no trace in its counters. Release
	 * pairs with the acquire in try_fault(): who reads the new sequence before it
	 * looks a memslot up does not find this one.
	 */
	if (!S2_MUTANT(DELETE_KEEPS_SEQUENCE))
		atomic_fetch_add_explicit(&vm->mmu_invalidate_seq, 1, memory_order_release);
	unhooked = s2_mmu_zap_tables(vm, range);
	s2_write_unlock(&vm->mmu_lock);
	s2_table_free_list(unhooked, &vm->mm->allocator);
}
