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
 */
#include "base/guest_mode.h"

#include "base/arch.h"
#include "base/debug.h"
#include "base/futex.h"
#include "base/mutant.h"
#include "base/schedule.h"

#include <string.h>

/* A flusher's patience: spin while the vCPU is likely to poll, then sleep. */
#define FLUSH_SPINS 2000

_Thread_local struct s2_guest *s2_entered_guests;

/* What vcpu->tlb points at out of guest mode: nothing in it ever hits. */
static const struct s2_tlb_entry no_tlb[S2_TLB_ENTRIES] = {
	[0 ... S2_TLB_ENTRIES - 1] = { .rtag = UINT64_MAX, .wtag = UINT64_MAX },
};

static void drop_translations(struct s2_guest *guest)
{
	memset(guest->tlb, 0xff, sizeof(guest->tlb));
}

void s2_guest_init(struct s2_guest *guest)
{
	memset(guest, 0, sizeof(*guest));
	guest->vcpu.tlb = no_tlb;
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

static void guest_return(struct s2_guest *guest)
{
	change_mode(guest, 1);
	s2_schedule_point(S2_STEP_ENTER_MODE);
	if (!S2_MUTANT(ENTER_IGNORES_REQUESTS))
		act_on_request(guest);
	guest->vcpu.tlb = guest->tlb;
}

static void guest_leave(struct s2_guest *guest)
{
	guest->vcpu.tlb = no_tlb;
	/* Also the release that pairs with flushed(): accesses stay before it. */
	change_mode(guest, 1);
	s2_schedule_point(S2_STEP_LEAVE);
	wake_flushers(guest);
}

void s2_guest_enter(struct s2_guest *guest)
{
	guest->thread = s2_thread_self();
	guest->next_entered = s2_entered_guests;
	guest->left = 0;
	s2_entered_guests = guest;
	guest_return(guest);
}

void s2_guest_exit(struct s2_guest *guest)
{
	struct s2_guest **link = &s2_entered_guests;

	/* A provider may end a vCPU's stay that a call of ours has interrupted. */
	if (!guest->left)
		guest_leave(guest);
	while (*link && *link != guest)
		link = &(*link)->next_entered;
	if (*link)
		*link = guest->next_entered;
	guest->thread = 0;
}

static bool in_guest_mode(struct s2_guest *guest)
{
	return atomic_load_explicit(&guest->mode, memory_order_relaxed) & S2_IN_GUEST_MODE;
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
	for (struct s2_guest *guest = s2_entered_guests; guest; guest = guest->next_entered)
		if (guest->left++ == 0)
			guest_leave(guest);
	return s2_entered_guests;
}

void s2_guest_return_all(void)
{
	for (struct s2_guest *guest = s2_entered_guests; guest; guest = guest->next_entered)
		if (guest->left && --guest->left == 0)
			guest_return(guest);
}

S2_API void s2_vcpu_poll_slow(struct s2_vcpu *vcpu)
{
	struct s2_guest *guest = (struct s2_guest *)vcpu;

	if (!in_guest_mode(guest))
		return; /* the next entry acts on it */
	act_on_request(guest);
	change_mode(guest, 2);
	wake_flushers(guest);
}

void s2_guest_request_flush(struct s2_guest *guest)
{
	uint64_t next = __atomic_load_n(&guest->vcpu.flush_requested, __ATOMIC_RELAXED) + 1;

	/* One writer at a time: mmu_lock. Release: see act_on_request(). */
	__atomic_store_n(&guest->vcpu.flush_requested, next, __ATOMIC_RELEASE);
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
