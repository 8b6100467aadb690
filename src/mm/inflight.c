/* SPDX-License-Identifier: MIT */
/* The table of invalidations in flight: all but the hot path, which is in the header. */
#include "mm/inflight.h"

#include "base/alloc.h"

#include <errno.h>
#include <time.h>

_Thread_local unsigned s2_inflight_home;

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

static uint32_t hash_thread(uintptr_t thread)
{
	/* Thread control blocks are far apart and aligned: the middle bits differ. */
	return (uint32_t)((thread * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

/*
 * Looks for a free entry from the thread's home on. A home that another thread
 * sits on is given up for what was found, so that threads settle on lines of
 * their own; a nested pair of one's own is no reason to move.
 */
struct s2_inflight_entry *s2_inflight_claim_slow(struct s2_inflight *table, uint64_t start)
{
	uintptr_t self = s2_thread_self();
	unsigned home = s2_inflight_home;
	unsigned from = home ? home : hash_thread(self);

	for (unsigned i = 0; i <= table->mask; i++) {
		unsigned at = from + i;

		if (!s2_inflight_try(&table->entries[at & table->mask], start))
			continue;
		if (!home || atomic_load_explicit(&table->entries[home & table->mask].owner,
						  memory_order_relaxed) != self)
			s2_inflight_home = at ? at : table->mask + 1;
		return &table->entries[at & table->mask];
	}
	return NULL;
}

/*
 * Beyond the table. What s2_inflight_enter() does for a range, this does for all
 * ranges at once: the increment is barrier C. It may go to the count a waiter is
 * draining, if that turned @phase just now; the waiter then waits for it once.
 */
void s2_inflight_overflow_enter(struct s2_inflight *table, struct s2_invalidation *inv)
{
	inv->entry = NULL;
	inv->owner_slot = hash_thread(s2_thread_self()) % S2_INFLIGHT_OWNERS;
	inv->overflow = atomic_load_explicit(&table->phase, memory_order_relaxed) & 1;
	atomic_fetch_add_explicit(&table->overflow_owners[inv->owner_slot], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&table->overflow[inv->overflow], 1, memory_order_seq_cst);
}

void s2_inflight_overflow_leave(struct s2_inflight *table, struct s2_invalidation *inv)
{
	atomic_fetch_sub_explicit(&table->overflow_owners[inv->owner_slot], 1, memory_order_relaxed);
	/* Release: as the one of @seq in s2_inflight_leave(). */
	atomic_fetch_sub_explicit(&table->overflow[inv->overflow], 1, memory_order_release);
}

void s2_inflight_account_locks(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t n)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (entry)
		s2_inflight_count(&entry->mmu_locks, n);
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

/* Does the occupant of turn @seq overlap? If it leaves meanwhile: no. */
static bool occupant_overlaps(struct s2_inflight_entry *entry, uint64_t seq, uint64_t start,
			      uint64_t end)
{
	uint64_t its_start = atomic_load_explicit(&entry->start, memory_order_acquire);
	uint64_t its_end;

	if (!its_start)
		return false;
	/* Claimed, its end not yet visible: a store away, unless the thread was preempted there. */
	for (unsigned round = 0;;) {
		its_end = atomic_load_explicit(&entry->end, memory_order_acquire);
		if (its_end)
			break;
		if (seq_of(entry) != seq)
			return false;
		back_off(&round);
	}
	return seq_of(entry) == seq && (its_start & ~S2_INFLIGHT_OCCUPIED) < end && start < its_end;
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

void s2_inflight_wait(struct s2_inflight *table, uint64_t start, uint64_t end)
{
	/* Barrier D: our publication in the index before the look at the entries. Pairs with C. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i <= table->mask; i++) {
		struct s2_inflight_entry *entry = &table->entries[i];
		uint64_t seq = seq_of(entry);
		unsigned round = 0;

		if (!occupant_overlaps(entry, seq, start, end))
			continue;
		while (seq_of(entry) == seq)
			back_off(&round);
	}
	if (overflowing(table))
		wait_for_overflow(table);
}

bool s2_inflight_owned(struct s2_inflight *table, uint64_t start, uint64_t end)
{
	uintptr_t self = s2_thread_self();

	for (unsigned i = 0; i <= table->mask; i++) {
		struct s2_inflight_entry *entry = &table->entries[i];

		if (atomic_load_explicit(&entry->owner, memory_order_relaxed) == self &&
		    occupant_overlaps(entry, seq_of(entry), start, end) &&
		    atomic_load_explicit(&entry->owner, memory_order_relaxed) == self)
			return true;
	}
	return atomic_load_explicit(
		       &table->overflow_owners[hash_thread(self) % S2_INFLIGHT_OWNERS],
		       memory_order_relaxed) != 0;
}

void s2_inflight_grace_begin(struct s2_inflight *table)
{
	/* As barrier D: what was replaced is out of reach before we look who may hold it. */
	atomic_thread_fence(memory_order_seq_cst);
	table->nr_seen = 0;
	for (unsigned i = 0; i <= table->mask; i++) {
		uint64_t seq = seq_of(&table->entries[i]);

		if (atomic_load_explicit(&table->entries[i].start, memory_order_acquire))
			table->seen[table->nr_seen++] = (struct s2_inflight_seen){ i, seq };
	}
	table->overflow_seen[0] = true;
	table->overflow_seen[1] = true;
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
	return !table->overflow_seen[0] && !table->overflow_seen[1];
}

void s2_inflight_stats(struct s2_inflight *table, struct s2_mm_stats *stats)
{
	for (unsigned i = 0; i <= table->mask; i++) {
		struct s2_inflight_entry *entry = &table->entries[i];

		stats->invalidations +=
			atomic_load_explicit(&entry->invalidations, memory_order_relaxed);
		stats->elided += atomic_load_explicit(&entry->elided, memory_order_relaxed);
		stats->mmu_lock_acquired +=
			atomic_load_explicit(&entry->mmu_locks, memory_order_relaxed);
	}
	stats->overflows +=
		atomic_load_explicit(&table->overflow_invalidations, memory_order_relaxed);
	stats->invalidations +=
		atomic_load_explicit(&table->overflow_invalidations, memory_order_relaxed);
	stats->elided += atomic_load_explicit(&table->overflow_elided, memory_order_relaxed);
	stats->mmu_lock_acquired +=
		atomic_load_explicit(&table->overflow_mmu_locks, memory_order_relaxed);
}
