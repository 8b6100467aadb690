/* SPDX-License-Identifier: MIT */
/*
 * s2_vcpu: a thread that uses guest memory through a software TLB.
 *
 * A vCPU is used by one thread at a time. Between s2_vcpu_enter() and
 * s2_vcpu_exit() it is in guest mode: it may load and store. An invalidation of
 * its VM's memory returns only when the vCPU can no longer use what its TLB had of
 * it. There are two ways to come to that, chosen for each vCPU when it is created:
 *
 * S2_SHOOTDOWN_SAFEPOINT: the vCPU must pass s2_vcpu_poll() every now and then
 * (every few thousand accesses), since an invalidation waits until it has, or has
 * left guest mode. Do not block in guest mode; a load that misses leaves it while
 * it faults, and so do s2_invalidate_range_start() and end().
 *
 * S2_SHOOTDOWN_RSEQ: an invalidation interrupts the vCPU and has the access it is
 * about to make begun anew (rseq(2) and membarrier(2)). It waits for nobody, polling
 * is not needed, and the thread may block between two accesses. A hit costs a call
 * and three times as much; a related invalidation costs a system call that
 * interrupts every core this process runs on.
 */
#ifndef STAGE2_VCPU_H
#define STAGE2_VCPU_H

#include <stage2/vcpu-inline.h>
#include <stage2/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

enum s2_shootdown {
	S2_SHOOTDOWN_SAFEPOINT, /* the default */
	S2_SHOOTDOWN_RSEQ,
};

/* Zero is the default everywhere. */
struct s2_vcpu_config {
	enum s2_shootdown shootdown;
	uint64_t reserved[4]; /* must be zero */
};

/*
 * Creates a vCPU, which keeps @vm alive. @config may be NULL. Where the kernel, the C
 * library or the processor cannot do S2_SHOOTDOWN_RSEQ (x86-64 Linux 5.10 and glibc
 * 2.35 can), the vCPU is one with safepoints: s2_vcpu_shootdown() tells. A program
 * that does not ask polls as if it were.
 * -EINVAL: a NULL pointer or a config value that is not allowed; -ENOMEM. May sleep
 * for mmu_lock. Kernel: KVM_CREATE_VCPU.
 */
S2_API int s2_vcpu_create(struct s2_vm *vm, const struct s2_vcpu_config *config,
			  struct s2_vcpu **vcpu);

/*
 * Which way of shootdown the vCPU has; S2_SHOOTDOWN_SAFEPOINT for NULL. A thread that
 * is not registered for rseq, against glibc's habit, has safepoints nevertheless
 * from its s2_vcpu_enter() to its s2_vcpu_exit(). Does not sleep.
 */
S2_API enum s2_shootdown s2_vcpu_shootdown(const struct s2_vcpu *vcpu);

/*
 * Destroys a vCPU that is not in guest mode; NULL is allowed. -EBUSY: it is in
 * guest mode, and nothing happened. May sleep for mmu_lock.
 * Kernel: kvm_vcpu_destroy().
 */
S2_API int s2_vcpu_destroy(struct s2_vcpu *vcpu);

/*
 * Enters guest mode on the calling thread. -EBUSY: the vCPU is in guest mode
 * already; -EINVAL: NULL. Does not sleep. Kernel: the setting of vcpu->mode and the check of
 * vcpu->requests in vcpu_enter_guest().
 */
S2_API int s2_vcpu_enter(struct s2_vcpu *vcpu);

/*
 * Leaves guest mode. -EPERM: the vCPU is not in guest mode, or another thread
 * entered it; -EINVAL: NULL. Does not sleep.
 * Kernel: vcpu->mode back to OUTSIDE_GUEST_MODE.
 */
S2_API int s2_vcpu_exit(struct s2_vcpu *vcpu);

/*
 * Safepoint: acts on requests, which drops every translation in the TLB. Two
 * loads and a compare when there are none. NULL is ignored. Does not sleep.
 * Kernel: kvm_check_request(KVM_REQ_TLB_FLUSH).
 */
static inline void s2_vcpu_poll(struct s2_vcpu *vcpu);

/*
 * Loads and stores of 1, 2, 4 and 8 bytes at guest physical address @gpa, in
 * guest mode only. An aligned access is single-copy atomic and relaxed, as plain
 * accesses of a guest are on a weakly ordered machine; a misaligned one is made
 * bytewise, and may cross pages. On a TLB hit: a compare and a load or store. On
 * a miss the vCPU leaves guest mode to fault, may sleep, and comes back.
 *
 * -ENXIO:  no memslot holds @gpa: MMIO. Also for every @gpa from 2^48 on, which a
 *          stage-2 table of four levels does not reach, whatever memslot is there.
 * -EROFS:  a store to a memslot with KVM_MEM_READONLY: MMIO.
 * -EPERM:  the vCPU is not in guest mode.
 * -EINVAL: a NULL pointer.
 * -EFAULT, or what the provider says: the host has no such page.
 * -EDEADLK: the page is being invalidated by the calling thread itself.
 * -ENOMEM: no memory for the stage-2 table.
 * Kernel: the guest's own instruction, and RET_PF_EMULATE for the first two.
 */
static inline int s2_vcpu_load8(struct s2_vcpu *vcpu, uint64_t gpa, uint8_t *value);
static inline int s2_vcpu_load16(struct s2_vcpu *vcpu, uint64_t gpa, uint16_t *value);
static inline int s2_vcpu_load32(struct s2_vcpu *vcpu, uint64_t gpa, uint32_t *value);
static inline int s2_vcpu_load64(struct s2_vcpu *vcpu, uint64_t gpa, uint64_t *value);
static inline int s2_vcpu_store8(struct s2_vcpu *vcpu, uint64_t gpa, uint8_t value);
static inline int s2_vcpu_store16(struct s2_vcpu *vcpu, uint64_t gpa, uint16_t value);
static inline int s2_vcpu_store32(struct s2_vcpu *vcpu, uint64_t gpa, uint32_t value);
static inline int s2_vcpu_store64(struct s2_vcpu *vcpu, uint64_t gpa, uint64_t value);

/* Do these answers mean that no memory is there, and a device may be? */
static inline bool s2_is_mmio(int error)
{
	return error == -ENXIO || error == -EROFS;
}

/*
 * Copies @len bytes from or to guest physical memory at @gpa, across pages and
 * memslots. In guest mode or out of it, where the call enters and leaves by
 * itself; polls between pages, so that a long copy holds up nobody. On error the
 * pages before the one that failed have been copied, as kvm_read_guest() leaves
 * them. Errors as for the loads and stores, and -EINVAL for a NULL pointer or a
 * range that wraps. May sleep. Kernel: kvm_vcpu_read_guest(), kvm_vcpu_write_guest().
 */
S2_API int s2_vcpu_read(struct s2_vcpu *vcpu, uint64_t gpa, void *data, size_t len);
S2_API int s2_vcpu_write(struct s2_vcpu *vcpu, uint64_t gpa, const void *data, size_t len);

struct s2_vcpu_stats {
	uint64_t tlb_misses;
	uint64_t faults;
	uint64_t fault_retries;
	uint64_t tlb_flushes; /* flush requests acted on */
};

/*
 * To be called by the vCPU's own thread, or when it has stopped. -EINVAL: NULL.
 * Does not sleep. Kernel: the VM-wide and per-vCPU counters of KVM_GET_STATS_FD.
 */
S2_API int s2_vcpu_get_stats(struct s2_vcpu *vcpu, struct s2_vcpu_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_VCPU_H */
