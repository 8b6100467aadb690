/* SPDX-License-Identifier: MIT */
/* The table of invalidations in flight: all but the hot path, which is in the header. */
#include "mm/inflight.h"

#include "base/alloc.h"
#include "base/arch.h"
#include "base/mutant.h"
#include "base/schedule.h"

#include <errno.h>
#include <time.h>

__thread unsigned s2_inflight_home;

/* Where the thread's last pair inside another was; as s2_inflight_home, no index of its own. */
static __thread unsigned nested_home;

/* How far from where it should be a thread looks for an entry to be at home in. */
#define HOMES_TRIED 4

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

static bool is_home(struct s2_inflight_entry *entry)
{
	return __atomic_load_n(&entry->owner, __ATOMIC_RELAXED) == s2_thread_self();
}

/*
 * A home for a thread that has none: that of a thread that has ended and was where this one
 * is, or threads that come and go would leave no entry without an owner. Else the tables' entries
 * in turn, so that threads settle on lines of their own, and few threads use few entries. The
 * same in every table, hence counted from 1 in thread-local storage.
 */
static unsigned choose_home(struct s2_inflight *table)
{
	unsigned used = atomic_load_explicit(&table->used, memory_order_relaxed);

	for (unsigned at = 0; at < used; at++)
		if (is_home(&table->entries[at]))
			return at + 1 + table->mask;
	return (atomic_fetch_add_explicit(&table->next_home, 1, memory_order_relaxed) & table->mask) +
	       1 + table->mask;
}

