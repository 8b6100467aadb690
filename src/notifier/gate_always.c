/* SPDX-License-Identifier: MIT */
/*
 * Before the patch: every invalidation takes mmu_lock of every VM, at start and
 * at end, and raises mmu_invalidate_in_progress there, whether or not it touches
 * guest memory. Nothing has to wait for anything: a memslot that appears in
 * between finds the count raised already. Correct, and slow in proportion to the
 * number of VMs.
 */
#include "base/mutant.h"
#include "memslot/vm.h"
#include "mm/gate.h"

static bool always_must_lock(unsigned flags)
{
	(void)flags;
	return !S2_MUTANT(ALWAYS_ELIDES);
}

static void always_vm_begin(struct s2_vm *vm, unsigned flags)
{
	(void)vm;
	(void)flags;
}

static void always_vm_end(struct s2_vm *vm, unsigned flags)
{
	(void)vm;
	(void)flags;
}

static void always_swap(struct s2_vm *vm)
{
	(void)vm;
}

static void always_wait(struct s2_vm *vm, uint64_t hva_start, uint64_t hva_end)
{
	(void)vm;
	(void)hva_start;
	(void)hva_end;
}

const struct s2_gate_ops s2_gate_always = {
	.name = "always",
	.waits = S2_WAITS_FOR_NOBODY,
	.must_lock = always_must_lock,
	.vm_begin = always_vm_begin,
	.vm_end = always_vm_end,
	.swap_begin = always_swap,
	.swap_end = always_swap,
	.wait = always_wait,
};
