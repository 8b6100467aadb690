/* SPDX-License-Identifier: MIT */
/* The batches of batch.h. */
#include "batch.h"

#include "pool/tier.h"

#include <string.h>

unsigned batch_store(struct batch *batch, struct s2_pool_tier *tier, enum page_kind kind,
		     uint64_t number, unsigned n)
{
	const void *pages[S2_POOL_BATCH] = { 0 };
	unsigned stored = 0;

	for (unsigned i = 0; i < n; i++) {
		batch->numbers[i] = number + i;
		page_make(kind, number + i, batch->pages[i]);
		pages[i] = batch->pages[i];
	}
	s2_pool_tier_store_many(tier, n, pages, batch->slots, batch->results);
	for (unsigned i = 0; i < n; i++)
		stored += !batch->results[i];
	return stored;
}

unsigned batch_load(struct batch *batch, struct s2_pool_tier *tier, enum page_kind kind, unsigned n)
{
	void *pages[S2_POOL_BATCH] = { 0 };
	unsigned whole = 0;

	memset(batch->pages, 0x5a, sizeof(batch->pages));
	for (unsigned i = 0; i < n; i++)
		pages[i] = batch->pages[i];
	s2_pool_tier_load_many(tier, n, batch->slots, pages, batch->results);
	for (unsigned i = 0; i < n; i++)
		whole += !batch->results[i] && page_is(kind, batch->numbers[i], batch->pages[i]);
	return whole;
}
