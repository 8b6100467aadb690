/* SPDX-License-Identifier: MIT */
/*
 * The patch as it was posted: mmu_notifier_slots_lock, a fair reader-writer
 * semaphore, held for read from start() to end() by invalidations that may block,
 * and for write while memslots are swapped. So both ends of a pair see the same
 * memslots, and an invalidation that touches none needs no mmu_lock. Those that
 * may not block cannot take it; they take mmu_lock unconditionally, as before.
 *
 * And its deadlock, which is why Linux did not merge it as it was. M is any lock
 * of the caller's, say an allocator's:
 *
 *	CPU 0			CPU 1			CPU 2
 *	-----			-----			-----
 *	start()
 *	  down_read()
 *				set_memory_region()
 *				  down_write() waits
 *				  for CPU 0
 *							lock(M)
 *							start()
 *							  down_read() waits
 *							  behind CPU 1: fair
 *	lock(M) waits for CPU 2,
 *	end() never comes
 *
 * `stage2 torture --scenario nested-lock` shows it, and so does a pair inside a
 * pair with an update between the two starts.
 */
#include "base/mutant.h"
#include "memslot/vm.h"
#include "mm/gate.h"

static bool rwsem_must_lock(unsigned flags)
{
	return (flags & S2_NONBLOCK) && !S2_MUTANT(NONBLOCK_ELIDES);
}

static void rwsem_vm_begin(struct s2_vm *vm, unsigned flags)
{
	/* Non-owner: end() may come on another thread. */
	if (!(flags & S2_NONBLOCK) && !S2_MUTANT(RWSEM_NOT_HELD))
		s2_down_read_non_owner(&vm->mmu_notifier_slots_lock);
}

static void rwsem_vm_end(struct s2_vm *vm, unsigned flags)
{
	if (!(flags & S2_NONBLOCK) && !S2_MUTANT(RWSEM_NOT_HELD))
		s2_up_read_non_owner(&vm->mmu_notifier_slots_lock);
}

static void rwsem_swap_begin(struct s2_vm *vm)
{
	s2_down_write(&vm->mmu_notifier_slots_lock);
}

static void rwsem_swap_end(struct s2_vm *vm)
{
	s2_up_write(&vm->mmu_notifier_slots_lock);
}

static void rwsem_wait(struct s2_vm *vm, uint64_t hva_start, uint64_t hva_end)
{
	/* An invalidation that may not block needs no waiting for: it raised the count already. */
	(void)vm;
	(void)hva_start;
	(void)hva_end;
}

const struct s2_gate_ops s2_gate_rwsem = {
	.name = "rwsem",
	.elides = true,
	.waits = S2_WAITS_FOR_ALL,
	.must_lock = rwsem_must_lock,
	.vm_begin = rwsem_vm_begin,
	.vm_end = rwsem_vm_end,
	.swap_begin = rwsem_swap_begin,
	.swap_end = rwsem_swap_end,
	.wait = rwsem_wait,
};
