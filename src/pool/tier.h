/* SPDX-License-Identifier: MIT */
/*
 * Pages to and from a tier, several at once: by its own operations for that, or one by
 * one where it has none.
 */
#ifndef S2_POOL_TIER_H
#define S2_POOL_TIER_H

#include <stage2/pool.h>

/* @n pages, 1 to S2_POOL_BATCH. Of each its slot, if its result is 0. */
void s2_pool_tier_store_many(struct s2_pool_tier *tier, unsigned n, const void *const pages[],
			     uint64_t slots[], int results[]);
void s2_pool_tier_load_many(struct s2_pool_tier *tier, unsigned n, const uint64_t slots[],
			    void *const pages[], int results[]);

#endif /* S2_POOL_TIER_H */
