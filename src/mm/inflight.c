/* SPDX-License-Identifier: MIT */
/* The table of invalidations in flight: all but the hot path, which is in the header. */
#include "mm/inflight.h"

#include "base/alloc.h"
#include "base/mutant.h"

#include <errno.h>
#include <time.h>

_Thread_local unsigned s2_inflight_home;

/* Where the thread's last pair inside another was; as s2_inflight_home, no index of its own. */
static _Thread_local unsigned nested_home;

int s2_inflight_init(struct s2_inflight *table, const struct s2_allocator *a, unsigned entries)
{
	*table = (struct s2_inflight){ .mask = entries - 1 };
	s2_mutex_init(&table->overflow_lock, S2_RANK_OVERFLOW);
	table->entries = s2_zalloc(a, entries * sizeof(*table->entries), 64);
	table->seen = s2_zalloc(a, entries * sizeof(*table->seen), sizeof(void *));
	if (table->entries && table->seen)
		return 0;
	s2_inflight_free(table, a);
	return -ENOMEM;
}

void s2_inflight_free(struct s2_inflight *table, const struct s2_allocator *a)
{
	s2_free(a, table->entries);
	s2_free(a, table->seen);
	table->entries = NULL;
	table->seen = NULL;
}

/*
 * Makes sure that who looks through the table comes as far as entry @at. Before the
 * claim, and sequentially consistent as that is: who still sees the old @used
 * after barrier D has its publication seen by the claimant's look at the index.
 */
static void extend_used(struct s2_inflight *table, uint32_t at)
{
	uint32_t used = atomic_load_explicit(&table->used, memory_order_relaxed);

	while (used <= at)
		if (atomic_compare_exchange_weak_explicit(&table->used, &used, at + 1,
							  memory_order_seq_cst,
							  memory_order_relaxed))
			return;
}

/*
 * A home for a thread that has none: the tables' entries in turn, so that threads
 * settle on lines of their own, and few threads use few entries. The same in
 * every table, hence counted from 1 in thread-local storage.
 */
static unsigned choose_home(struct s2_inflight *table)
{
	return (atomic_fetch_add_explicit(&table->next_home, 1, memory_order_relaxed) & table->mask) +
	       1 + table->mask;
}

/*
 * Looks for a free entry from the thread's home on. A home that another thread
 * sits on is given up for what was found; a nested pair of one's own is no reason
 * to move. That one is looked for from beside where the last nested one was, which
 * is free as a rule, however many are open around it: below it first, or the
 * thread would wander through the table, and whoever looks through that with it.
 */
static bool claim_elsewhere(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t start,
			    uint64_t end)
{
	unsigned home = s2_inflight_home ? s2_inflight_home : choose_home(table);
	struct s2_inflight_entry *at_home = &table->entries[home & table->mask];
	bool nested = s2_inflight_home && atomic_load_explicit(&at_home->owner, memory_order_relaxed) ==
						  s2_thread_self();
	unsigned from = !nested ? home : nested_home > home + 1 ? nested_home - 1 : home + 1;

	for (unsigned i = 0; i <= table->mask; i++) {
		struct s2_inflight_entry *entry = &table->entries[(from + i) & table->mask];
		uint64_t seq;

		extend_used(table, (from + i) & table->mask);
		if (!s2_inflight_try(entry, &seq))
			continue;
		if (nested)
			nested_home = from + i;
		else
			s2_inflight_home = from + i;
		s2_inflight_fill(inv, entry, seq, start, end);
		return true;
	}
	return false;
}

/*
 * A place among the overflow's owners: the thread, which is aligned to a cache
 * line, above how many it has started.
 */
#define OWNER_COUNT_BITS 13
#define OWNER_COUNT_MAX ((UINT64_C(1) << OWNER_COUNT_BITS) - 1)

static uint64_t owner_of(uintptr_t thread)
{
	return (uint64_t)(thread >> 6) << OWNER_COUNT_BITS;
}

static bool join_owner(_Atomic uint64_t *place, uint64_t owner, bool take_free)
{
	uint64_t word = atomic_load_explicit(place, memory_order_relaxed);

	while ((word & ~OWNER_COUNT_MAX) == owner || (take_free && !word)) {
		if ((word & OWNER_COUNT_MAX) == OWNER_COUNT_MAX)
			return false;
		if (atomic_compare_exchange_weak_explicit(place, &word, (word ? word : owner) + 1,
							  memory_order_relaxed,
							  memory_order_relaxed))
			return true;
	}
	return false;
}

