/* SPDX-License-Identifier: MIT */
/* The page-fault path: what happens when a vCPU finds no SPTE that will do. */
#ifndef S2_MMU_FAULT_H
#define S2_MMU_FAULT_H

#include "memslot/vm.h"
#include "mmu/table.h"

struct s2_window;

/*
 * What a vCPU brings to its faults: its side of mmu_lock, tables allocated before
 * that is taken (KVM's mmu_page_cache), and its counts.
 *
 * @window: where the page is mapped; NULL for the VM's table. With one, @reader and the tables
 *          are not used.
 */
struct s2_fault_state {
	struct s2_brlock_reader reader;
	struct s2_window *window;
	struct s2_table *spare;
	unsigned nr_spare;
	struct s2_fault_counts counts;
};

/*
 * Maps @gfn for @access (S2_ACCESS_*). Out of guest mode, holding nothing; sleeps.
 * 0: there was an SPTE that allows it, when last seen. -ENXIO, -EROFS: MMIO; or
 * what the provider said; -EDEADLK: the calling thread is invalidating the page;
 * -ENOMEM. The caller returns to guest mode and walks again.
 */
int s2_mmu_fault(struct s2_vm *vm, struct s2_fault_state *state, uint64_t gfn, unsigned access);

void s2_fault_state_free(struct s2_fault_state *state, const struct s2_allocator *a);

#endif /* S2_MMU_FAULT_H */
