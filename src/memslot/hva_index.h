/* SPDX-License-Identifier: MIT */
/*
 * The hva index that a VM's memslots go into: the one all VMs of the s2_mm share
 * under the range gate, the VM's own under the others.
 */
#ifndef S2_MEMSLOT_HVA_INDEX_H
#define S2_MEMSLOT_HVA_INDEX_H

#include "memslot/vm.h"
#include "mm/mm.h"

/*
 * The most nodes that one update of the index by @steps steps may take, some growth
 * by other VMs meanwhile included.
 */
unsigned s2_hva_index_nodes(struct s2_vm *vm, unsigned steps);

/*
 * Put @slot in (one step), take it out (one), or put @slot in the place of @old
 * (two), and publish the result. They cannot fail, given the reserve, and prepend
 * to *@replaced what readers may still hold. The caller serialises the updates of
 * one VM; they take index_lock if the index is shared.
 */
void s2_hva_index_add(struct s2_vm *vm, struct s2_memslot *slot, struct s2_itree_reserve *reserve,
		      struct s2_itree_node **replaced);
void s2_hva_index_remove(struct s2_vm *vm, struct s2_memslot *slot,
			 struct s2_itree_reserve *reserve, struct s2_itree_node **replaced);
void s2_hva_index_replace(struct s2_vm *vm, struct s2_memslot *old, struct s2_memslot *slot,
			  struct s2_itree_reserve *reserve, struct s2_itree_node **replaced);

#endif /* S2_MEMSLOT_HVA_INDEX_H */
