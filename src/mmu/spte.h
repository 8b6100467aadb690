/* SPDX-License-Identifier: MIT */
/* What the notifier and the dirty log do to SPTEs: zap, set, age, write-protect. */
#ifndef S2_MMU_SPTE_H
#define S2_MMU_SPTE_H

#include "memslot/vm.h"

/* As struct s2_mmu_ops describes them; mmu_lock is held for write. */
bool s2_mmu_unmap_gfn_range(struct s2_vm *vm, const struct s2_gfn_range *range);
bool s2_mmu_set_spte_gfn(struct s2_vm *vm, const struct s2_gfn_range *range);
bool s2_mmu_age_gfn(struct s2_vm *vm, const struct s2_gfn_range *range);
bool s2_mmu_test_age_gfn(struct s2_vm *vm, const struct s2_gfn_range *range);
bool s2_mmu_write_protect(struct s2_vm *vm, const struct s2_gfn_range *range);

/*
 * Zaps a range, flushes, and unhooks the tables that have no leaf any more, for the caller to
 * free when it has dropped mmu_lock, which it holds for write.
 */
struct s2_table *s2_mmu_zap_tables(struct s2_vm *vm, const struct s2_gfn_range *range);

/* Takes mmu_lock. */
void s2_mmu_zap_memslot(struct s2_vm *vm, const struct s2_gfn_range *range);

#endif /* S2_MMU_SPTE_H */
