/* SPDX-License-Identifier: MIT */
/*
 * The inline half of notifier.h: the pair that is elided, which is nearly every one.
 * A call and its way back cost as much as what it would do. Not an interface of its
 * own; what is not documented in notifier.h may change with any release.
 *
 * Each start() publishes its range in the table of invalidations in flight
 * (src/mm/inflight.h has the rest of it and the reasons) and then looks whether there
 * may be a memslot in it; end() takes the range back. What keeps that free of locks and
 * of shared lines: the entry is this thread's own, and the rest is written by memslot updates only.
 */
#ifndef STAGE2_NOTIFIER_INLINE_H
#define STAGE2_NOTIFIER_INLINE_H

#include <stage2/notifier.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Two cache lines, of which an elided pair of a thread at home touches the first; written by
 * the entry's occupant alone once it is claimed, which keeps the pair from sharing a written line with
 * another thread's. Each store has to be done before the next claim, which is a
 * locked instruction, can be; so there are as few as there can.
 *
 * @word:     0 while it is free. Claimed by compare-exchange from 0, so that the processor need
 *            not look up before it begins; if the range fits, and the thread is at
 *            home, then to the range in the same step. S2_INFLIGHT_CLAIMED: its occupant has
 *            still to say which range; S2_INFLIGHT_LONG: in @start and @end, as it
 *            does not fit; S2_INFLIGHT_BORROWED: its occupant is @borrower and not @owner.
 * @seq:      raised by who leaves, before the entry is free, so that who waits for one
 *            occupant need not wait for the next. It is how many there have been.
 * @owner:    the thread that is at home here, from the first to the last: 0, until one is.
 * The rest are statistics, and belong to whoever occupies the entry: occupants that
 * were not elided, that were no invalidation or failed, and mmu_locks they took.
 */
struct s2_inflight_entry {
	uint64_t word;
	uint64_t seq;
	uintptr_t owner;
	uint64_t start __attribute__((aligned(64)));
	uint64_t end;
	uintptr_t borrower;
	uint64_t not_elided;
	uint64_t not_counted;
	uint64_t mmu_locks;
} __attribute__((aligned(64)));

/* A range in a word: its first page above its length, which leaves the lowest 12 bits. */
#define S2_INFLIGHT_LENGTH_BITS 28
#define S2_INFLIGHT_CLAIMED UINT64_C(1)
#define S2_INFLIGHT_LONG UINT64_C(2)
#define S2_INFLIGHT_BORROWED UINT64_C(4)

/* The bits that are zero in both ends of a range that fits. */
#define S2_INFLIGHT_MISFITS (~UINT64_C(0xfffffffff000))

/* Are they multiples of 4 KiB, the second above the first, and fit in a word? */
S2_ALWAYS_INLINE bool s2_inflight_fits(uint64_t start, uint64_t end)
{
	return !((start | end) & S2_INFLIGHT_MISFITS) &&
	       end - start - 1 < (UINT64_C(1) << S2_INFLIGHT_LENGTH_BITS) - 1;
}

S2_ALWAYS_INLINE uint64_t s2_inflight_word(uint64_t start, uint64_t end)
{
	return start << 16 | (end - start);
}