static unsigned find_owner_place(struct s2_inflight *table)
{
	uint64_t owner = owner_of(s2_thread_self());

	for (unsigned i = 0; i < S2_INFLIGHT_OWNERS; i++)
		if (join_owner(&table->overflow_owners[i], owner, false))
			return i;
	for (unsigned i = 0; i < S2_INFLIGHT_OWNERS; i++)
		if (join_owner(&table->overflow_owners[i], owner, true))
			return i;
	atomic_fetch_add_explicit(&table->overflow_owners[S2_INFLIGHT_ANYBODY], 1,
				  memory_order_relaxed);
	return S2_INFLIGHT_ANYBODY;
}

static void leave_owner_place(struct s2_inflight *table, unsigned i)
{
	_Atomic uint64_t *place = &table->overflow_owners[i];
	uint64_t word = atomic_fetch_sub_explicit(place, 1, memory_order_relaxed) - 1;

	/* The last of its owner's: free for another thread, unless it has come back already. */
	if (i != S2_INFLIGHT_ANYBODY && !(word & OWNER_COUNT_MAX))
		atomic_compare_exchange_strong_explicit(place, &word, 0, memory_order_relaxed,
							memory_order_relaxed);
}

static bool owns_overflow(struct s2_inflight *table)
{
	uint64_t owner = owner_of(s2_thread_self());

	for (unsigned i = 0; i < S2_INFLIGHT_OWNERS; i++) {
		uint64_t word = atomic_load_explicit(&table->overflow_owners[i],
						     memory_order_relaxed);

		if ((word & ~OWNER_COUNT_MAX) == owner && (word & OWNER_COUNT_MAX))
			return true;
	}
	return atomic_load_explicit(&table->overflow_owners[S2_INFLIGHT_ANYBODY],
				    memory_order_relaxed) != 0;
}

/*
 * Beyond the table. What s2_inflight_fill() does for a range, this does for all
 * ranges at once: the increment is barrier C. It may go to the count a waiter is
 * draining, if that turned @phase just now; the waiter then waits for it once.
 */
static void overflow_enter(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t start,
			   uint64_t end)
{
	inv->entry = NULL;
	inv->start = start;
	inv->end = end;
	inv->owner_slot = find_owner_place(table);
	inv->overflow = atomic_load_explicit(&table->phase, memory_order_relaxed) & 1;
	atomic_fetch_add_explicit(&table->overflow[inv->overflow], 1, memory_order_seq_cst);
}

void s2_inflight_enter_slow(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t start,
			    uint64_t end)
{
	if (!claim_elsewhere(table, inv, start, end))
		overflow_enter(table, inv, start, end);
}

void s2_inflight_overflow_leave(struct s2_inflight *table, struct s2_invalidation *inv)
{
	leave_owner_place(table, inv->owner_slot);
	/* Release: as the one of @seq in s2_inflight_leave(). */
	atomic_fetch_sub_explicit(&table->overflow[inv->overflow], 1, memory_order_release);
}

void s2_inflight_range(const struct s2_invalidation *inv, uint64_t *start, uint64_t *end)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (!entry) {
		*start = inv->start;
		*end = inv->end;
		return;
	}
	*start = atomic_load_explicit(&entry->start, memory_order_relaxed);
	*end = atomic_load_explicit(&entry->end, memory_order_relaxed) & ~S2_INFLIGHT_TURN_MASK;
}

void s2_inflight_account(struct s2_inflight *table, struct s2_invalidation *inv, bool elided,
			 uint64_t mmu_locks)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (entry) {
		s2_count(&entry->not_elided, !elided);
		s2_count(&entry->mmu_locks, mmu_locks);
		return;
	}
	atomic_fetch_add_explicit(&table->overflow_invalidations, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&table->overflow_elided, elided, memory_order_relaxed);
	atomic_fetch_add_explicit(&table->overflow_mmu_locks, mmu_locks, memory_order_relaxed);
}

void s2_inflight_account_none(struct s2_invalidation *inv)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (entry)
		s2_count(&entry->not_counted, 1);
}

