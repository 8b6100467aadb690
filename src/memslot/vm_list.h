/* SPDX-License-Identifier: MIT */
/* The list of an s2_mm's VMs: immutable, replaced as a whole. */
#ifndef S2_MEMSLOT_VM_LIST_H
#define S2_MEMSLOT_VM_LIST_H

struct s2_mm;
struct s2_vm;

/* Publish a list with @vm, or without it. -ENOMEM. They take index_lock. */
int s2_vm_list_add(struct s2_mm *mm, struct s2_vm *vm);
int s2_vm_list_remove(struct s2_mm *mm, struct s2_vm *vm);

#endif /* S2_MEMSLOT_VM_LIST_H */
