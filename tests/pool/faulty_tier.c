/* SPDX-License-Identifier: MIT */
/* The tier of faulty_tier.h. */
#include "pool/faulty_tier.h"

#include "small_vm.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct faulty_tier *faulty(struct s2_pool_tier *tier)
{
	return (struct faulty_tier *)(void *)tier;
}

/* Is this call the one that fails? Threads that draw at once draw what they draw. */
static bool unlucky(struct faulty_tier *tier)
{
	unsigned one_in = atomic_load(&tier->one_in);
	uint64_t state;

	if (!one_in)
		return false;
	state = atomic_fetch_add(&tier->random, UINT64_C(0x9e3779b97f4a7c15));
	return test_random(&state) % one_in == 0;
}

static void let_things_happen(struct faulty_tier *tier, void (**what)(void *arg))
{
	void (*meanwhile)(void *arg) = *what;

	if (!meanwhile)
		return;
	*what = NULL;
	meanwhile(tier->arg);
}

static int faulty_store(struct s2_pool_tier *base, const void *page, uint64_t *slot)
{
	struct faulty_tier *tier = faulty(base);
	int ret = atomic_load(&tier->store_error);

	atomic_fetch_add(&tier->stores, 1);
	if (!ret && unlucky(tier))
		ret = -EIO;
	if (!ret && tier->need && tier->need(page) > atomic_load(&tier->room)) {
		*slot = tier->need(page);
		ret = -E2BIG;
	}
	if (ret)
		return ret;
	pthread_mutex_lock(&tier->lock);
	if (tier->used < tier->capacity) {
		uint32_t nr = tier->free[tier->used++];

		memcpy(tier->pages[nr], page, S2_PAGE_SIZE);
		*slot = tier->slot_base + nr;
	} else {
		ret = -ENOSPC;
	}
	pthread_mutex_unlock(&tier->lock);
	let_things_happen(tier, &tier->meanwhile);
	return ret;
}

static int faulty_load(struct s2_pool_tier *base, uint64_t slot, void *page)
{
	struct faulty_tier *tier = faulty(base);
	int ret = atomic_load(&tier->load_error);

	if (!ret && unlucky(tier))
		ret = -EIO;
	if (ret)
		return ret;
	let_things_happen(tier, &tier->in_load);
	memcpy(page, tier->pages[atomic_load(&tier->mix_up) ? 0 : slot - tier->slot_base],
	       S2_PAGE_SIZE);
	if (atomic_load(&tier->damage) || unlucky(tier))
		((char *)page)[slot % S2_PAGE_SIZE] ^= 1;
	return 0;
}

static void faulty_drop(struct s2_pool_tier *base, uint64_t slot)
{
	struct faulty_tier *tier = faulty(base);

	pthread_mutex_lock(&tier->lock);
	tier->free[--tier->used] = (uint32_t)(slot - tier->slot_base);
	pthread_mutex_unlock(&tier->lock);
}

static void faulty_destroy(struct s2_pool_tier *base)
{
	atomic_fetch_add(&faulty(base)->destroyed, 1);
}

static unsigned faulty_room(struct s2_pool_tier *base)
{
	return atomic_load(&faulty(base)->room);
}

static const struct s2_pool_tier_ops faulty_ops = {
	.name = "faulty",
	.store = faulty_store,
	.load = faulty_load,
	.drop = faulty_drop,
	.destroy = faulty_destroy,
	.room = faulty_room,
};

void faulty_tier_init(struct faulty_tier *tier, unsigned capacity)
{
	memset(tier, 0, sizeof(*tier));
	tier->tier.ops = &faulty_ops;
	pthread_mutex_init(&tier->lock, NULL);
	tier->capacity = capacity;
	tier->room = UINT_MAX;
	for (uint32_t i = 0; i < FAULTY_TIER_SLOTS; i++)
		tier->free[i] = i;
	tier->pages = calloc(FAULTY_TIER_SLOTS, S2_PAGE_SIZE);
	if (!tier->pages)
		abort();
}

void faulty_tier_free(struct faulty_tier *tier)
{
	pthread_mutex_destroy(&tier->lock);
	free(tier->pages);
}

unsigned faulty_tier_used(struct faulty_tier *tier)
{
	unsigned used;

	pthread_mutex_lock(&tier->lock);
	used = tier->used;
	pthread_mutex_unlock(&tier->lock);
	return used;
}
