/* SPDX-License-Identifier: MIT */
/*
 * What Linux merged in the patch's place: mn_active_invalidate_count, raised by
 * start() and dropped by end() under a spinlock, and an updater that waits for
 * zero before it swaps. No caller's lock can be caught between, since start()
 * never waits for the updater; but nothing makes the count reach zero:
 *
 *	CPU 0			CPU 1			CPU 2
 *	-----			-----			-----
 *	start(): count 1
 *				swap: count is 1, sleep
 *							start(): count 2
 *	end(): count 1
 *	start(): count 2
 *							end(): count 1
 *				... for ever: the updater starves
 *
 * `stage2 torture --scenario starve` shows it.
 */
#include "base/futex.h"
#include "base/mutant.h"
#include "memslot/vm.h"
#include "mm/gate.h"

static bool count_must_lock(unsigned flags)
{
	(void)flags;
	return false;
}

static void count_vm_begin(struct s2_vm *vm, unsigned flags)
{
	(void)flags;
	s2_spin_lock(&vm->mn_invalidate_lock);
	vm->mn_active_invalidate_count++;
	s2_spin_unlock(&vm->mn_invalidate_lock);
}

static void count_vm_end(struct s2_vm *vm, unsigned flags)
{
	bool wake;

	(void)flags;
	s2_spin_lock(&vm->mn_invalidate_lock);
	S2_RULE(vm->mn_active_invalidate_count > 0, "an invalidation ended twice");
	wake = --vm->mn_active_invalidate_count == 0 &&
	       atomic_load_explicit(&vm->mn_memslots_update_rcuwait, memory_order_relaxed);
	/* Cleared under the lock that the updater set it under, so no wake-up is lost. */
	if (wake)
		atomic_store_explicit(&vm->mn_memslots_update_rcuwait, 0, memory_order_relaxed);
	s2_spin_unlock(&vm->mn_invalidate_lock);
	/* One waiter at most: it holds slots_lock. */
	if (wake)
		s2_futex_wake(&vm->mn_memslots_update_rcuwait, 1);
}

static void count_swap_begin(struct s2_vm *vm)
{
	s2_spin_lock(&vm->mn_invalidate_lock);
	while (vm->mn_active_invalidate_count && !S2_MUTANT(COUNT_NOT_WAITED_FOR)) {
		atomic_store_explicit(&vm->mn_memslots_update_rcuwait, 1, memory_order_relaxed);
		s2_spin_unlock(&vm->mn_invalidate_lock);
		s2_futex_wait(&vm->mn_memslots_update_rcuwait, 1);
		s2_spin_lock(&vm->mn_invalidate_lock);
	}
}

static void count_swap_end(struct s2_vm *vm)
{
	s2_spin_unlock(&vm->mn_invalidate_lock);
}

static void count_wait(struct s2_vm *vm, uint64_t hva_start, uint64_t hva_end)
{
	(void)vm;
	(void)hva_start;
	(void)hva_end;
}

const struct s2_gate_ops s2_gate_count = {
	.name = "count",
	.elides = true,
	.waits = S2_WAITS_FOR_ALL,
	.must_lock = count_must_lock,
	.vm_begin = count_vm_begin,
	.vm_end = count_vm_end,
	.swap_begin = count_swap_begin,
	.swap_end = count_swap_end,
	.wait = count_wait,
};
