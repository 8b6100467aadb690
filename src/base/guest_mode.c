/* SPDX-License-Identifier: MIT */
/*
 * Guest mode, requests and their acknowledgement.
 *
 * The one race of this file, for entry and return alike:
 *
 *	CPU 0 (flusher, holds mmu_lock)		CPU 1 (vCPU)
 *	-------------------------------		------------
 *	zap SPTE				mode: in guest mode
 *	raise flush_requested			<full barrier A>
 *	<full barrier B>			load flush_requested
 *	load mode				walk SPTEs, use the page
 *
 * With both barriers either CPU 0 sees the guest mode and waits, or CPU 1 sees
 * the request, drops its TLB and finds the SPTE gone. Without A, CPU 1's load may
 * pass its store: it enters with a stale TLB and CPU 0 does not wait for it.
 *
 * The hits of a restartable guest happen out of guest mode. They are kept from a stale
 * translation by another way:
 *
 *	CPU 0 (flusher, holds mmu_lock)		CPU 1 (vCPU, in a sequence)
 *	-------------------------------		---------------------------
 *	zap SPTE				load live_tlb
 *	raise flush_requested			compare the tag
 *	live_tlb = one without entries		load the addend
 *	restart all sequences			load or store the page
 *
 * A sequence that has loaded the old live_tlb has come to its end when CPU 0's system
 * call returns, or begins anew, finds nothing and goes to guest mode, where it acts
 * on the request.
 */
#include "base/guest_mode.h"

#include "base/arch.h"
#include "base/debug.h"
#include "base/futex.h"
#include "base/mutant.h"
#include "base/rseq.h"
#include "base/schedule.h"

#include <string.h>

/* A flusher's patience: spin while the vCPU is likely to poll, then sleep. */
#define FLUSH_SPINS 2000

_Thread_local struct s2_guest *s2_entered_guests;

/* What vcpu->tlb points at out of guest mode, and live_tlb after a flush: nothing in it hits. */
static const struct s2_tlb_entry no_tlb[S2_TLB_ENTRIES] = {
	[0 ... S2_TLB_ENTRIES - 1] = {
		.rtag = UINT64_MAX, .wtag = UINT64_MAX, .ptag = UINT64_MAX
	},
};

static void drop_translations(struct s2_guest *guest)
{
	memset(guest->tlb, 0xff, sizeof(guest->tlb));
}

void s2_guest_init(struct s2_guest *guest)
{
	memset(guest, 0, sizeof(*guest));
	guest->vcpu.tlb = no_tlb;
	atomic_init(&guest->live_tlb, no_tlb);
	drop_translations(guest);
}

/* One atomic step of the mode word, and a full barrier: A above. */
static void change_mode(struct s2_guest *guest, uint32_t step)
{
	atomic_fetch_add_explicit(&guest->mode, step, memory_order_seq_cst);
}

/*
 * Pairs with await_asleep(): either it sees the new mode before it sleeps, or
 * the waiter it announced is seen here. Both sides have a full barrier between.
 */
static void wake_flushers(struct s2_guest *guest)
{
	if (atomic_load_explicit(&guest->waiters, memory_order_seq_cst) &&
	    !S2_MUTANT(FLUSHER_NOT_WOKEN))
		s2_futex_wake(&guest->mode, INT_MAX);
}

static void act_on_request(struct s2_guest *guest)
{
	/*
	 * Acquire pairs with the release in s2_guest_request_flush(): the zaps
	 * before it are seen. Sequentially consistent, since a weakly ordered machine
	 * need not keep a weaker load behind the change of mode.
	 */
	uint64_t requested = __atomic_load_n(&guest->vcpu.flush_requested, __ATOMIC_SEQ_CST);

	if (requested == guest->vcpu.flush_done)
		return;
	if (!S2_MUTANT(ACK_WITHOUT_FLUSH))
		drop_translations(guest);
	s2_schedule_point(S2_STEP_ACK_DROPPED);
	guest->flushes++;
	/*
	 * Release pairs with the acquire in flushed(): what this vCPU did with the
	 * old translations comes before the flusher goes on.
	 */
	__atomic_store_n(&guest->vcpu.flush_done, requested, __ATOMIC_RELEASE);
}

static bool has_live_tlb(struct s2_guest *guest)
{
	return atomic_load_explicit(&guest->live_tlb, memory_order_relaxed) == guest->tlb;
}

/*
 * Gives restartable accesses their TLB back, which holds nothing that a flush was
 * asked for. A flusher may take it away at the same time: of the two exchanges the
 * later sees what came before the earlier. If that is the flusher's, it has the
 * last word; if it is this one, the request is seen after it.
 */
static void revive_tlb(struct s2_guest *guest)
{
	do {
		if (!has_live_tlb(guest))
			atomic_exchange_explicit(&guest->live_tlb, guest->tlb, memory_order_acq_rel);
		s2_schedule_point(S2_STEP_TLB_REVIVED);
		act_on_request(guest);
	} while (!has_live_tlb(guest));
}

static void guest_return(struct s2_guest *guest)
{
	change_mode(guest, 1);
	s2_schedule_point(S2_STEP_ENTER_MODE);
	if (guest->restartable)
		revive_tlb(guest);
	else if (!S2_MUTANT(ENTER_IGNORES_REQUESTS))
		act_on_request(guest);
	guest->vcpu.tlb = guest->tlb;
}

