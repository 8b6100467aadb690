/* SPDX-License-Identifier: MIT */
/*
 * The table of invalidations in flight: each start() publishes its range here,
 * each end() takes it back. It is what the range gate waits on, what pins the
 * version of the memslots a start() saw, and what tells a thread that it would
 * wait for itself. Under the other gates only the last two uses remain: there it
 * stands for the SRCU section around the kernel's notifier calls.
 *
 * The entries, and how a thread claims and leaves the one where it is at home, are in
 * <stage2/notifier-inline.h>; here is the rest.
 *
 * The race it exists for, and its two barriers:
 *
 *	CPU 0 (start)				CPU 1 (memslot add)
 *	-------------				-------------------
 *	publish [start, end)			publish the memslot in the hva index
 *	<full barrier C: it is one CAS>		<full barrier D: in s2_inflight_wait()>
 *	look the range up in the hva index	look for published ranges
 *
 * With both, either CPU 0 finds the memslot and is not elided, or CPU 1 finds the
 * range and waits for its end() before vCPUs can find the memslot.
 */
#ifndef S2_MM_INFLIGHT_H
#define S2_MM_INFLIGHT_H

#include "base/lock.h"

#include <stage2/notifier.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define S2_INFLIGHT_DEFAULT 256
#define S2_INFLIGHT_MAX 65536
#define S2_INFLIGHT_OWNERS 64
#define S2_INFLIGHT_ANYBODY S2_INFLIGHT_OWNERS

/* An occupant that is waited for: where, which, and what was published then. */
struct s2_inflight_seen {
	unsigned index;
	uint64_t seq;
	uint64_t word;
};

/*
 * @used:     entries from here on have never been claimed, so that who looks
 *            through the table need not go on.
 * @owned:    how many entries somebody is at home in.
 * @overflow: how many are in flight beyond the table, in two counts of which new
 *            ones take the one @phase names: a waiter turns @phase and waits for
 *            the other to drain, so that new ones cannot starve it.
 * @overflow_owners: the same by the thread that started them, to see whether a
 *            thread would wait for itself; the last is of threads for whom
 *            there was no place, and is then taken for anybody's.
 * @overflow_lock: one waiter turns @phase at a time.
 */
struct s2_inflight {
	struct s2_inflight_entry *entries;
	unsigned mask;
	_Atomic uint32_t used;
	_Atomic uint32_t owned;
	_Atomic uint32_t next_home;
	_Atomic uint32_t phase __attribute__((aligned(64)));
	_Atomic uint64_t overflow[2];
	_Atomic uint64_t overflow_owners[S2_INFLIGHT_OWNERS + 1];
	_Atomic uint64_t overflow_invalidations;
	_Atomic uint64_t overflow_elided;
	_Atomic uint64_t overflow_mmu_locks;
	struct s2_mutex overflow_lock;
	struct s2_inflight_seen *seen; /* as many as entries; the grace period's */
	unsigned nr_seen;
	bool overflow_seen[2];
};

int s2_inflight_init(struct s2_inflight *table, const struct s2_allocator *a, unsigned entries);
void s2_inflight_free(struct s2_inflight *table, const struct s2_allocator *a);

/*
 * Publishes [@start, @end), page-aligned: a full barrier. Takes no lock and allocates nothing.
 * s2_invalidate_range_start() does the same by itself for a thread that is at home.
 */
void s2_inflight_enter(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t start,
		       uint64_t end);

/* Takes @inv's range back. */
void s2_inflight_leave(struct s2_inflight *table, struct s2_invalidation *inv);

/*
 * Statistics, for each @inv while it is published: that it is an invalidation, elided
 * or not, or that it is none, or one that failed. What is in the table at the
 * thread's home, and says nothing else of itself, has been elided.
 */
void s2_inflight_account(struct s2_inflight *table, struct s2_invalidation *inv, bool elided,
			 uint64_t mmu_locks);
void s2_inflight_account_none(struct s2_invalidation *inv);

/* More mmu_locks for a pair that was accounted for already. */
void s2_inflight_account_locks(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t n);

/* The range that is published, by whoever published it. */
void s2_inflight_range(const struct s2_invalidation *inv, uint64_t *start, uint64_t *end);

/*
 * Waits for every invalidation in flight at the moment of the call that overlaps
 * [@start, @end); for later ones it does not. Begins with barrier D. May sleep.
 */
void s2_inflight_wait(struct s2_inflight *table, uint64_t start, uint64_t end);

/*
 * Did the calling thread start an invalidation that is in flight and overlaps
 * [@start, @end)? Exact but for invalidations beyond the table, whose range
 * nobody knows: one of those is taken to overlap.
 */
bool s2_inflight_owned(struct s2_inflight *table, uint64_t start, uint64_t end);

/*
 * Is any invalidation in flight that overlaps [@start, @end)? As exact. One that
 * is just ending, and has taken its count back already, is still found.
 */
bool s2_inflight_covers(struct s2_inflight *table, uint64_t start, uint64_t end);

/*
 * A grace period: begin notes who is in flight, passed tells whether all of them
 * have left. One at a time; the caller serialises. Neither sleeps.
 */
void s2_inflight_grace_begin(struct s2_inflight *table);
bool s2_inflight_grace_passed(struct s2_inflight *table);

/* Adds the table's part to *@stats. */
void s2_inflight_stats(struct s2_inflight *table, struct s2_mm_stats *stats);

#endif /* S2_MM_INFLIGHT_H */
