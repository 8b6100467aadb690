/* SPDX-License-Identifier: MIT */
/* The calls of kvm.h. */
#include "differential/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stage2/vm.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool make_vm(struct kvm_twin *twin, unsigned vm, const struct op *config)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };

	if (config->dirty)
		cap.args[0] |= KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
	if (config->dirty == 2)
		cap.args[0] |= KVM_DIRTY_LOG_INITIALLY_SET;
	twin->vms[vm] = ioctl(twin->kvm, KVM_CREATE_VM, 0);
	return twin->vms[vm] >= 0 && (!cap.args[0] || !ioctl(twin->vms[vm], KVM_ENABLE_CAP, &cap));
}

bool kvm_twin_open(struct kvm_twin *twin, const struct op *config, const char **why)
{
	*twin = (struct kvm_twin){ .vms = { -1, -1 } };
	twin->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	*why = "/dev/kvm cannot be opened";
	if (twin->kvm < 0)
		return false;
	*why = "this KVM has another number of memslots";
	if (ioctl(twin->kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) != S2_USER_MEM_SLOTS)
		goto no;
	*why = "this KVM refuses a VM, or KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2";
	for (unsigned vm = 0; vm < OP_VMS; vm++)
		if (!make_vm(twin, vm, config))
			goto no;
	return true;
no:
	kvm_twin_close(twin);
	return false;
}

void kvm_twin_close(struct kvm_twin *twin)
{
	for (unsigned vm = 0; vm < OP_VMS; vm++)
		if (twin->vms[vm] >= 0)
			close(twin->vms[vm]);
	if (twin->kvm >= 0)
		close(twin->kvm);
	*twin = (struct kvm_twin){ -1, { -1, -1 } };
}

static int answer(int ret)
{
	return ret ? -errno : 0;
}

int kvm_twin_set_memory_region(struct kvm_twin *twin, unsigned vm,
			       const struct kvm_userspace_memory_region *mem)
{
	return answer(ioctl(twin->vms[vm], KVM_SET_USER_MEMORY_REGION, mem));
}

int kvm_twin_get_dirty_log(struct kvm_twin *twin, unsigned vm, const struct kvm_dirty_log *log)
{
	return answer(ioctl(twin->vms[vm], KVM_GET_DIRTY_LOG, log));
}

int kvm_twin_clear_dirty_log(struct kvm_twin *twin, unsigned vm,
			     const struct kvm_clear_dirty_log *log)
{
	return answer(ioctl(twin->vms[vm], KVM_CLEAR_DIRTY_LOG, log));
}
