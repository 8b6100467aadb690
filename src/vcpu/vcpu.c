/* SPDX-License-Identifier: MIT */
/* The life of a vCPU, and its entries and exits. */
#include "vcpu/vcpu.h"

#include "base/alloc.h"
#include "base/reserved.h"
#include "base/rseq.h"
#include "mm/mm.h"
#include "mmu/window.h"

#include <errno.h>
#include <stage2/vcpu.h>

static bool config_allowed(const struct s2_vcpu_config *config)
{
	return (unsigned)config->shootdown <= S2_SHOOTDOWN_RSEQ && S2_RESERVED_UNUSED(config);
}

int s2_vcpu_create(struct s2_vm *vm, const struct s2_vcpu_config *config, struct s2_vcpu **vcpu)
{
	static const struct s2_vcpu_config defaults;
	struct s2_full_vcpu *new;

	config = config ? config : &defaults;
	if (!vm || !vcpu || !config_allowed(config))
		return -EINVAL;
	new = s2_zalloc(&vm->mm->allocator, sizeof(*new), 64);
	if (!new)
		return -ENOMEM;
	new->vm = vm;
	s2_guest_init(&new->guest);
	new->guest.rseq = config->shootdown == S2_SHOOTDOWN_RSEQ && s2_rseq_available();
	s2_vm_get(vm);
	s2_write_lock(&vm->mmu_lock);
	new->guest.next = vm->guests;
	vm->guests = &new->guest;
	s2_mmu_lock_add_reader(&vm->mmu_lock, &new->fault.reader);
	s2_write_unlock(&vm->mmu_lock);
	*vcpu = &new->guest.vcpu;
	return 0;
}

/* Also folds the vCPU's counts into the VM's. */
static void unlink_guest(struct s2_full_vcpu *vcpu)
{
	struct s2_vm *vm = vcpu->vm;
	struct s2_guest **link = &vm->guests;

	s2_write_lock(&vm->mmu_lock);
	while (*link != &vcpu->guest)
		link = &(*link)->next;
	*link = vcpu->guest.next;
	s2_mmu_lock_remove_reader(&vm->mmu_lock, &vcpu->fault.reader);
	s2_fault_counts_add(&vm->past, &vcpu->fault.counts);
	s2_write_unlock(&vm->mmu_lock);
}

int s2_vcpu_destroy(struct s2_vcpu *vcpu)
{
	struct s2_full_vcpu *full = s2_full(vcpu);
	struct s2_allocator a;
	struct s2_vm *vm;

	if (!vcpu)
		return 0;
	if (full->guest.thread)
		return -EBUSY;
	vm = full->vm;
	a = vm->mm->allocator;
	unlink_guest(full);
	s2_fault_state_free(&full->fault, &a);
	s2_free(&a, full);
	s2_vm_drop(vm);
	return 0;
}

enum s2_shootdown s2_vcpu_shootdown(const struct s2_vcpu *vcpu)
{
	const struct s2_guest *guest = (const struct s2_guest *)vcpu;

	return guest && guest->rseq ? S2_SHOOTDOWN_RSEQ : S2_SHOOTDOWN_SAFEPOINT;
}

int s2_vcpu_enter(struct s2_vcpu *vcpu)
{
	if (!vcpu)
		return -EINVAL;
	if (s2_full(vcpu)->guest.thread)
		return -EBUSY;
	s2_guest_enter(&s2_full(vcpu)->guest);
	return 0;
}

int s2_vcpu_exit(struct s2_vcpu *vcpu)
{
	if (!vcpu)
		return -EINVAL;
	if (!s2_vcpu_in_guest(s2_full(vcpu)))
		return -EPERM;
	s2_guest_exit(&s2_full(vcpu)->guest);
	return 0;
}

int s2_vcpu_get_stats(struct s2_vcpu *vcpu, struct s2_vcpu_stats *stats)
{
	struct s2_full_vcpu *full = s2_full(vcpu);

	if (!vcpu || !stats)
		return -EINVAL;
	*stats = (struct s2_vcpu_stats){
		.tlb_misses = full->tlb_misses,
		.faults = atomic_load_explicit(&full->fault.counts.faults, memory_order_relaxed),
		.fault_retries = atomic_load_explicit(&full->fault.counts.retries, memory_order_relaxed),
		.tlb_flushes = full->guest.flushes,
	};
	return 0;
}

/*
 * Nothing is counted on the elided path: what did not take the lock is what is left of all. While
 * they go on, the one number may be ahead of the other.
 */
static void count_invalidations(struct s2_vm *vm, struct s2_vm_stats *stats)
{
	struct s2_mm_stats mm;

	stats->invalidations = vm->invalidations;
	s2_mm_get_stats(vm->mm, &mm);
	if (vm->mm->gate->elides && mm.invalidations > vm->invalidations_before + vm->invalidations)
		stats->invalidations = mm.invalidations - vm->invalidations_before;
	stats->elided = stats->invalidations - vm->invalidations;
}

int s2_vm_get_stats(struct s2_vm *vm, struct s2_vm_stats *stats)
{
	struct s2_fault_counts sum = { 0 };

	if (!vm || !stats)
		return -EINVAL;
	s2_write_lock(&vm->mmu_lock);
	s2_fault_counts_add(&sum, &vm->past);
	for (struct s2_guest *guest = vm->guests; guest; guest = guest->next)
		s2_fault_counts_add(&sum, &((struct s2_full_vcpu *)guest)->fault.counts);
	for (struct s2_window *window = vm->windows; window; window = window->next)
		s2_fault_counts_add(&sum, &window->counts);
	*stats = (struct s2_vm_stats){
		.faults = sum.faults,
		.fault_retries = sum.retries,
		.pages_mapped = sum.leaves_made[0] - vm->leaves_gone[0],
		.huge_mapped = sum.leaves_made[1] - vm->leaves_gone[1],
		.tables = atomic_load_explicit(&vm->nr_tables, memory_order_relaxed),
		.tlb_flushes = vm->tlb_flushes,
	};
	count_invalidations(vm, stats);
	s2_write_unlock(&vm->mmu_lock);
	return 0;
}
