/* SPDX-License-Identifier: MIT */
/*
 * vcpu->mode and KVM_REQ_TLB_FLUSH: how a flush finds out that no vCPU still
 * uses a translation, and how a vCPU finds out that it must drop them.
 *
 * It sits at the bottom, below the locks, because every place that may block has
 * to know whether its thread is in guest mode: who blocks there cannot
 * acknowledge a flush, and who holds mmu_lock waits for the acknowledgement.
 */
#ifndef S2_BASE_GUEST_MODE_H
#define S2_BASE_GUEST_MODE_H

#include <stage2/vcpu-inline.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define S2_IN_GUEST_MODE UINT32_C(1)

/*
 * @mode: S2_IN_GUEST_MODE in the lowest bit; the rest counts, so that the word
 *        changes with every entry, exit and acknowledgement and can be slept on.
 *        Written by the vCPU's thread only.
 * @live_tlb: @tlb, or one in which nothing hits: what restartable accesses look
 *        into. Taken away by who flushes, given back by the vCPU's thread.
 * @restartable: since it was entered its accesses are restartable sequences. Then
 *        it is in guest mode only while it walks, copies and fills its TLB.
 */
struct s2_guest {
	struct s2_vcpu vcpu; /* first: what the inline functions see */
	_Atomic(const struct s2_tlb_entry *) live_tlb;
	_Atomic uint32_t mode;
	_Atomic uint32_t waiters; /* flushers asleep on @mode */
	uintptr_t thread;         /* who entered; 0 if nobody has */
	struct s2_guest *next_entered;
	struct s2_guest *next; /* of the same VM; under its mmu_lock */
	unsigned left; /* how many of its thread's calls have taken it out of guest mode */
	bool returns;  /* the first of them found it in guest mode, and the last brings it back */
	bool rseq;     /* restartable wherever its thread is registered */
	bool restartable;
	uint64_t flushes;
	struct s2_tlb_entry tlb[S2_TLB_ENTRIES] __attribute__((aligned(64)));
};

/* The guests the calling thread has entered and not exited, innermost first. */
extern _Thread_local struct s2_guest *s2_entered_guests;

void s2_guest_init(struct s2_guest *guest);

/* s2_vcpu_enter() and s2_vcpu_exit(), which have checked that they may. */
void s2_guest_enter(struct s2_guest *guest);
void s2_guest_exit(struct s2_guest *guest);

/*
 * Around what a restartable guest does that is no restartable sequence: guest mode,
 * for as long as that takes. Nothing for other guests, which are in it already.
 */
void s2_guest_begin_access(struct s2_guest *guest);
void s2_guest_end_access(struct s2_guest *guest);

/*
 * Takes whatever the calling thread has entered out of guest mode, around
 * something that may block, and back. They nest. Returns whether anything is
 * entered; only then return.
 */
bool s2_guest_leave_all(void);
void s2_guest_return_all(void);

/* Is the calling thread in guest mode with any vCPU? */
bool s2_in_guest_mode(void);

/*
 * A flush, in two steps so that many vCPUs are asked at once. Between the two
 * comes a full fence, and s2_rseq_restart_all() if any request returned true: that
 * guest may be in the middle of a restartable access. The caller holds the VM's
 * mmu_lock for write.
 */
bool s2_guest_request_flush(struct s2_guest *guest);
/* Has the guest left guest mode or acknowledged? With @may_block, waits until it has. */
bool s2_guest_await_flush(struct s2_guest *guest, bool may_block);

#endif /* S2_BASE_GUEST_MODE_H */
