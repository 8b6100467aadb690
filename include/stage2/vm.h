/* SPDX-License-Identifier: MIT */
/*
 * s2_vm: a secondary MMU. Memslots and the dirty log take KVM's own structures
 * and give KVM's own answers; Documentation/virt/kvm/api.rst describes both.
 */
#ifndef STAGE2_VM_H
#define STAGE2_VM_H

#include <linux/kvm.h>
#include <stage2/mm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct s2_vm;

/* As many as KVM_CAP_NR_MEMSLOTS tells on x86. */
#define S2_USER_MEM_SLOTS 32764

/* In s2_vm_memslots_generation()'s answer: an update is being carried out. */
#define S2_MEMSLOT_GEN_UPDATE_IN_PROGRESS (UINT64_C(1) << 63)

enum s2_mmu_lock_kind {
	S2_MMU_LOCK_RWLOCK, /* the default: faults take it shared, as KVM's TDP MMU does */
	S2_MMU_LOCK_MUTEX,
};

/*
 * Zero is the default everywhere.
 *
 * @mmu_lock:             see above.
 * @manual_dirty_protect: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: get only reads the
 *                        log, clear re-protects what it is told to.
 * @dirty_initially_set:  KVM_DIRTY_LOG_INITIALLY_SET: the log starts with every
 *                        page dirty. Only with @manual_dirty_protect.
 */
struct s2_vm_config {
	enum s2_mmu_lock_kind mmu_lock;
	bool manual_dirty_protect;
	bool dirty_initially_set;
	uint64_t reserved[8]; /* must be zero */
};

/*
 * Creates a VM on @mm, which it keeps alive. @config may be NULL. May sleep:
 * under every gate but S2_GATE_RANGE it waits until the invalidations that are
 * in flight have ended, as mmu_notifier_register() does.
 * -EINVAL: a NULL pointer or a config value that is not allowed; -ENOMEM;
 * -EDEADLK: the calling thread has an invalidation in flight that the call would
 * have to wait for.
 * Kernel: KVM_CREATE_VM.
 */
S2_API int s2_vm_create(struct s2_mm *mm, const struct s2_vm_config *config, struct s2_vm **vm);

/*
 * Drops the caller's reference; NULL is allowed. The VM is destroyed with its
 * last vCPU, and may be destroyed between an invalidation's start and its end.
 * May sleep. Kernel: close() of the VM's descriptor, kvm_destroy_vm().
 */
S2_API void s2_vm_put(struct s2_vm *vm);

/*
 * Creates, deletes, moves or re-flags a memslot, with the arguments, the answers
 * and the order of checks of KVM_SET_USER_MEMORY_REGION. The host range need not
 * be mapped, and may overlap that of other memslots; the guest range may not.
 *
 * May sleep. Creating or moving one waits until those invalidations have ended
 * that were in flight when it was called and overlap its host range (range
 * gate), that were in flight (rwsem), or until none is in flight (count).
 * Deleting and re-flagging wait for nobody under the range gate.
 *
 * Two threads that each hold an invalidation open and each add a memslot over the
 * other's range, of any VMs of one s2_mm, wait for each other for ever: end first,
 * then update.
 *
 * There is one address space, as on a KVM without SMM: the upper 16 bits of the
 * slot number must be 0.
 *
 * -EINVAL, -EEXIST as KVM; -ENOMEM; -EDEADLK: the calling thread itself
 * started an invalidation, still in flight, that the call would have to wait for,
 * or that another update of this VM is waiting for. -EINVAL also for a NULL pointer.
 * Kernel: KVM_SET_USER_MEMORY_REGION, kvm_set_memory_region().
 */
S2_API int s2_vm_set_memory_region(struct s2_vm *vm, const struct kvm_userspace_memory_region *mem);

/*
 * The generation of the memslots: it changes with every update, and has
 * S2_MEMSLOT_GEN_UPDATE_IN_PROGRESS set while one is carried out. 0 for a NULL
 * @vm. Does not sleep.
 * Kernel: kvm_memslots()->generation.
 */
S2_API uint64_t s2_vm_memslots_generation(struct s2_vm *vm);

/*
 * The host virtual address that the memslots give @gfn at the
 * moment of the call. -ENOENT: no memslot is there; -EINVAL: NULL. Does not
 * sleep. Kernel: gfn_to_hva().
 */
S2_API int s2_vm_gfn_to_hva(struct s2_vm *vm, uint64_t gfn, uint64_t *hva);

/*
 * The dirty log of a memslot with KVM_MEM_LOG_DIRTY_PAGES: one bit per page,
 * rounded up to 64. get copies it to @log->dirty_bitmap, clears it and
 * write-protects the pages (without @manual_dirty_protect), so that every write
 * that follows is in the next log; with it, get only copies, and clear does the
 * rest for the pages whose bits are set in @log. May sleep.
 * -EINVAL: a NULL pointer, or what KVM refuses; -ENOENT: no such memslot, or it
 * has no log; -ENOMEM; -EDEADLK: an update of this VM is waiting for an invalidation
 * that the calling thread has in flight.
 * Kernel: KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG.
 */
S2_API int s2_vm_get_dirty_log(struct s2_vm *vm, const struct kvm_dirty_log *log);
S2_API int s2_vm_clear_dirty_log(struct s2_vm *vm, const struct kvm_clear_dirty_log *log);

/*
 * @elided is 0 under S2_GATE_ALWAYS; under the others a start() that is on its way is among them
 * until it takes the lock. Under S2_GATE_RANGE one whose range holds memslots of other VMs between
 * two of this VM's takes its mmu_lock more than once, and counts as so many.
 */
struct s2_vm_stats {
	uint64_t faults;       /* faults taken by vCPUs, live and destroyed */
	uint64_t fault_retries; /* times mmu_invalidate_retry sent one back */
	uint64_t pages_mapped; /* 4 KiB leaves in the stage-2 table now */
	uint64_t huge_mapped;  /* 2 MiB leaves now */
	uint64_t tables;       /* table pages allocated now */
	uint64_t tlb_flushes;  /* remote flushes that had a vCPU to wait for or not */
	uint64_t invalidations; /* pairs started on its s2_mm since it was created */
	uint64_t elided;       /* ... whose start() did not take this VM's mmu_lock */
};

/* -EINVAL: a NULL argument. May sleep for mmu_lock. Kernel: KVM_GET_STATS_FD. */
S2_API int s2_vm_get_stats(struct s2_vm *vm, struct s2_vm_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_VM_H */
