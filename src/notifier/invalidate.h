/* SPDX-License-Identifier: MIT */
/*
 * The invalidation counters of a VM and the check faults make against them:
 * kvm_mmu_invalidate_begin(), _end() and mmu_invalidate_retry().
 */
#ifndef S2_NOTIFIER_INVALIDATE_H
#define S2_NOTIFIER_INVALIDATE_H

#include "base/futex.h"
#include "base/mutant.h"
#include "base/schedule.h"
#include "memslot/vm.h"
#include "mm/mm.h"

/* Caller holds mmu_lock for write. */
static inline void s2_mmu_invalidate_begin(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	uint64_t count = atomic_load_explicit(&vm->mmu_invalidate_in_progress, memory_order_relaxed);

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	/* Several in progress are remembered as the one range that spans them. */
	if (count && !S2_MUTANT(SPAN_FORGETS_OTHERS)) {
		uint64_t low = atomic_load_explicit(&vm->mmu_invalidate_range_start, memory_order_relaxed);
		uint64_t high = atomic_load_explicit(&vm->mmu_invalidate_range_end, memory_order_relaxed);

		start = start < low ? start : low;
		end = end > high ? end : high;
	}
	atomic_store_explicit(&vm->mmu_invalidate_range_start, start, memory_order_relaxed);
	atomic_store_explicit(&vm->mmu_invalidate_range_end, end, memory_order_relaxed);
	atomic_store_explicit(&vm->mmu_invalidate_in_progress, count + 1, memory_order_relaxed);
}

/*
 * Wakes the faults that wait for an invalidation to end. The word they sleep on
 * changes last: whoever read it before this has not gone to sleep, or is woken;
 * whoever reads it after this sees the count as it is now. Sequentially
 * consistent, both: pairs with await_invalidation(), where the waiter is announced
 * before the word is read.
 */
static inline void s2_wake_faults(struct s2_vm *vm)
{
	uint32_t wake = atomic_load_explicit(&vm->fault_wake, memory_order_relaxed);

	if (S2_MUTANT(WAKE_BEFORE_CHANGE))
		s2_futex_wake(&vm->fault_wake, INT_MAX);
	atomic_store_explicit(&vm->fault_wake, wake + 1, memory_order_seq_cst);
	if (!S2_MUTANT(WAKE_BEFORE_CHANGE) &&
	    atomic_load_explicit(&vm->fault_waiters, memory_order_seq_cst))
		s2_futex_wake(&vm->fault_wake, INT_MAX);
}

/* Caller holds mmu_lock for write. */
static inline void s2_mmu_invalidate_end(struct s2_vm *vm)
{
	uint64_t count = atomic_load_explicit(&vm->mmu_invalidate_in_progress, memory_order_relaxed);
	uint32_t seq = atomic_load_explicit(&vm->mmu_invalidate_seq, memory_order_relaxed);

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	S2_RULE(count > 0, "an invalidation ended that this VM did not see start");
	/*
	 * Release pairs with the acquire in try_fault(): who reads the new sequence
	 * finds the new page, since the old one went before. The sequence comes
	 * before the count, as in the kernel, for whoever looks without the lock.
	 */
	if (!S2_MUTANT(END_KEEPS_SEQUENCE) && !S2_MUTANT(SEQUENCE_AFTER_COUNT) &&
	    !S2_MUTANT(SEQUENCE_AFTER_UNLOCK))
		atomic_store_explicit(&vm->mmu_invalidate_seq, seq + 1, memory_order_release);
	s2_schedule_point(S2_STEP_END_SEQUENCE);
	atomic_store_explicit(&vm->mmu_invalidate_in_progress, count - 1, memory_order_release);
	s2_schedule_point(S2_STEP_END_DROPPED);
	if (S2_MUTANT(SEQUENCE_AFTER_COUNT))
		atomic_store_explicit(&vm->mmu_invalidate_seq, seq + 1, memory_order_release);
	s2_wake_faults(vm);
}

/*
 * A start() that failed takes its count back. Nothing was invalidated, so the
 * sequence stays. Caller holds mmu_lock for write.
 */
static inline void s2_mmu_invalidate_undo(struct s2_vm *vm)
{
	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	if (!S2_MUTANT(UNDO_KEEPS_COUNT))
		atomic_fetch_sub_explicit(&vm->mmu_invalidate_in_progress, 1, memory_order_relaxed);
	s2_wake_faults(vm);
}

/*
 * Is any of [@start, @end) being invalidated right now? Without mmu_lock the answer
 * is a hint. The VM's own counters answer first, with the range that spans all
 * in progress; between two of them lie pages that nobody invalidates, and a
 * thread that holds a pair open and touches such a page would wait for itself.
 * So a yes is checked against the table, where each is published before its
 * count goes up and until after it has gone down.
 */
static inline bool s2_mmu_invalidating(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	return atomic_load_explicit(&vm->mmu_invalidate_in_progress, memory_order_seq_cst) &&
	       end > atomic_load_explicit(&vm->mmu_invalidate_range_start, memory_order_relaxed) &&
	       start < atomic_load_explicit(&vm->mmu_invalidate_range_end, memory_order_relaxed) &&
	       s2_inflight_covers(&vm->mm->inflight, start, end);
}

/*
 * mmu_invalidate_retry_hva(): may what a fault looked up, having read @seq before,
 * be stale? Caller holds mmu_lock, shared at least.
 */
static inline bool s2_mmu_invalidate_retry(struct s2_vm *vm, uint32_t seq, uint64_t hva)
{
	S2_ASSERT_MMU_LOCK(&vm->mmu_lock);
	return (!S2_MUTANT(RETRY_IGNORES_COUNT) &&
		s2_mmu_invalidating(vm, hva, hva + S2_PAGE_SIZE)) ||
	       (!S2_MUTANT(RETRY_IGNORES_SEQUENCE) &&
		atomic_load_explicit(&vm->mmu_invalidate_seq, memory_order_relaxed) != seq);
}

#endif /* S2_NOTIFIER_INVALIDATE_H */
