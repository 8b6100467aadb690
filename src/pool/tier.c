/* SPDX-License-Identifier: MIT */
/*
 * Batches of pages to any tier. A tier is a stranger: what it says nothing about is an
 * error, and so is a slot that a page's word has no room for.
 */
#include "pool/tier.h"

#include <errno.h>

static void check_slot(struct s2_pool_tier *tier, uint64_t slot, int *result)
{
	if (*result || !(slot >> S2_POOL_SLOT_BITS))
		return;
	tier->ops->drop(tier, slot);
	*result = -EIO;
}

/* Who is full is not asked for the rest. */
static void store_one_by_one(struct s2_pool_tier *tier, unsigned n, const void *const pages[],
			     uint64_t slots[], int results[])
{
	int ret = 0;

	for (unsigned i = 0; i < n; i++) {
		if (ret != -ENOSPC)
			ret = tier->ops->store(tier, pages[i], &slots[i]);
		results[i] = ret;
	}
}

void s2_pool_tier_store_many(struct s2_pool_tier *tier, unsigned n, const void *const pages[],
			     uint64_t slots[], int results[])
{
	for (unsigned i = 0; i < n; i++) {
		slots[i] = 0;
		results[i] = -EIO;
	}
	if (tier->ops->store_many)
		tier->ops->store_many(tier, n, pages, slots, results);
	else
		store_one_by_one(tier, n, pages, slots, results);
	for (unsigned i = 0; i < n; i++)
		check_slot(tier, slots[i], &results[i]);
}

void s2_pool_tier_load_many(struct s2_pool_tier *tier, unsigned n, const uint64_t slots[],
			    void *const pages[], int results[])
{
	for (unsigned i = 0; i < n; i++)
		results[i] = -EIO;
	if (tier->ops->load_many)
		tier->ops->load_many(tier, n, slots, pages, results);
	else
		for (unsigned i = 0; i < n; i++)
			results[i] = tier->ops->load(tier, slots[i], pages[i]);
}
