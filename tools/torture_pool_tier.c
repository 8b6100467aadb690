/* SPDX-License-Identifier: MIT */
/*
 * What goes wrong is between the pool and the inner tier: that has each page as it was given,
 * so that in the end every page must be there.
 */
#include "torture_pool_tier.h"

#include "torture_work.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define LONGEST_DELAY_NS 300000u

static struct torture_pool_tier *outer(struct s2_pool_tier *tier)
{
	return (struct torture_pool_tier *)(void *)tier;
}

static void add(uint64_t *counter, uint64_t by)
{
	__atomic_fetch_add(counter, by, __ATOMIC_RELAXED);
}

/* Threads that draw at once draw what they draw. */
static unsigned int draw(struct torture_pool_tier *tier, unsigned int below)
{
	uint64_t state = __atomic_fetch_add(&tier->random, UINT64_C(0x9e3779b97f4a7c15),
					    __ATOMIC_RELAXED);

	return (unsigned int)(torture_random(&state) >> 32) % below;
}

static bool unlucky(struct torture_pool_tier *tier, enum torture_weather in)
{
	return __atomic_load_n(&tier->weather->now, __ATOMIC_RELAXED) == in &&
	       draw(tier, 100) < tier->weather->percent;
}

static void perhaps_delay(struct torture_pool_tier *tier)
{
	struct timespec nap = { 0 };

	if (!unlucky(tier, WEATHER_SLOW))
		return;
	nap.tv_nsec = draw(tier, LONGEST_DELAY_NS);
	nanosleep(&nap, NULL);
	add(&tier->weather->delays, 1);
}

static bool is_full(struct torture_pool_tier *tier, unsigned int n)
{
	if (__atomic_load_n(&tier->weather->now, __ATOMIC_RELAXED) != WEATHER_FULL)
		return false;
	add(&tier->weather->full, n);
	return true;
}

/* What becomes of one page that the inner tier may have stored. */
static void spoil_store(struct torture_pool_tier *tier, uint64_t slot, int *result)
{
	if (*result || !unlucky(tier, WEATHER_FLAKY)) {
		add(&tier->used, !*result);
		return;
	}
	tier->inner->ops->drop(tier->inner, slot);
	*result = -EIO;
	add(&tier->weather->faults, 1);
}

static void spoil_load(struct torture_pool_tier *tier, void *page, int *result)
{
	unsigned char *bytes = page;

	if (*result || !unlucky(tier, WEATHER_FLAKY))
		return;
	add(&tier->weather->faults, 1);
	switch (draw(tier, 4)) {
	case 0:
		*result = -EIO;
		break;
	case 1:
		bytes[draw(tier, S2_PAGE_SIZE)] ^= (unsigned char)(1u << draw(tier, 8));
		break;
	case 2:
		memset(bytes, 0, S2_PAGE_SIZE / 2);
		break;
	case 3: /* a generation earlier, or later, if there is such a word */
		bytes[8 * draw(tier, PAGE_WORDS) + 3] ^= 1;
		break;
	}
}

static int tier_store(struct s2_pool_tier *base, const void *page, uint64_t *slot)
{
	struct torture_pool_tier *tier = outer(base);
	int result;

	if (is_full(tier, 1))
		return -ENOSPC;
	perhaps_delay(tier);
	result = tier->inner->ops->store(tier->inner, page, slot);
	spoil_store(tier, *slot, &result);
	return result;
}

static int tier_load(struct s2_pool_tier *base, uint64_t slot, void *page)
{
	struct torture_pool_tier *tier = outer(base);
	int result;

	perhaps_delay(tier);
	result = tier->inner->ops->load(tier->inner, slot, page);
	spoil_load(tier, page, &result);
	return result;
}

static void tier_store_many(struct s2_pool_tier *base, unsigned n, const void *const pages[],
			    uint64_t slots[], int results[])
{
	struct torture_pool_tier *tier = outer(base);
	bool full = is_full(tier, n);

	for (unsigned i = 0; full && i < n; i++)
		results[i] = -ENOSPC;
	if (full)
		return;
	perhaps_delay(tier);
	tier->inner->ops->store_many(tier->inner, n, pages, slots, results);
	for (unsigned i = 0; i < n; i++)
		spoil_store(tier, slots[i], &results[i]);
}

static void tier_load_many(struct s2_pool_tier *base, unsigned n, const uint64_t slots[],
			   void *const pages[], int results[])
{
	struct torture_pool_tier *tier = outer(base);

	perhaps_delay(tier);
	tier->inner->ops->load_many(tier->inner, n, slots, pages, results);
	for (unsigned i = 0; i < n; i++)
		spoil_load(tier, pages[i], &results[i]);
}

static void tier_drop(struct s2_pool_tier *base, uint64_t slot)
{
	struct torture_pool_tier *tier = outer(base);

	add(&tier->used, -UINT64_C(1));
	tier->inner->ops->drop(tier->inner, slot);
}

static void tier_destroy(struct s2_pool_tier *base)
{
	struct s2_pool_tier *inner = outer(base)->inner;

	inner->ops->destroy(inner);
}

static unsigned tier_room(struct s2_pool_tier *base)
{
	struct s2_pool_tier *inner = outer(base)->inner;

	return inner->ops->room ? inner->ops->room(inner) : UINT_MAX;
}

/* As the inner one, with operations for many pages or without. */
static const struct s2_pool_tier_ops ops_one = {
	.name = "torture",
	.store = tier_store,
	.load = tier_load,
	.drop = tier_drop,
	.destroy = tier_destroy,
	.room = tier_room,
};

static const struct s2_pool_tier_ops ops_many = {
	.name = "torture",
	.store = tier_store,
	.load = tier_load,
	.drop = tier_drop,
	.destroy = tier_destroy,
	.store_many = tier_store_many,
	.load_many = tier_load_many,
	.room = tier_room,
};

void torture_pool_tier_init(struct torture_pool_tier *tier, struct s2_pool_tier *inner,
			    struct torture_pool_weather *weather, uint64_t seed)
{
	*tier = (struct torture_pool_tier){
		.tier = { .ops = inner->ops->store_many && inner->ops->load_many ? &ops_many :
										     &ops_one },
		.inner = inner,
		.weather = weather,
		.random = seed,
	};
}