void s2_inflight_account_locks(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t n)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (entry)
		s2_count(&entry->mmu_locks, n);
	else
		atomic_fetch_add_explicit(&table->overflow_mmu_locks, n, memory_order_relaxed);
}

/*
 * Waits in steps that grow from a few nanoseconds to half a millisecond. end()
 * could wake us, but would have to make a system call, or pay a full fence to
 * find out that nobody waits, in a path that promises neither.
 */
static void back_off(unsigned *round)
{
	unsigned n = (*round)++;
	struct timespec pause = { .tv_nsec = 500000 };

	if (n < 1000) {
		s2_cpu_relax();
		return;
	}
	if (n < 1010) {
		sched_yield();
		return;
	}
	if (n < 1020)
		pause.tv_nsec = 1000L << (n - 1010);
	nanosleep(&pause, NULL);
}

static uint64_t seq_of(struct s2_inflight_entry *entry)
{
	/* Acquire pairs with the release in s2_inflight_leave(). */
	return atomic_load_explicit(&entry->seq, memory_order_acquire);
}

/* Does the occupant of turn @seq overlap? If there is none, or it leaves meanwhile: no. */
static bool occupant_overlaps(struct s2_inflight_entry *entry, uint64_t seq, uint64_t start,
			      uint64_t end)
{
	uint64_t its_start, its_end;
	unsigned round = 0;

	if (!(seq & S2_INFLIGHT_OCCUPIED))
		return false;
	/*
	 * Claimed, and its end not yet visible: a store away, unless the thread was
	 * preempted there. What is there instead is the end of the turn before, since
	 * the claim acquired that and came before @seq was seen.
	 */
	for (;;) {
		its_end = atomic_load_explicit(&entry->end, memory_order_acquire);
		if ((its_end & S2_INFLIGHT_TURN_MASK) == s2_inflight_turn(seq) ||
		    S2_MUTANT(TURN_IGNORED))
			break;
		if (seq_of(entry) != seq)
			return false;
		back_off(&round);
	}
	its_end &= ~S2_INFLIGHT_TURN_MASK;
	its_start = atomic_load_explicit(&entry->start, memory_order_relaxed);
	return seq_of(entry) == seq && its_start < end && start < its_end;
}

/* How many entries there are to look at. After barrier D, see extend_used(). */
static unsigned nr_used(struct s2_inflight *table)
{
	return atomic_load_explicit(&table->used, memory_order_seq_cst);
}

static void wait_for_overflow(struct s2_inflight *table)
{
	s2_mutex_lock(&table->overflow_lock);
	for (unsigned turn = 0; turn < 2; turn++) {
		uint32_t old = atomic_fetch_xor_explicit(&table->phase, 1, memory_order_seq_cst) & 1;
		unsigned round = 0;

		while (atomic_load_explicit(&table->overflow[old], memory_order_seq_cst))
			back_off(&round);
	}
	s2_mutex_unlock(&table->overflow_lock);
}

static bool overflowing(struct s2_inflight *table)
{
	return atomic_load_explicit(&table->overflow[0], memory_order_seq_cst) ||
	       atomic_load_explicit(&table->overflow[1], memory_order_seq_cst);
}

static void await_left(struct s2_inflight *table, const struct s2_inflight_seen *seen, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		unsigned round = 0;

		while (seq_of(&table->entries[seen[i].index]) == seen[i].seq)
			back_off(&round);
	}
}

/*
 * All are looked at before the first is waited for, so that nobody who comes
 * meanwhile is: whoever holds that one may be waiting for us. As many as fit on
 * the stack, which is the whole table unless it was made larger.
 */