static void guest_leave(struct s2_guest *guest)
{
	/* That of a restartable guest never hits; it keeps the cache clean of another. */
	if (!guest->restartable)
		guest->vcpu.tlb = no_tlb;
	/* Also the release that pairs with flushed(): accesses stay before it. */
	change_mode(guest, 1);
	s2_schedule_point(S2_STEP_LEAVE);
	wake_flushers(guest);
}

/* The two kinds of access look for their tags in different places of an entry. */
static void choose_accesses(struct s2_guest *guest)
{
	bool restartable = guest->rseq && s2_rseq_thread_registered();

	if (restartable != guest->restartable)
		drop_translations(guest);
	guest->restartable = restartable;
}

static bool in_guest_mode(struct s2_guest *guest)
{
	return atomic_load_explicit(&guest->mode, memory_order_relaxed) & S2_IN_GUEST_MODE;
}

void s2_guest_begin_access(struct s2_guest *guest)
{
	if (guest->restartable)
		guest_return(guest);
}

void s2_guest_end_access(struct s2_guest *guest)
{
	if (guest->restartable && in_guest_mode(guest))
		guest_leave(guest);
}

void s2_guest_enter(struct s2_guest *guest)
{
	guest->thread = s2_thread_self();
	guest->next_entered = s2_entered_guests;
	guest->left = 0;
	s2_entered_guests = guest;
	choose_accesses(guest);
	guest_return(guest);
	s2_guest_end_access(guest);
}

void s2_guest_exit(struct s2_guest *guest)
{
	struct s2_guest **link = &s2_entered_guests;

	/* A provider may end a vCPU's stay that a call of ours has interrupted. */
	if (in_guest_mode(guest))
		guest_leave(guest);
	/* No sequence is under way, they are this thread's. An exchange: see revive_tlb(). */
	if (guest->restartable)
		atomic_exchange_explicit(&guest->live_tlb, no_tlb, memory_order_acq_rel);
	guest->vcpu.tlb = no_tlb;
	while (*link && *link != guest)
		link = &(*link)->next_entered;
	if (*link)
		*link = guest->next_entered;
	guest->thread = 0;
}

bool s2_in_guest_mode(void)
{
	for (struct s2_guest *guest = s2_entered_guests; guest; guest = guest->next_entered)
		if (in_guest_mode(guest))
			return true;
	return false;
}

/*
 * One that faults takes the others out with it, since a flush that waits for them
 * may hold the lock the fault needs. Calls nest, a provider may use a vCPU of its
 * own, so each guest counts: who took it out brings it back, and nobody sooner; one
 * entered meanwhile was not taken out and is not brought back.
 */
bool s2_guest_leave_all(void)
{
	for (struct s2_guest *guest = s2_entered_guests; guest; guest = guest->next_entered) {
		if (guest->left++)
			continue;
		guest->returns = in_guest_mode(guest);
		if (guest->returns)
			guest_leave(guest);
	}
	return s2_entered_guests;
}

void s2_guest_return_all(void)
{
	for (struct s2_guest *guest = s2_entered_guests; guest; guest = guest->next_entered)
		if (guest->left && --guest->left == 0 && guest->returns)
			guest_return(guest);
}

S2_API void s2_vcpu_poll_slow(struct s2_vcpu *vcpu)
{
	struct s2_guest *guest = (struct s2_guest *)vcpu;

	if (in_guest_mode(guest)) {
		act_on_request(guest);
		change_mode(guest, 2);
		wake_flushers(guest);
	} else if (guest->thread) {
		/* Between two restartable accesses. Who has not entered acts on it when it does. */
		s2_guest_begin_access(guest);
		s2_guest_end_access(guest);
	}
}

bool s2_guest_request_flush(struct s2_guest *guest)
{
	uint64_t next = __atomic_load_n(&guest->vcpu.flush_requested, __ATOMIC_RELAXED) + 1;

	/* One writer at a time: mmu_lock. Release: see act_on_request(). */
	__atomic_store_n(&guest->vcpu.flush_requested, next, __ATOMIC_RELEASE);
	if (!guest->rseq || S2_MUTANT(LIVE_TLB_STAYS))
		return guest->rseq;
	/* Acquire and release: see revive_tlb(). Where there was none, none is in use. */
	return atomic_exchange_explicit(&guest->live_tlb, no_tlb, memory_order_acq_rel) != no_tlb;
}

static bool flushed(struct s2_guest *guest, uint32_t *mode)
{
	*mode = atomic_load_explicit(&guest->mode, memory_order_seq_cst);
	if (!(*mode & S2_IN_GUEST_MODE))
		return true;
	return __atomic_load_n(&guest->vcpu.flush_done, __ATOMIC_ACQUIRE) ==
	       __atomic_load_n(&guest->vcpu.flush_requested, __ATOMIC_RELAXED);
}

static void await_asleep(struct s2_guest *guest)
{
	uint32_t mode;

	S2_RULE(!s2_in_guest_mode(), "blocking in guest mode");
	atomic_fetch_add_explicit(&guest->waiters, 1, memory_order_seq_cst);
	while (!flushed(guest, &mode)) {
		s2_schedule_point(S2_STEP_FLUSH_SLEEPS);
		s2_futex_wait(&guest->mode, mode);
	}
	atomic_fetch_sub_explicit(&guest->waiters, 1, memory_order_relaxed);
}

bool s2_guest_await_flush(struct s2_guest *guest, bool may_block)
{
	uint32_t mode;

	for (unsigned i = 0; i < FLUSH_SPINS; i++) {
		if (flushed(guest, &mode))
			return true;
		s2_cpu_relax();
	}
	if (!may_block)
		return false;
	await_asleep(guest);
	return true;
}
