/* SPDX-License-Identifier: MIT */
/* Keeping the filter's bits in step with the memslots. */
#include "mm/hva_filter.h"

#include "base/alloc.h"

#include <errno.h>

/* A memslot of more chunks than this would set every bit, and some twice. */
#define MOST_CHUNKS S2_FILTER_BITS

static void set_all_bits(struct s2_hva_filter *filter)
{
	for (unsigned i = 0; i < S2_FILTER_BITS / 64; i++)
		__atomic_store_n(&filter->bits[i], UINT64_MAX, __ATOMIC_RELAXED);
}

int s2_hva_filter_init(struct s2_hva_filter *filter, const struct s2_allocator *a)
{
	filter->bits = s2_zalloc(a, S2_FILTER_BITS / 8, 64);
	filter->users = s2_zalloc(a, S2_FILTER_BITS * sizeof(*filter->users), 64);
	if (filter->bits && filter->users)
		return 0;
	s2_hva_filter_free(filter, a);
	return -ENOMEM;
}

int s2_hva_filter_init_full(struct s2_hva_filter *filter, const struct s2_allocator *a)
{
	filter->users = NULL;
	filter->bits = s2_zalloc(a, S2_FILTER_BITS / 8, 64);
	if (!filter->bits)
		return -ENOMEM;
	set_all_bits(filter);
	return 0;
}

void s2_hva_filter_free(struct s2_hva_filter *filter, const struct s2_allocator *a)
{
	s2_free(a, filter->bits);
	s2_free(a, filter->users);
	*filter = (struct s2_hva_filter){ 0 };
}

struct chunks {
	uint64_t first;
	uint64_t nr;
};

static struct chunks chunks_of(uint64_t start, uint64_t end)
{
	uint64_t first = start >> S2_FILTER_CHUNK_SHIFT;

	return (struct chunks){ first, ((end - 1) >> S2_FILTER_CHUNK_SHIFT) - first + 1 };
}

/*
 * One writer at a time, so no atomic operation but the store. Relaxed for setting:
 * barrier D comes between that and the wait that relies on it. Release for
 * clearing: who is elided because of it comes after the zap that went before.
 */
static void set_bit(struct s2_hva_filter *filter, unsigned bit, bool value)
{
	uint64_t *word = &filter->bits[bit / 64];
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
	uint64_t mask = UINT64_C(1) << (bit % 64);

	if (value)
		__atomic_store_n(word, old | mask, __ATOMIC_RELAXED);
	else
		__atomic_store_n(word, old & ~mask, __ATOMIC_RELEASE);
}

void s2_hva_filter_add(struct s2_hva_filter *filter, uint64_t start, uint64_t end)
{
	struct chunks chunks = chunks_of(start, end);

	if (chunks.nr > MOST_CHUNKS) {
		if (!filter->unbounded++)
			set_all_bits(filter);
		return;
	}
	for (uint64_t i = 0; i < chunks.nr; i++) {
		unsigned bit = (chunks.first + i) & (S2_FILTER_BITS - 1);

		if (filter->users[bit] < UINT16_MAX && !filter->users[bit]++)
			set_bit(filter, bit, true);
	}
}

void s2_hva_filter_remove(struct s2_hva_filter *filter, uint64_t start, uint64_t end)
{
	struct chunks chunks = chunks_of(start, end);

	if (chunks.nr > MOST_CHUNKS) {
		if (--filter->unbounded)
			return;
		for (unsigned bit = 0; bit < S2_FILTER_BITS; bit++)
			set_bit(filter, bit, filter->users[bit]);
		return;
	}
	for (uint64_t i = 0; i < chunks.nr; i++) {
		unsigned bit = (chunks.first + i) & (S2_FILTER_BITS - 1);

		if (filter->users[bit] < UINT16_MAX && !--filter->users[bit] && !filter->unbounded)
			set_bit(filter, bit, false);
	}
}
