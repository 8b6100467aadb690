/* SPDX-License-Identifier: MIT */
/*
 * A tier around a tier, through which torture has things go wrong. There is weather, the same
 * for all tiers of a pool and changed by a thread every few milliseconds: so what needs many
 * calls in a row to go well, a collapse for instance, has its time, and so has what needs all
 * of them to fail.
 */
#ifndef STAGE2_TOOLS_TORTURE_POOL_TIER_H
#define STAGE2_TOOLS_TORTURE_POOL_TIER_H

#include <stage2/pool.h>

/*
 * FLAKY: calls fail; what is loaded is damaged, or another page. It is whole the next time.
 * SLOW:  calls take a while.
 * FULL:  no tier takes anything, so that the pool may run out of memory.
 */
enum torture_weather { WEATHER_FINE, WEATHER_FLAKY, WEATHER_SLOW, WEATHER_FULL };

/* @percent: of the calls. The counts are of what went wrong. */
struct torture_pool_weather {
	uint64_t now;
	unsigned int percent;
	uint64_t faults;
	uint64_t full;
	uint64_t delays;
};

/* @used: slots stored and not dropped. */
struct torture_pool_tier {
	struct s2_pool_tier tier;
	struct s2_pool_tier *inner;
	struct torture_pool_weather *weather;
	uint64_t random;
	uint64_t used;
};

/* @inner belongs to it from here on, and it belongs to the pool. */
void torture_pool_tier_init(struct torture_pool_tier *tier, struct s2_pool_tier *inner,
			    struct torture_pool_weather *weather, uint64_t seed);

#endif
