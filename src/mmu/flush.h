/* SPDX-License-Identifier: MIT */
/* kvm_flush_remote_tlbs() with KVM_REQUEST_WAIT. */
#ifndef S2_MMU_FLUSH_H
#define S2_MMU_FLUSH_H

#include <stdbool.h>

struct s2_vm;

/*
 * Returns when no vCPU of @vm uses a translation whose SPTE was zapped before the
 * call; false if that would take sleeping and @may_block is false: the flush is
 * then still due, and vm->tlbs_dirty says so to whoever comes next. Caller holds
 * mmu_lock for write and is out of guest mode.
 */
bool s2_flush_remote_tlbs(struct s2_vm *vm, bool may_block);

#endif /* S2_MMU_FLUSH_H */
