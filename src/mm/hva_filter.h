/* SPDX-License-Identifier: MIT */
/*
 * A first look for the range gate: which 2 MiB chunks of the address space hold
 * guest memory at all, as a bit each in a bitmap small enough to stay in the
 * cache. It answers most unrelated invalidations in one load, however many
 * memslots there are; the hva index is asked only where a bit is set, by guest
 * memory or by a chunk a multiple of 512 GiB away, with which it shares the bit.
 * No hash spreads the chunks: a process's mappings lie close together, so that
 * neighbours have bits of their own, which a hash would give away.
 *
 * Bits take part in the race of mm/inflight.h as the index does: they are set
 * before the memslot's wait, and cleared after it has left the index.
 */
#ifndef S2_MM_HVA_FILTER_H
#define S2_MM_HVA_FILTER_H

#include <stage2/allocator.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define S2_FILTER_CHUNK_SHIFT 21
#define S2_FILTER_BITS (1u << 18)

/*
 * @bits:      read by every start(); written by memslot updates only.
 * @users:     how many memslots hold a bit set; one that has ever been at its
 *             maximum stays there, and its bit set. Under index_lock.
 * @unbounded: memslots too large to list by chunk; while there are any, every
 *             bit is set. Under index_lock.
 */
struct s2_hva_filter {
	_Atomic uint64_t *bits;
	uint16_t *users;
	uint64_t unbounded;
};

int s2_hva_filter_init(struct s2_hva_filter *filter, const struct s2_allocator *a);
/* One that says yes to everything, for good: where there is no index it stands for. */
int s2_hva_filter_init_full(struct s2_hva_filter *filter, const struct s2_allocator *a);
void s2_hva_filter_free(struct s2_hva_filter *filter, const struct s2_allocator *a);

/* Caller holds index_lock. */
void s2_hva_filter_add(struct s2_hva_filter *filter, uint64_t start, uint64_t end);
void s2_hva_filter_remove(struct s2_hva_filter *filter, uint64_t start, uint64_t end);

static inline bool s2_hva_filter_test(const struct s2_hva_filter *filter, uint64_t chunk)
{
	unsigned bit = chunk & (S2_FILTER_BITS - 1);

	/* Sequentially consistent: it stands for the look at the index, after barrier C. */
	return atomic_load_explicit(&filter->bits[bit / 64], memory_order_seq_cst) &
	       (UINT64_C(1) << (bit % 64));
}

/* False: no memslot overlaps [@start, @end). True: one may. */
static inline bool s2_hva_filter_may_overlap(const struct s2_hva_filter *filter, uint64_t start,
					     uint64_t end)
{
	uint64_t first = start >> S2_FILTER_CHUNK_SHIFT;
	uint64_t last = (end - 1) >> S2_FILTER_CHUNK_SHIFT;

	if (s2_hva_filter_test(filter, first))
		return true;
	if (first == last)
		return false;
	/* Long ranges gain nothing from being looked up piece by piece. */
	return last - first > 1 || s2_hva_filter_test(filter, last);
}

#endif /* S2_MM_HVA_FILTER_H */
