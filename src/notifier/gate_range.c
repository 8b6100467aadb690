/* SPDX-License-Identifier: MIT */
/*
 * Ours. start() publishes its range before it looks at the hva index, which holds
 * the memslots of all VMs; a memslot is published in the hva index before it looks
 * for ranges, and found by vCPUs only after those that overlap it have ended. So
 * either the invalidation sees the memslot, or the memslot waits for it; the two
 * barriers are drawn in mm/inflight.h. What start() saw stays pinned by the
 * published entry, and end() acts on that and nothing else.
 *
 * No caller's lock is caught between: start() never waits for an updater. No
 * updater starves: it waits for those in flight at one moment, and only for those
 * that overlap its memslot. The invalidations have nothing to do per VM.
 */
#include "memslot/vm.h"
#include "mm/gate.h"
#include "mm/mm.h"

static bool range_must_lock(unsigned flags)
{
	(void)flags;
	return false;
}

static void range_swap(struct s2_vm *vm)
{
	(void)vm;
}

static void range_wait(struct s2_vm *vm, uint64_t hva_start, uint64_t hva_end)
{
	s2_inflight_wait(&vm->mm->inflight, hva_start, hva_end);
}

const struct s2_gate_ops s2_gate_range = {
	.name = "range",
	.shared_index = true,
	.elides = true,
	.waits = S2_WAITS_FOR_OVERLAPPING,
	.must_lock = range_must_lock,
	.swap_begin = range_swap,
	.swap_end = range_swap,
	.wait = range_wait,
};
