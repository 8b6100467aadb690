/* SPDX-License-Identifier: MIT */
/*
 * The freeing of what memslot updates replace, without anybody waiting for it:
 * updates leave old versions behind, and later updates free them when nobody can
 * hold them any more. See struct s2_garbage for the two grace periods.
 */
#ifndef S2_MEMSLOT_GARBAGE_H
#define S2_MEMSLOT_GARBAGE_H

#include "mm/mm.h"

/* Leave something behind that is out of reach for new readers. Caller holds index_lock. */
void s2_garbage_hva_nodes(struct s2_mm *mm, struct s2_itree_node *list);
void s2_garbage_gfn_nodes(struct s2_mm *mm, struct s2_itree_node *list);
void s2_garbage_memslot(struct s2_mm *mm, struct s2_memslot *slot);
void s2_garbage_vm_list(struct s2_mm *mm, struct s2_vm_list *list);
void s2_garbage_vm(struct s2_mm *mm, struct s2_vm *vm);

/* Frees what may be freed now. Takes index_lock; may sleep for RCU now and then. */
void s2_mm_reclaim(struct s2_mm *mm);

/* Frees everything: for an s2_mm that nobody uses any more. */
void s2_mm_reclaim_all(struct s2_mm *mm);

#endif /* S2_MEMSLOT_GARBAGE_H */
