/* SPDX-License-Identifier: MIT */
/*
 * The third party where it is there: the VMs of a sequence as VMs of /dev/kvm.
 * They have no vCPU, so that their dirty logs hold what they began with only;
 * errnos and sizes must be the same all the same.
 */
#ifndef TESTS_DIFFERENTIAL_KVM_H
#define TESTS_DIFFERENTIAL_KVM_H

#include "differential/op.h"

#include <linux/kvm.h>

struct kvm_twin {
	int kvm;
	int vms[OP_VMS];
};

/* False if this machine has no KVM to compare with; then @why says so. */
bool kvm_twin_open(struct kvm_twin *twin, const struct op *config, const char **why);
void kvm_twin_close(struct kvm_twin *twin);

int kvm_twin_set_memory_region(struct kvm_twin *twin, unsigned vm,
			       const struct kvm_userspace_memory_region *mem);
int kvm_twin_get_dirty_log(struct kvm_twin *twin, unsigned vm, const struct kvm_dirty_log *log);
int kvm_twin_clear_dirty_log(struct kvm_twin *twin, unsigned vm,
			     const struct kvm_clear_dirty_log *log);

#endif /* TESTS_DIFFERENTIAL_KVM_H */
