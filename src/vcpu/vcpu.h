/* SPDX-License-Identifier: MIT */
/* The whole of a vCPU: what the inline functions see, its guest mode and TLB, its faults. */
#ifndef S2_VCPU_VCPU_H
#define S2_VCPU_VCPU_H

#include "base/arch.h"
#include "base/guest_mode.h"
#include "mmu/fault.h"

struct s2_full_vcpu {
	struct s2_guest guest; /* first: a struct s2_vcpu is the beginning of this */
	struct s2_vm *vm;
	struct s2_fault_state fault;
	uint64_t tlb_misses;
};

static inline struct s2_full_vcpu *s2_full(struct s2_vcpu *vcpu)
{
	return (struct s2_full_vcpu *)vcpu;
}

/* Is the vCPU in guest mode on the calling thread? */
static inline bool s2_vcpu_in_guest(const struct s2_full_vcpu *vcpu)
{
	return vcpu->guest.thread == s2_thread_self();
}

#endif /* S2_VCPU_VCPU_H */
