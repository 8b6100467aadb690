/* SPDX-License-Identifier: MIT */
/* Keeping the filter's bits in step with the memslots. */
#include "mm/hva_filter.h"

#include "base/alloc.h"

#include <errno.h>

/* A memslot of more chunks than this would set nearly every bit, at a cost. */
#define MOST_CHUNKS S2_FILTER_BITS

int s2_hva_filter_init(struct s2_hva_filter *filter, const struct s2_allocator *a)
{
	filter->bits = s2_zalloc(a, S2_FILTER_BITS / 8, 64);
	filter->users = s2_zalloc(a, S2_FILTER_BITS * sizeof(*filter->users), 64);
	if (filter->bits && filter->users)
		return 0;
	s2_hva_filter_free(filter, a);
	return -ENOMEM;
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

/* Relaxed throughout: barrier D comes between these stores and the wait that relies on them. */
void s2_hva_filter_add(struct s2_hva_filter *filter, uint64_t start, uint64_t end)
{
	struct chunks chunks = chunks_of(start, end);

	if (chunks.nr > MOST_CHUNKS) {
		if (!filter->unbounded++)
			for (unsigned i = 0; i < S2_FILTER_BITS / 64; i++)
				atomic_store_explicit(&filter->bits[i], UINT64_MAX,
						      memory_order_relaxed);
		return;
	}
	for (uint64_t i = 0; i < chunks.nr; i++) {
		unsigned bit = s2_hva_filter_hash(chunks.first + i);

		if (!filter->users[bit]++)
			atomic_fetch_or_explicit(&filter->bits[bit / 64], UINT64_C(1) << (bit % 64),
						 memory_order_relaxed);
	}
}

static void clear_unused(struct s2_hva_filter *filter)
{
	for (unsigned bit = 0; bit < S2_FILTER_BITS; bit++)
		if (!filter->users[bit])
			atomic_fetch_and_explicit(&filter->bits[bit / 64],
						  ~(UINT64_C(1) << (bit % 64)), memory_order_relaxed);
}

void s2_hva_filter_remove(struct s2_hva_filter *filter, uint64_t start, uint64_t end)
{
	struct chunks chunks = chunks_of(start, end);

	if (chunks.nr > MOST_CHUNKS) {
		if (!--filter->unbounded)
			clear_unused(filter);
		return;
	}
	for (uint64_t i = 0; i < chunks.nr; i++) {
		unsigned bit = s2_hva_filter_hash(chunks.first + i);

		if (!--filter->users[bit] && !filter->unbounded)
			atomic_fetch_and_explicit(&filter->bits[bit / 64],
						  ~(UINT64_C(1) << (bit % 64)), memory_order_relaxed);
	}
}
