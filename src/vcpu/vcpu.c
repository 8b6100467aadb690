/* SPDX-License-Identifier: MIT */
/* The life of a vCPU, and its entries and exits. */
#include "vcpu/vcpu.h"

#include "base/alloc.h"
#include "mm/mm.h"

#include <errno.h>
#include <stage2/vcpu.h>

int s2_vcpu_create(struct s2_vm *vm, struct s2_vcpu **vcpu)
{
	struct s2_full_vcpu *new;

	if (!vm || !vcpu)
		return -EINVAL;
	new = s2_zalloc(&vm->mm->allocator, sizeof(*new), 64);
	if (!new)
		return -ENOMEM;
	new->vm = vm;
	s2_guest_init(&new->guest);
	s2_vm_get(vm);
	s2_write_lock(&vm->mmu_lock);
	new->guest.next = vm->guests;
	vm->guests = &new->guest;
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
	vm->past_faults += vcpu->fault.faults;
	vm->past_retries += vcpu->fault.retries;
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
		.faults = full->fault.faults,
		.fault_retries = full->fault.retries,
		.tlb_flushes = full->guest.flushes,
	};
	return 0;
}

int s2_vm_get_stats(struct s2_vm *vm, struct s2_vm_stats *stats)
{
	if (!vm || !stats)
		return -EINVAL;
	s2_write_lock(&vm->mmu_lock);
	*stats = (struct s2_vm_stats){
		.faults = vm->past_faults,
		.fault_retries = vm->past_retries,
		.pages_mapped = atomic_load_explicit(&vm->pages_mapped, memory_order_relaxed),
		.huge_mapped = atomic_load_explicit(&vm->huge_mapped, memory_order_relaxed),
		.tables = atomic_load_explicit(&vm->nr_tables, memory_order_relaxed),
		.tlb_flushes = vm->tlb_flushes,
	};
	for (struct s2_guest *guest = vm->guests; guest; guest = guest->next) {
		stats->faults += ((struct s2_full_vcpu *)guest)->fault.faults;
		stats->fault_retries += ((struct s2_full_vcpu *)guest)->fault.retries;
	}
	s2_write_unlock(&vm->mmu_lock);
	return 0;
}
