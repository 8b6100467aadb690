/* SPDX-License-Identifier: MIT */
/*
 * struct s2_vm, the twin of struct kvm: memslots and their indexes, the
 * invalidation counters, mmu_lock and what it protects. The layers above the
 * memslots reach back up through @ops, as kvm_main.c reaches its architecture.
 */
#ifndef S2_MEMSLOT_VM_H
#define S2_MEMSLOT_VM_H

#include "base/counter.h"
#include "base/itree.h"
#include "base/lock.h"
#include "memslot/memslot.h"
#include "memslot/mmu_lock.h"

#include <stage2/vm.h>
#include <stdatomic.h>

struct s2_guest;
struct s2_mm;
struct s2_table;
struct s2_window;

#define S2_SLOT_CHUNK 512
#define S2_SLOT_CHUNKS (32768 / S2_SLOT_CHUNK)

/* A bit for each page from the address @start on: test_young_pages' answer. */
struct s2_young_bits {
	uint64_t start;
	uint64_t *words;
};

/* union kvm_mmu_notifier_arg: what one kind of call brings along for its handler. */
union s2_notifier_arg {
	const struct s2_page *page;        /* change_pte's */
	const struct s2_young_bits *young; /* test_young_pages' */
};

/* struct kvm_gfn_range: the part of one memslot that a notifier call is about. */
struct s2_gfn_range {
	struct s2_memslot *slot;
	uint64_t start; /* gfns, half-open */
	uint64_t end;
	union s2_notifier_arg arg;
};

/*
 * What the MMU above does for the notifier and the memslots below: kvm_arch_*
 * and kvm_unmap_gfn_range() and its like. All are called with mmu_lock held for
 * write, and return whether a flush is due.
 */
struct s2_mmu_ops {
	bool (*unmap_gfn_range)(struct s2_vm *vm, const struct s2_gfn_range *range);
	bool (*set_spte_gfn)(struct s2_vm *vm, const struct s2_gfn_range *range);
	bool (*age_gfn)(struct s2_vm *vm, const struct s2_gfn_range *range);
	/* Sets the bits of @range->arg.young whose pages were accessed, and clears none. */
	bool (*test_age_gfn)(struct s2_vm *vm, const struct s2_gfn_range *range);
	bool (*write_protect)(struct s2_vm *vm, const struct s2_gfn_range *range);
	/* Zaps, flushes and frees the tables that are empty then. Sleeps. */
	void (*zap_memslot)(struct s2_vm *vm, const struct s2_gfn_range *range);
	/*
	 * Returns when no vCPU uses a translation that was zapped before the call;
	 * false if it would have to sleep and must not.
	 */
	bool (*flush_remote_tlbs)(struct s2_vm *vm, bool may_block);
	/* Frees the stage-2 table of a VM that nobody uses any more. */
	void (*destroy)(struct s2_vm *vm);
};

/*
 * What a vCPU's faults have done. Written by the vCPU's thread alone, one store
 * each; read by whoever asks.
 */
struct s2_fault_counts {
	_Atomic uint64_t faults;
	_Atomic uint64_t retries;
	_Atomic uint64_t leaves_made[2]; /* of 4 KiB, of 2 MiB */
};

static inline void s2_fault_counts_add(struct s2_fault_counts *sum, struct s2_fault_counts *counts)
{
	s2_count(&sum->faults, atomic_load_explicit(&counts->faults, memory_order_relaxed));
	s2_count(&sum->retries, atomic_load_explicit(&counts->retries, memory_order_relaxed));
	for (unsigned i = 0; i < 2; i++)
		s2_count(&sum->leaves_made[i],
			 atomic_load_explicit(&counts->leaves_made[i], memory_order_relaxed));
}

/*
 * @slots_lock protects the memslots' changing: @slots, @gfn_root, @hva_root,
 * @nr_memslot_pages, @generation.
 * @mmu_lock protects what is below @mmu_root, @guests, @windows, @tlbs_dirty, the statistics,
 * and the counters named mmu_invalidate_*, which are atomic because faults also look at them
 * before they take the lock.
 */
