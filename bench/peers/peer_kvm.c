/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own KVM, through /dev/kvm: what stage2 does in user space, and on which the numbers
 * of its VMs, memslots and pages are modelled here.
 */
#include "bench.h"
#include "kvm_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int kvm_call(int fd, unsigned long request, const void *argument)
{
	int ret = ioctl(fd, request, argument);

	return ret < 0 ? -errno : ret;
}

int kvm_open(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		return -errno;
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		close(kvm);
		return -ENOTSUP;
	}
	return kvm;
}

int kvm_set_region(void *vm, const struct kvm_userspace_memory_region *region)
{
	return kvm_call(*(int *)vm, KVM_SET_USER_MEMORY_REGION, region);
}

/* Is there a KVM that gives us a VM? */
static int begin(void)
{
	int kvm = kvm_open(), vm = -1;

	if (kvm < 0) {
		fprintf(stderr, "peer_kvm: skipped: /dev/kvm cannot be opened: %s\n",
			strerror(-kvm));
		return BENCH_SKIPPED;
	}
	vm = kvm_call(kvm, KVM_CREATE_VM, NULL);
	close(kvm);
	if (vm < 0) {
		fprintf(stderr, "peer_kvm: skipped: /dev/kvm creates no VM: %s\n", strerror(-vm));
		return BENCH_SKIPPED;
	}
	close(vm);
	return 0;
}

static const struct bench *const benches[] = {
	&kvm_bench_gate,
	&kvm_bench_slots,
	&kvm_bench_dirty,
	NULL,
};

static const char about[] =
	"Measures the kernel's own KVM, beside which stage2 bench can be read:\n"
	"\n"
	"  gate    what VMs add to a madvise(MADV_DONTNEED) that is no business of theirs\n"
	"  slots   memslot updates, by number of memslots\n"
	"  dirty   getting and clearing the dirty log of 1 GiB\n"
	"  all     all of these (the default), in about a minute\v"
	"gate: each thread has a mapping of its own, of which no page was ever touched: the call "
	"has nothing to do but to tell the VMs of the process. These have one memslot each, "
	"elsewhere, and no vCPU. Their number changes between the slices of one round, so that "
	"each is held against the call without VMs (vms 0) of the same rounds; ns_per_vm, in "
	"--json, is what each VM adds to it. On several threads the calls of 'kvm' also interrupt "
	"each other's CPUs to flush TLBs, with or without VMs; 'kvm_batch', process_madvise() of "
	"64 ranges, of which it shows the ns for one, does so once for all of them.\n"
	"\n"
	"dirty: 'get' is KVM_GET_DIRTY_LOG of a VM that has it protect the pages again, "
	"'get (manual)' of one that leaves this to KVM_CLEAR_DIRTY_LOG, and 'clear (manual)' is "
	"that call.\n"
	"\n"
	"Example: on one thread and on two\n"
	"  peer_kvm gate --threads 1,2\n";

const struct bench_suite bench_suite = {
	.program = "peer_kvm",
	.about = about,
	.begin = begin,
	.benches = benches,
};
