/* SPDX-License-Identifier: MIT */
/*
 * The hva index that a VM's memslots go into: the one all VMs of the s2_mm share
 * under the range gate, the VM's own under the others.
 */
#ifndef S2_MEMSLOT_HVA_INDEX_H
#define S2_MEMSLOT_HVA_INDEX_H

#include "memslot/vm.h"
#include "mm/mm.h"

/* How many nodes an update of the index may need, some growth by other VMs meanwhile included. */
unsigned s2_hva_index_nodes(struct s2_vm *vm);

/*
 * Put @slot in, take it out, or put @slot in the place of @old, and publish the
 * result. @reserve holds s2_hva_index_nodes(), and these cannot fail. Caller holds
 * slots_lock; they take index_lock.
 */
void s2_hva_index_add(struct s2_vm *vm, struct s2_memslot *slot, struct s2_itree_reserve *reserve);
void s2_hva_index_remove(struct s2_vm *vm, struct s2_memslot *slot,
			 struct s2_itree_reserve *reserve);
void s2_hva_index_replace(struct s2_vm *vm, struct s2_memslot *old, struct s2_memslot *slot,
			  struct s2_itree_reserve *reserve);

#endif /* S2_MEMSLOT_HVA_INDEX_H */