/* False: it is occupied. Else the calling thread is its occupant now. */
S2_ALWAYS_INLINE bool s2_inflight_claim(struct s2_inflight_entry *entry, uint64_t word)
{
	uint64_t unclaimed = 0;

	/*
	 * Sequentially consistent: it is barrier C. Acquire pairs with the release in
	 * s2_inflight_leave_entry(): the last occupant's stores to the entry come before ours.
	 */
	return __atomic_compare_exchange_n(&entry->word, &unclaimed, word, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

S2_ALWAYS_INLINE void s2_inflight_leave_entry(struct s2_inflight_entry *entry)
{
	uint64_t seq = __atomic_load_n(&entry->seq, __ATOMIC_RELAXED);

	/*
	 * Release, both: each by itself tells who waits for this occupant that it has left,
	 * and all that happened in the bracket, and in the snapshot it pinned, comes before. The
	 * second also pairs with the next one's claim, which is to find the new sequence.
	 */
	__atomic_store_n(&entry->seq, seq + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&entry->word, 0, __ATOMIC_RELEASE);
}

#define S2_FILTER_CHUNK_SHIFT 21
#define S2_FILTER_BITS (1u << 18)

S2_ALWAYS_INLINE bool s2_hva_filter_test(const uint64_t *bits, uint64_t chunk)
{
	/* Sequentially consistent: it stands for the look at the index, after barrier C. */
	uint64_t word = __atomic_load_n(&bits[chunk / 64 % (S2_FILTER_BITS / 64)], __ATOMIC_SEQ_CST);

	return word >> chunk % 64 & 1;
}

/* False: no memslot overlaps [@start, @end). True: one may. */
S2_ALWAYS_INLINE bool s2_hva_filter_may_overlap(const uint64_t *bits, uint64_t start, uint64_t end)
{
	uint64_t first = start >> S2_FILTER_CHUNK_SHIFT;
	uint64_t last = (end - 1) >> S2_FILTER_CHUNK_SHIFT;

	if (s2_hva_filter_test(bits, first))
		return true;
	if (first == last)
		return false;
	/* Long ranges gain nothing from being looked up piece by piece. */
	return last - first > 1 || s2_hva_filter_test(bits, last);
}

/*
 * The beginning of a struct s2_mm: what an elided pair looks at. Constant.
 *
 * @entries, @mask: of the table; how many there are, less one.
 * @filter:         mm/hva_filter.h.
 */
struct s2_mm_pairs {
	struct s2_inflight_entry *entries;
	const uint64_t *filter;
	uint64_t mask;
};

/*
 * In which entry, of each table, the thread was last; 0 at first. In thread-local storage that is
 * there from the beginning: this runs inside malloc and in signal handlers.
 */
extern S2_API __thread unsigned s2_inflight_home __attribute__((tls_model("initial-exec")));

/* In the token of a pair that was elided: end() has nothing to do but to leave the table. */
#define S2_TOKEN_UNSEEN 1

/* All cases; and that of a pair whose entry is claimed already, and where there may be a memslot. */
S2_API int s2_invalidate_range_start_slow(struct s2_mm *mm, struct s2_invalidation *inv,
					  uint64_t start, uint64_t end, unsigned flags);
S2_API int s2_invalidate_range_start_claimed(struct s2_mm *mm, struct s2_invalidation *inv,
					     uint64_t start, uint64_t end, unsigned flags);
S2_API void s2_invalidate_range_end_slow(struct s2_mm *mm, struct s2_invalidation *inv);

/*
 * For the compiler to inline; where it does not, or for who calls from another language, they
 * are functions of the library. S2_PAIRS_CALLED: they are nothing else, and all cases slow, in
 * the builds that check rules or break steps of the protocol.
 */
#ifndef S2_PAIRS_CALLED

/* The library defines it as nothing where it makes them functions. */
#ifndef S2_INLINE_PAIR
#define S2_INLINE_PAIR extern inline __attribute__((gnu_inline))
#endif

S2_INLINE_PAIR int s2_invalidate_range_start(struct s2_mm *mm, struct s2_invalidation *inv,
					     uint64_t start, uint64_t end, unsigned flags)
{
	const struct s2_mm_pairs *pairs = (const struct s2_mm_pairs *)mm;
	struct s2_inflight_entry *entry;

	if (__builtin_expect(!mm || !inv || (flags & ~S2_NONBLOCK) || !s2_inflight_fits(start, end),
			     0))
		return s2_invalidate_range_start_slow(mm, inv, start, end, flags);
	entry = &pairs->entries[s2_inflight_home & pairs->mask];
	if (__builtin_expect(__atomic_load_n(&entry->owner, __ATOMIC_RELAXED) !=
				     (uintptr_t)__builtin_thread_pointer() ||
				     !s2_inflight_claim(entry, s2_inflight_word(start, end)),
			     0))
		return s2_invalidate_range_start_slow(mm, inv, start, end, flags);
	inv->entry = entry;
	/* Under the gates that ask each VM the filter says yes to everything. */
	if (__builtin_expect(s2_hva_filter_may_overlap(pairs->filter, start, end), 0))
		return s2_invalidate_range_start_claimed(mm, inv, start, end, flags);
	inv->token = (uintptr_t)mm | S2_TOKEN_UNSEEN;
	return 0;
}

S2_INLINE_PAIR void s2_invalidate_range_end(struct s2_mm *mm, struct s2_invalidation *inv)
{
	struct s2_inflight_entry *entry;

	/* No s2_mm, not even a NULL one, goes with an UNSEEN token but its own. */
	if (__builtin_expect(!inv || inv->token != ((uintptr_t)mm | S2_TOKEN_UNSEEN), 0)) {
		s2_invalidate_range_end_slow(mm, inv);
		return;
	}
	inv->token = 0;
	entry = (struct s2_inflight_entry *)inv->entry;
	/* Where it sees that no start() was, the compiler would warn of what is not done then. */
	__asm__("" : "+r"(entry));
	s2_inflight_leave_entry(entry);
}

#endif

#ifdef __cplusplus
}
#endif

#endif /* STAGE2_NOTIFIER_INLINE_H */