struct s2_vm {
	/* Read by every fault and every TLB miss, written by nobody once made. */
	struct s2_mm *mm;
	const struct s2_mmu_ops *ops;
	struct s2_table *mmu_root;
	_Atomic(struct s2_itree_node *) gfn_root; /* but this, by memslot updates */

	struct s2_mmu_lock mmu_lock __attribute__((aligned(64)));

	/* Read by every fault, written by related invalidations. */
	_Atomic uint64_t mmu_invalidate_in_progress __attribute__((aligned(64)));
	_Atomic uint64_t mmu_invalidate_range_start;
	_Atomic uint64_t mmu_invalidate_range_end;
	_Atomic uint32_t mmu_invalidate_seq;
	_Atomic uint32_t fault_wake; /* changes when an invalidation ends; faults sleep on it */
	_Atomic uint32_t fault_waiters;
	bool tlbs_dirty; /* SPTEs were zapped whose flush has yet to be waited for */
	struct s2_guest *guests;
	struct s2_window *windows;
	uint64_t invalidations; /* whose start() took mmu_lock: here, where it writes anyway */

	/* Statistics. Leaves that came are counted by vCPU, those that went here. */
	uint64_t leaves_gone[2] __attribute__((aligned(64)));
	_Atomic uint64_t nr_tables;
	uint64_t tlb_flushes;
	uint64_t invalidations_before; /* the s2_mm's, when this VM was created */
	struct s2_fault_counts past; /* of vCPUs that are gone */

	struct s2_mutex slots_lock __attribute__((aligned(64)));
	struct s2_memslot **slots[S2_SLOT_CHUNKS]; /* by id, in chunks made on demand */
	_Atomic(struct s2_itree_node *) hva_root; /* not under the range gate */
	uint64_t nr_memslot_pages;
	_Atomic uint64_t update_wait_start; /* the holder of slots_lock waits for the */
	_Atomic uint64_t update_wait_end;   /* invalidations in this range, if it is one */
	_Atomic uint64_t generation;
	bool manual_dirty_protect;
	bool dirty_initially_set;

	/* The gates' own, one in use: */
	struct s2_rwsem mmu_notifier_slots_lock __attribute__((aligned(64))); /* rwsem */
	struct s2_spinlock mn_invalidate_lock;       /* count */
	uint64_t mn_active_invalidate_count;         /* count; under the spinlock */
	_Atomic uint32_t mn_memslots_update_rcuwait; /* count; the updater sleeps on it */

	_Atomic uint64_t refs __attribute__((aligned(64)));
	struct s2_vm *retired; /* link in the garbage, or among the zombies */
};

static inline struct s2_memslot *s2_vm_slot_by_id(struct s2_vm *vm, unsigned id)
{
	struct s2_memslot **chunk = vm->slots[id / S2_SLOT_CHUNK];

	return chunk ? chunk[id % S2_SLOT_CHUNK] : NULL;
}

/*
 * Flushes if @flush, or if an earlier flush is still due: a page may have no SPTE
 * any more and yet be in a TLB. Returns as flush_remote_tlbs does. Caller holds
 * mmu_lock for write.
 */
static inline bool s2_flush_if(struct s2_vm *vm, bool flush, bool may_block)
{
	return !(flush || vm->tlbs_dirty) || vm->ops->flush_remote_tlbs(vm, may_block);
}

/* The memslot that holds @gfn. The caller is in an RCU read section or holds slots_lock. */
static inline struct s2_memslot *s2_gfn_to_memslot(struct s2_vm *vm, uint64_t gfn)
{
	/* Acquire pairs with the release in publish_gfn_root(). */
	return s2_itree_lookup(atomic_load_explicit(&vm->gfn_root, memory_order_acquire), gfn);
}

/*
 * Takes slots_lock. -EDEADLK: its holder waits for invalidations, and the calling
 * thread has one in flight.
 */
int s2_lock_slots(struct s2_vm *vm);
void s2_vm_get(struct s2_vm *vm);
void s2_vm_drop(struct s2_vm *vm);
/* Frees a VM, and its memslots, after every grace period; called by the reclaim. */
void s2_vm_free(struct s2_vm *vm);

#endif /* S2_MEMSLOT_VM_H */
