/* SPDX-License-Identifier: MIT */
/*
 * The table of invalidations in flight: each start() publishes its range here,
 * each end() takes it back. It is what the range gate waits on, what pins the
 * version of the memslots a start() saw, and what tells a thread that it would
 * wait for itself. Under the other gates only the last two uses remain: there it
 * stands for the SRCU section around the kernel's notifier calls.
 *
 * The race it exists for, and its two barriers:
 *
 *	CPU 0 (start)				CPU 1 (memslot add)
 *	-------------				-------------------
 *	publish [start, end)			publish the memslot in the hva index
 *	<full barrier C: the claiming CAS>	<full barrier D: in s2_inflight_wait()>
 *	look the range up in the hva index	look for published ranges
 *
 * With both, either CPU 0 finds the memslot and is not elided, or CPU 1 finds the
 * range and waits for its end() before vCPUs can find the memslot.
 */
#ifndef S2_MM_INFLIGHT_H
#define S2_MM_INFLIGHT_H

#include "base/arch.h"
#include "base/counter.h"
#include "base/lock.h"
#include "base/schedule.h"

#include <stage2/notifier.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define S2_INFLIGHT_DEFAULT 256
#define S2_INFLIGHT_MAX 65536
#define S2_INFLIGHT_OWNERS 64
#define S2_INFLIGHT_ANYBODY S2_INFLIGHT_OWNERS

/* In the lowest bit of @seq: the entry has an occupant. */
#define S2_INFLIGHT_OCCUPIED UINT64_C(1)

/* What a page-aligned end has room for: which occupant wrote it, by its sequence. */
#define S2_INFLIGHT_TURN_MASK (S2_PAGE_SIZE - 1)

/*
 * One cache line, written by its occupant alone once it is claimed: what keeps
 * the pair from sharing a written line with another thread's. Each store to it has
 * to be done before the next claim, which is a locked instruction, can be; so
 * the elided pair makes as few as it can, and what can be worked out is not stored.
 *
 * @seq:   raised by who claims it, by compare-exchange, and again by who leaves:
 *         odd while it is occupied, and never the same for two occupants, so
 *         that who waits for one does not wait for the next. Half of it is how
 *         many occupants there have been.
 * @start, @end: the range; @end has the occupant's turn in its lower bits, and
 *         until it has, the range is that of the one before.
 * @owner: the thread that called start().
 * The rest are statistics, and belong to whoever occupies the entry: occupants that
 * were not elided, that were no invalidation or failed, and mmu_locks they took.
 */
struct s2_inflight_entry {
	_Atomic uint64_t seq;
	_Atomic uint64_t start;
	_Atomic uint64_t end;
	_Atomic uintptr_t owner;
	_Atomic uint64_t not_elided;
	_Atomic uint64_t not_counted;
	_Atomic uint64_t mmu_locks;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct s2_inflight_entry) == 64, "an entry is a cache line");

/* An occupant that a grace period still waits for. */
struct s2_inflight_seen {
	unsigned index;
	uint64_t seq;
};

/*
 * @used:     entries from here on have never been claimed, so that who looks
 *            through the table need not go on.
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

/* The thread's favourite entry, the same in every table; see claim. */
extern _Thread_local unsigned s2_inflight_home;

int s2_inflight_init(struct s2_inflight *table, const struct s2_allocator *a, unsigned entries);
void s2_inflight_free(struct s2_inflight *table, const struct s2_allocator *a);

void s2_inflight_overflow_leave(struct s2_inflight *table, struct s2_invalidation *inv);

/* The turn of the occupant that made the sequence @seq, for the lower bits of its end. */
static inline uint64_t s2_inflight_turn(uint64_t seq)
{
	return seq & S2_INFLIGHT_TURN_MASK;
}

/* False: it is occupied. Else the calling thread is its occupant now, of sequence *@seq. */
static inline bool s2_inflight_try(struct s2_inflight_entry *entry, uint64_t *seq)
{
	uint64_t last = atomic_load_explicit(&entry->seq, memory_order_relaxed);

	*seq = last + 1;
	/*
	 * Sequentially consistent: it is barrier C. Acquire pairs with the release
	 * in leave: the last occupant's stores to the entry come before ours.
	 */
	return !(last & S2_INFLIGHT_OCCUPIED) &&
	       atomic_compare_exchange_strong_explicit(&entry->seq, &last, last + 1,
						       memory_order_seq_cst, memory_order_relaxed);
}

/* Writes the range, page-aligned, to the entry that the calling thread has claimed. */
static inline void s2_inflight_fill(struct s2_invalidation *inv, struct s2_inflight_entry *entry,
				    uint64_t seq, uint64_t start, uint64_t end)
{
	uintptr_t self = s2_thread_self();

	inv->entry = entry;
	s2_schedule_point(S2_STEP_START_CLAIMED);

	if (atomic_load_explicit(&entry->owner, memory_order_relaxed) != self)
		atomic_store_explicit(&entry->owner, self, memory_order_relaxed);
	atomic_store_explicit(&entry->start, start, memory_order_relaxed);
	/*
	 * Release pairs with the acquire in occupant_overlaps(): who sees the end
	 * sees the start and the owner. That it comes after barrier C is harmless:
	 * who finds the entry claimed and an end of another turn waits for it.
	 */
	atomic_store_explicit(&entry->end, end | s2_inflight_turn(seq), memory_order_release);
}

/*
 * Publishes [@start, @end) at the thread's home: a full barrier. False if it is taken,
 * or not chosen yet; then s2_inflight_enter_slow() does it. In two functions, so
 * that a caller of the first that goes on to the second by a jump saves no registers.
 * Take no lock and allocate nothing.
 */
static inline bool s2_inflight_enter_home(struct s2_inflight *table, struct s2_invalidation *inv,
					  uint64_t start, uint64_t end)
{
	unsigned home = s2_inflight_home, at = home & table->mask;
	struct s2_inflight_entry *entry = &table->entries[at];
	uint64_t seq;

	/* Acquire: that @at is in use was known before the claim, see extend_used(). */
	if (!home || at >= atomic_load_explicit(&table->used, memory_order_acquire))
		return false;
	if (!s2_inflight_try(entry, &seq))
		return false;
	s2_inflight_fill(inv, entry, seq, start, end);
	return true;
}

void s2_inflight_enter_slow(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t start,
			    uint64_t end);

static inline void s2_inflight_enter(struct s2_inflight *table, struct s2_invalidation *inv,
				     uint64_t start, uint64_t end)
{
	if (!s2_inflight_enter_home(table, inv, start, end))
		s2_inflight_enter_slow(table, inv, start, end);
}

/* Takes @inv's range back, which is in the table. */
static inline void s2_inflight_leave_entry(struct s2_invalidation *inv)
{
	struct s2_inflight_entry *entry = inv->entry;
	uint64_t seq = atomic_load_explicit(&entry->seq, memory_order_relaxed);

	/*
	 * Release pairs with the acquire of who waits for this occupant, and with
	 * the next one's claim: all that happened in the bracket, and in the
	 * snapshot it pinned, comes before.
	 */
	atomic_store_explicit(&entry->seq, seq + 1, memory_order_release);
}

/* The same, wherever it is. */
static inline void s2_inflight_leave(struct s2_inflight *table, struct s2_invalidation *inv)
{
	if (inv->entry)
		s2_inflight_leave_entry(inv);
	else
		s2_inflight_overflow_leave(table, inv);
}

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