void s2_inflight_wait(struct s2_inflight *table, uint64_t start, uint64_t end)
{
	struct s2_inflight_seen seen[S2_INFLIGHT_DEFAULT];
	unsigned nr_seen = 0;

	/* Barrier D: our publication in the index before the look at the entries. Pairs with C. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0, nr = nr_used(table); i < nr; i++) {
		uint64_t seq = seq_of(&table->entries[i]);

		if (!occupant_overlaps(&table->entries[i], seq, start, end))
			continue;
		if (nr_seen == S2_INFLIGHT_DEFAULT) {
			await_left(table, seen, nr_seen);
			nr_seen = 0;
		}
		seen[nr_seen++] = (struct s2_inflight_seen){ i, seq };
	}
	await_left(table, seen, nr_seen);
	if (overflowing(table) && !S2_MUTANT(OVERFLOW_NOT_WAITED_FOR))
		wait_for_overflow(table);
}

bool s2_inflight_owned(struct s2_inflight *table, uint64_t start, uint64_t end)
{
	uintptr_t self = s2_thread_self();

	for (unsigned i = 0, nr = nr_used(table); i < nr; i++) {
		struct s2_inflight_entry *entry = &table->entries[i];

		if (atomic_load_explicit(&entry->owner, memory_order_relaxed) == self &&
		    occupant_overlaps(entry, seq_of(entry), start, end) &&
		    atomic_load_explicit(&entry->owner, memory_order_relaxed) == self)
			return true;
	}
	return owns_overflow(table);
}

bool s2_inflight_covers(struct s2_inflight *table, uint64_t start, uint64_t end)
{
	for (unsigned i = 0, nr = nr_used(table); i < nr; i++) {
		struct s2_inflight_entry *entry = &table->entries[i];

		if (occupant_overlaps(entry, seq_of(entry), start, end))
			return true;
	}
	return overflowing(table);
}

void s2_inflight_grace_begin(struct s2_inflight *table)
{
	/* As barrier D: what was replaced is out of reach before we look who may hold it. */
	atomic_thread_fence(memory_order_seq_cst);
	table->nr_seen = 0;
	for (unsigned i = 0, nr = nr_used(table); i < nr; i++) {
		uint64_t seq = seq_of(&table->entries[i]);

		if (seq & S2_INFLIGHT_OCCUPIED)
			table->seen[table->nr_seen++] = (struct s2_inflight_seen){ i, seq };
	}
	table->overflow_seen[0] = true;
	table->overflow_seen[1] = true;
}

/*
 * New arrivals may keep the count they go to from ever being zero: send them to
 * the other, once that has been. Not while a waiter does the same.
 */
static void turn_phase(struct s2_inflight *table)
{
	uint32_t now = atomic_load_explicit(&table->phase, memory_order_relaxed) & 1;

	if (!table->overflow_seen[now] || table->overflow_seen[!now])
		return;
	if (!s2_mutex_trylock(&table->overflow_lock))
		return;
	atomic_fetch_xor_explicit(&table->phase, 1, memory_order_seq_cst);
	s2_mutex_unlock(&table->overflow_lock);
}

bool s2_inflight_grace_passed(struct s2_inflight *table)
{
	while (table->nr_seen) {
		struct s2_inflight_seen *last = &table->seen[table->nr_seen - 1];

		if (seq_of(&table->entries[last->index]) == last->seq)
			return false;
		table->nr_seen--;
	}
	/* Each of the two counts has to be seen at zero once; not both at the same time. */
	for (unsigned i = 0; i < 2; i++)
		if (atomic_load_explicit(&table->overflow[i], memory_order_seq_cst) == 0)
			table->overflow_seen[i] = false;
	turn_phase(table);
	return !table->overflow_seen[0] && !table->overflow_seen[1];
}

static void add_entry_stats(struct s2_inflight_entry *entry, struct s2_mm_stats *stats)
{
	/* Before the sequence, which raises them first: the differences do not go below zero. */
	uint64_t not_elided = atomic_load_explicit(&entry->not_elided, memory_order_acquire);
	uint64_t not_counted = atomic_load_explicit(&entry->not_counted, memory_order_acquire);
	uint64_t invalidations = (seq_of(entry) + 1) / 2 - not_counted;

	stats->invalidations += invalidations;
	stats->elided += invalidations - not_elided;
	stats->mmu_lock_acquired += atomic_load_explicit(&entry->mmu_locks, memory_order_relaxed);
}

void s2_inflight_stats(struct s2_inflight *table, struct s2_mm_stats *stats)
{
	for (unsigned i = 0, nr = nr_used(table); i < nr; i++)
		add_entry_stats(&table->entries[i], stats);
	stats->overflows +=
		atomic_load_explicit(&table->overflow_invalidations, memory_order_relaxed);
	stats->invalidations +=
		atomic_load_explicit(&table->overflow_invalidations, memory_order_relaxed);
	stats->elided += atomic_load_explicit(&table->overflow_elided, memory_order_relaxed);
	stats->mmu_lock_acquired +=
		atomic_load_explicit(&table->overflow_mmu_locks, memory_order_relaxed);
}
