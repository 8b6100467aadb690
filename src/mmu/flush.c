/* SPDX-License-Identifier: MIT */
/*
 * Asks every vCPU of a VM to drop its TLB, and waits for those in guest mode. The
 * race with a vCPU that enters, and its two barriers, are in base/guest_mode.c.
 */
#include "mmu/flush.h"

#include "base/guest_mode.h"
#include "base/mutant.h"
#include "base/rseq.h"
#include "base/schedule.h"
#include "memslot/vm.h"

bool s2_flush_remote_tlbs(struct s2_vm *vm, bool may_block)
{
	bool done = true, restart = false;

	S2_ASSERT_MMU_LOCK_WRITE(&vm->mmu_lock);
	S2_RULE(!s2_in_guest_mode(), "a flush from inside guest mode waits for itself");
	vm->tlb_flushes++;
	for (struct s2_guest *guest = vm->guests; guest; guest = guest->next)
		restart |= s2_guest_request_flush(guest);
	/* Barrier B: the requests before the looks at the modes. Pairs with change_mode(). */
	atomic_thread_fence(memory_order_seq_cst);
	/* Once for all; as KVM's it may interrupt cores that have nothing to do with the VM. */
	if (restart && !S2_MUTANT(SEQUENCES_NOT_RESTARTED))
		s2_rseq_restart_all();
	s2_schedule_point(S2_STEP_FLUSH_REQUESTED);
	for (struct s2_guest *guest = vm->guests; guest; guest = guest->next)
		done &= S2_MUTANT(FLUSH_DOES_NOT_WAIT) || s2_guest_await_flush(guest, may_block);
	vm->tlbs_dirty = !done && !S2_MUTANT(TLBS_DIRTY_FORGOTTEN);
	return done;
}