/* An entry has one owner for ever: what the owner finds there by itself it can rely on. */
static bool become_owner(struct s2_inflight *table, struct s2_inflight_entry *entry)
{
	uintptr_t nobody = 0;

	if (is_home(entry))
		return true;
	if (__atomic_load_n(&entry->owner, __ATOMIC_RELAXED) ||
	    !__atomic_compare_exchange_n(&entry->owner, &nobody, s2_thread_self(), false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return false;
	atomic_fetch_add_explicit(&table->owned, 1, memory_order_relaxed);
	return true;
}

/* One of @nr from @home on that is the thread's, or becomes it. */
static struct s2_inflight_entry *settle_near(struct s2_inflight *table, unsigned home, unsigned nr)
{
	for (unsigned i = 0; i < nr && i <= table->mask; i++) {
		unsigned at = (home + i) & table->mask;

		extend_used(table, at);
		if (!become_owner(table, &table->entries[at]))
			continue;
		s2_inflight_home = home + i;
		return &table->entries[at];
	}
	return NULL;
}

/*
 * The entry where the thread is at home in this table, which it may have to look for: the home
 * it has in another table may be somebody else's here, and so may all around it be; then where
 * nobody has been yet. NULL: there is none for it, as where more threads have come than
 * there are entries; then each look is at a line that others write, and one is enough.
 */
static struct s2_inflight_entry *settle(struct s2_inflight *table)
{
	unsigned home = s2_inflight_home ? s2_inflight_home : choose_home(table);
	unsigned used = atomic_load_explicit(&table->used, memory_order_relaxed);
	bool full = atomic_load_explicit(&table->owned, memory_order_relaxed) > table->mask;
	struct s2_inflight_entry *entry = settle_near(table, home, full ? 1 : HOMES_TRIED);

	if (!entry && used <= table->mask)
		entry = settle_near(table, used + 1 + table->mask, HOMES_TRIED);
	if (!entry)
		s2_inflight_home = home;
	return entry;
}

/* A look first: an attempt would take the line from whoever is there. */
static bool try_claim(struct s2_inflight_entry *entry, uint64_t word)
{
	return !__atomic_load_n(&entry->word, __ATOMIC_RELAXED) && s2_inflight_claim(entry, word);
}

/*
 * Says which range, after the claim: who looks in between waits for it. Barrier C was
 * the claim; that the range comes after it is harmless.
 */
static void fill(struct s2_invalidation *inv, struct s2_inflight_entry *entry, uint64_t borrowed,
		 uint64_t start, uint64_t end)
{
	uint64_t word = S2_INFLIGHT_LONG;

	inv->entry = entry;
	s2_schedule_point(S2_STEP_START_CLAIMED);
	/*
	 * Release, all of these: who finds one of them, with acquire, finds the sequence that
	 * tells whose it is. The last pairs with word_of(): who sees it sees the others.
	 */
	if (borrowed)
		__atomic_store_n(&entry->borrower, s2_thread_self(), __ATOMIC_RELEASE);
	if (s2_inflight_fits(start, end)) {
		word = s2_inflight_word(start, end);
	} else {
		__atomic_store_n(&entry->start, start, __ATOMIC_RELEASE);
		__atomic_store_n(&entry->end, end, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&entry->word, word | borrowed, __ATOMIC_RELEASE);
}

/*
 * Any free entry. For a pair inside another it is looked for from beside where the last
 * nested one was, which is free as a rule, however many are open around it: below
 * it first, or the thread would wander through the table, and whoever looks through that with it.
 * A thread that is at home nowhere stays where it was let in.
 */
static struct s2_inflight_entry *borrow(struct s2_inflight *table, bool nested)
{
	unsigned home = s2_inflight_home;
	unsigned from = !nested ? home : nested_home > home + 1 ? nested_home - 1 : home + 1;

	for (unsigned i = 0; i <= table->mask; i++) {
		unsigned at = (from + i) & table->mask;
		struct s2_inflight_entry *entry = &table->entries[at];

		extend_used(table, at);
		if (!try_claim(entry, S2_INFLIGHT_CLAIMED | S2_INFLIGHT_BORROWED))
			continue;
		if (nested)
			nested_home = from + i;
		else
			s2_inflight_home = from + i;
		return entry;
	}
	return NULL;
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
 * Beyond the table. What the claim of an entry does for a range, this does for all
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

void s2_inflight_enter(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t start,
		       uint64_t end)
{
	struct s2_inflight_entry *entry = settle(table);
	uint64_t borrowed = 0;

	if (!entry || !try_claim(entry, S2_INFLIGHT_CLAIMED)) {
		entry = borrow(table, entry);
		borrowed = S2_INFLIGHT_BORROWED;
	}
	if (entry)
		fill(inv, entry, borrowed, start, end);
	else
		overflow_enter(table, inv, start, end);
}

static void overflow_leave(struct s2_inflight *table, struct s2_invalidation *inv)
{
	leave_owner_place(table, inv->owner_slot);
	/* Release: as those in s2_inflight_leave_entry(). */
	atomic_fetch_sub_explicit(&table->overflow[inv->overflow], 1, memory_order_release);
}

void s2_inflight_leave(struct s2_inflight *table, struct s2_invalidation *inv)
{
	if (inv->entry)
		s2_inflight_leave_entry(inv->entry);
	else
		overflow_leave(table, inv);
}

static void range_of(struct s2_inflight_entry *entry, uint64_t word, uint64_t *start, uint64_t *end)
{
	if (word & S2_INFLIGHT_LONG) {
		*start = __atomic_load_n(&entry->start, __ATOMIC_ACQUIRE);
		*end = __atomic_load_n(&entry->end, __ATOMIC_ACQUIRE);
		return;
	}
	*start = word >> S2_INFLIGHT_LENGTH_BITS << S2_PAGE_SHIFT;
	*end = *start + (word & ((UINT64_C(1) << S2_INFLIGHT_LENGTH_BITS) - S2_PAGE_SIZE));
}

void s2_inflight_range(const struct s2_invalidation *inv, uint64_t *start, uint64_t *end)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (entry) {
		range_of(entry, __atomic_load_n(&entry->word, __ATOMIC_RELAXED), start, end);
		return;
	}
	*start = inv->start;
	*end = inv->end;
}

/* The occupant's own, and anybody may read it. */
static void count(uint64_t *counter, uint64_t n)
{
	/* Release pairs with add_entry_stats(): the claim comes before. */
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELEASE);
}

void s2_inflight_account(struct s2_inflight *table, struct s2_invalidation *inv, bool elided,
			 uint64_t mmu_locks)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (entry) {
		count(&entry->not_elided, !elided);
		count(&entry->mmu_locks, mmu_locks);
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
		count(&entry->not_counted, 1);
}

void s2_inflight_account_locks(struct s2_inflight *table, struct s2_invalidation *inv, uint64_t n)
{
	struct s2_inflight_entry *entry = inv->entry;

	if (entry)
		count(&entry->mmu_locks, n);
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

/* Both acquire: pair with the releases of s2_inflight_leave_entry() and of fill(). */
static uint64_t seq_of(struct s2_inflight_entry *entry)
{
	return __atomic_load_n(&entry->seq, __ATOMIC_ACQUIRE);
}

static uint64_t word_of(struct s2_inflight_entry *entry)
{
	return __atomic_load_n(&entry->word, __ATOMIC_ACQUIRE);
}

/*
 * The word of the occupant that is to raise the sequence from @seq, once it says which range
 * that is: a few stores after the claim, unless the thread was preempted there. 0 if there
 * is none, or none any more. The sequence was read before: the word that is seen then is not of an
 * earlier one, but for the moment between the two stores of who leaves, when it is
 * of one that is gone. That one may then be taken for the next.
 */
static uint64_t await_word(struct s2_inflight_entry *entry, uint64_t seq)
{
	unsigned round = 0;

	for (;;) {
		uint64_t word = word_of(entry);

		if (!(word & S2_INFLIGHT_CLAIMED))
			return word;
		if (seq_of(entry) != seq || S2_MUTANT(CLAIM_NOT_AWAITED))
			return 0;
		back_off(&round);
	}
}

/* Does @word's range overlap, of the occupant that is to raise the sequence from @seq? */
static bool word_overlaps(struct s2_inflight_entry *entry, uint64_t seq, uint64_t word,
			  uint64_t start, uint64_t end)
{
	uint64_t its_start, its_end;

	range_of(entry, word, &its_start, &its_end);
	/* What was read since is of that occupant only if it is still there. */
	return seq_of(entry) == seq && its_start < end && start < its_end;
}

static bool occupant_overlaps(struct s2_inflight_entry *entry, uint64_t seq, uint64_t start,
			      uint64_t end)
{
	uint64_t word = await_word(entry, seq);

	return word && word_overlaps(entry, seq, word, start, end);
}

/* The same, and of the calling thread, whose own are never without their range. */
static bool own_overlaps(struct s2_inflight_entry *entry, uint64_t start, uint64_t end)
{
	uint64_t seq = seq_of(entry), word = word_of(entry);
	uintptr_t *occupant = word & S2_INFLIGHT_BORROWED ? &entry->borrower : &entry->owner;

	return word && !(word & S2_INFLIGHT_CLAIMED) &&
	       __atomic_load_n(occupant, __ATOMIC_ACQUIRE) == s2_thread_self() &&
	       word_overlaps(entry, seq, word, start, end);
}

/*
 * By its number, or by its range: who was noted between the two stores of who leaves has the
 * number of the next one, which may never be waited for if its range is none of ours.
 */
static bool has_left(struct s2_inflight *table, const struct s2_inflight_seen *seen)
{
	struct s2_inflight_entry *entry = &table->entries[seen->index];
	uint64_t word = word_of(entry);

	return seq_of(entry) != seen->seq || !word ||
	       (word != seen->word && !(seen->word & S2_INFLIGHT_CLAIMED));
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

		while (!has_left(table, &seen[i]))
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
		struct s2_inflight_entry *entry = &table->entries[i];
		uint64_t seq, word;

		/* First: with its occupant we see the sequence that the last one left. */
		if (!word_of(entry))
			continue;
		seq = seq_of(entry);
		word = await_word(entry, seq);
		if (!word || !word_overlaps(entry, seq, word, start, end))
			continue;
		if (nr_seen == S2_INFLIGHT_DEFAULT) {
			await_left(table, seen, nr_seen);
			nr_seen = 0;
		}
		seen[nr_seen++] = (struct s2_inflight_seen){ i, seq, word };
	}
	await_left(table, seen, nr_seen);
	if (overflowing(table) && !S2_MUTANT(OVERFLOW_NOT_WAITED_FOR))
		wait_for_overflow(table);
}

bool s2_inflight_owned(struct s2_inflight *table, uint64_t start, uint64_t end)
{
	for (unsigned i = 0, nr = nr_used(table); i < nr; i++)
		if (own_overlaps(&table->entries[i], start, end))
			return true;
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
		struct s2_inflight_entry *entry = &table->entries[i];
		uint64_t seq, word;

		/* First: as in s2_inflight_wait(). */
		if (!word_of(entry))
			continue;
		seq = seq_of(entry);
		word = word_of(entry);
		if (word)
			table->seen[table->nr_seen++] = (struct s2_inflight_seen){ i, seq, word };
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
		if (!has_left(table, &table->seen[table->nr_seen - 1]))
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
	/* Before the sequence, which is raised after them: the differences do not go below zero. */
	uint64_t not_elided = __atomic_load_n(&entry->not_elided, __ATOMIC_ACQUIRE);
	uint64_t not_counted = __atomic_load_n(&entry->not_counted, __ATOMIC_ACQUIRE);
	/* The occupant too; one that is just leaving may be counted twice for the moment. */
	bool occupied = word_of(entry);
	uint64_t invalidations = seq_of(entry) + occupied - not_counted;

	stats->invalidations += invalidations;
	stats->elided += invalidations - not_elided;
	stats->mmu_lock_acquired += __atomic_load_n(&entry->mmu_locks, __ATOMIC_RELAXED);
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
