/* SPDX-License-Identifier: MIT */
/*
 * The invalidation counters of a VM and the check faults make against them:
 * kvm_mmu_invalidate_begin(), _end() and mmu_invalidate_retry().
 */
#ifndef S2_NOTIFIER_INVALIDATE_H
#define S2_NOTIFIER_INVALIDATE_H

#include "base/futex.h"
#include "memslot/vm.h"

/* Caller holds mmu_lock for write. */
static inline void s2_mmu_invalidate_begin(struct s2_vm *vm, uint64_t start, uint64_t end)
{
	uint64_t count = atomic_load_explicit(&vm->mmu_invalidate_in_progress, memory_order_relaxed);

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	/*
	 * Several in progress are remembered as the one range that spans them: a
	 * fault between two of them retries for nothing, which costs and harms not.
	 */
	if (count) {
		uint64_t low = atomic_load_explicit(&vm->mmu_invalidate_range_start, memory_order_relaxed);
		uint64_t high = atomic_load_explicit(&vm->mmu_invalidate_range_end, memory_order_relaxed);

		start = start < low ? start : low;
		end = end > high ? end : high;
	}
	atomic_store_explicit(&vm->mmu_invalidate_range_start, start, memory_order_relaxed);
	atomic_store_explicit(&vm->mmu_invalidate_range_end, end, memory_order_relaxed);
	atomic_store_explicit(&vm->mmu_invalidate_in_progress, count + 1, memory_order_relaxed);
}

/* Caller holds mmu_lock for write. */
static inline void s2_mmu_invalidate_end(struct s2_vm *vm)
{
	uint64_t count = atomic_load_explicit(&vm->mmu_invalidate_in_progress, memory_order_relaxed);

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	S2_RULE(count > 0, "an invalidation ended that this VM did not see start");
	/*
	 * The sequence first: a fault that finds the count back at zero must find
	 * the sequence changed. Under mmu_lock any order will do; the look without
	 * the lock relies on this one, by the release of the second store.
	 */
	atomic_store_explicit(&vm->mmu_invalidate_seq,
			      atomic_load_explicit(&vm->mmu_invalidate_seq, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	/*
	 * Sequentially consistent, like the load that follows: pairs with
	 * s2_fault_await_invalidation(), where the waiter is announced before the
	 * count is looked at. One of the two sees the other.
	 */
	atomic_store_explicit(&vm->mmu_invalidate_in_progress, count - 1, memory_order_seq_cst);
	if (atomic_load_explicit(&vm->fault_waiters, memory_order_seq_cst))
		s2_futex_wake(&vm->mmu_invalidate_seq, INT_MAX);
}

/* A start() that failed takes its count back; nothing was invalidated, so the sequence stays. */
static inline void s2_mmu_invalidate_undo(struct s2_vm *vm)
{
	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	atomic_fetch_sub_explicit(&vm->mmu_invalidate_in_progress, 1, memory_order_relaxed);
	/* A fault may have gone to sleep on the count; the sequence is what it sleeps on. */
	atomic_fetch_add_explicit(&vm->mmu_invalidate_seq, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&vm->fault_waiters, memory_order_seq_cst))
		s2_futex_wake(&vm->mmu_invalidate_seq, INT_MAX);
}

/* Is @hva being invalidated right now? Without mmu_lock the answer is a hint. */
static inline bool s2_mmu_invalidating(struct s2_vm *vm, uint64_t hva)
{
	return atomic_load_explicit(&vm->mmu_invalidate_in_progress, memory_order_seq_cst) &&
	       hva >= atomic_load_explicit(&vm->mmu_invalidate_range_start, memory_order_relaxed) &&
	       hva < atomic_load_explicit(&vm->mmu_invalidate_range_end, memory_order_relaxed);
}

/*
 * mmu_invalidate_retry_hva(): may what a fault looked up, having read @seq before,
 * be stale? Caller holds mmu_lock, shared at least.
 */
static inline bool s2_mmu_invalidate_retry(struct s2_vm *vm, uint32_t seq, uint64_t hva)
{
	S2_ASSERT_MMU_LOCK(&vm->mmu_lock);
	return s2_mmu_invalidating(vm, hva) ||
	       atomic_load_explicit(&vm->mmu_invalidate_seq, memory_order_relaxed) != seq;
}

#endif /* S2_NOTIFIER_INVALIDATE_H */
