/* SPDX-License-Identifier: MIT */
/* The life of a pool, and what it has counted. */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/reserved.h"
#include "base/guest_mode.h"

#include <errno.h>

#define SIZE_MIN (UINT64_C(64) << 10)
#define SIZE_MAX_ALLOWED (UINT64_C(1) << 40)

static bool tier_allowed(const struct s2_pool_config *config, unsigned i)
{
	const struct s2_pool_tier *tier = config->tiers[i];

	if (!tier)
		return true;
	if (i && !config->tiers[i - 1])
		return false;
	for (unsigned before = 0; before < i; before++)
		if (config->tiers[before] == tier)
			return false;
	return tier->ops && tier->ops->store && tier->ops->load && tier->ops->drop &&
	       tier->ops->destroy;
}

/* The gate is looked at by s2_mm_create(). */
static bool config_allowed(const struct s2_pool_config *config)
{
	if (config->size < SIZE_MIN || config->size > SIZE_MAX_ALLOWED ||
	    (config->size & (S2_PAGE_SIZE - 1)))
		return false;
	if (config->allocator && (!config->allocator->alloc || !config->allocator->free))
		return false;
	for (unsigned i = 0; i < S2_POOL_TIERS; i++)
		if (!tier_allowed(config, i))
			return false;
	return S2_RESERVED_UNUSED(config);
}

static int init(struct s2_pool *pool, const struct s2_pool_config *config)
{
	const struct s2_mm_config mm_config = {
		.gate = config->gate,
		.provider = &s2_pool_provider,
		.provider_ctx = pool,
		.allocator = &pool->allocator,
	};
	int ret = s2_mm_create(&mm_config, &pool->mm);

	if (ret)
		return ret;
	ret = s2_pool_frames_init(&pool->frames, config->size, &pool->allocator);
	if (ret) {
		s2_mm_put(pool->mm);
		return ret;
	}
	s2_mutex_init(&pool->regions_lock, S2_RANK_POOL_REGIONS);
	s2_mutex_init(&pool->aging_lock, S2_RANK_POOL_AGING);
	pool->next_hva = S2_POOL_HVA_FIRST;
	while (pool->nr_tiers < S2_POOL_TIERS && config->tiers[pool->nr_tiers]) {
		pool->tiers[pool->nr_tiers] = config->tiers[pool->nr_tiers];
		pool->nr_tiers++;
	}
	return 0;
}

int s2_pool_create(const struct s2_pool_config *config, struct s2_pool **pool)
{
	const struct s2_allocator *a;
	struct s2_pool *new;
	int ret;

	if (!config || !pool || !config_allowed(config))
		return -EINVAL;
	a = config->allocator ? config->allocator : &s2_libc_allocator;
	new = s2_zalloc(a, sizeof(*new), 64);
	if (!new)
		return -ENOMEM;
	new->allocator = *a;
	ret = init(new, config);
	if (ret)
		s2_free(a, new);
	else
		*pool = new;
	return ret;
}

/* Nobody is in the pool any more: what it has is looked at without locks. */
void s2_pool_destroy(struct s2_pool *pool)
{
	struct s2_allocator a;
	struct s2_itree_iter it;
	struct s2_itree_node *root;

	if (!pool)
		return;
	while ((root = atomic_load_explicit(&pool->root, memory_order_relaxed))) {
		s2_itree_iter_init(&it, root, 0, UINT64_MAX);
		s2_pool_unmap(pool, s2_itree_iter_next(&it)->start);
	}
	a = pool->allocator;
	s2_mm_put(pool->mm);
	for (unsigned i = 0; i < pool->nr_tiers; i++)
		pool->tiers[i]->ops->destroy(pool->tiers[i]);
	s2_itree_reserve_drain(&pool->nodes, &a);
	s2_pool_frames_free(&pool->frames, &a);
	s2_free(&a, pool);
}

struct s2_mm *s2_pool_mm(struct s2_pool *pool)
{
	return pool ? pool->mm : NULL;
}

static void read_counts(struct s2_pool_counts *counts, struct s2_pool_stats *stats)
{
	stats->resident = atomic_load_explicit(&counts->resident, memory_order_relaxed);
	stats->swapped = atomic_load_explicit(&counts->swapped, memory_order_relaxed);
	stats->zero = atomic_load_explicit(&counts->zero, memory_order_relaxed);
	stats->swap_outs = atomic_load_explicit(&counts->swap_outs, memory_order_relaxed);
	stats->swap_ins = atomic_load_explicit(&counts->swap_ins, memory_order_relaxed);
	stats->direct_reclaims = atomic_load_explicit(&counts->direct_reclaims, memory_order_relaxed);
	stats->tier_errors = atomic_load_explicit(&counts->tier_errors, memory_order_relaxed);
	for (unsigned i = 0; i < S2_POOL_TIERS; i++)
		stats->tier_pages[i] =
			atomic_load_explicit(&counts->tier_pages[i], memory_order_relaxed);
}

/* Of the pages in [@start, @end). */
static void count_ages(struct s2_pool_frames *frames, uint64_t start, uint64_t end,
		       uint64_t by_age[S2_POOL_AGES])
{
	for (uint32_t frame = 1; frame <= frames->nr; frame++) {
		uint64_t owner = s2_pool_frame_owner(frames, frame);

		if (owner >= start && owner < end)
			by_age[atomic_load_explicit(&frames->table[frame].use,
						    memory_order_relaxed) &
			       S2_FRAME_AGE_MASK]++;
	}
}

int s2_pool_get_stats(struct s2_pool *pool, struct s2_pool_stats *stats)
{
	if (!pool || !stats)
		return -EINVAL;
	*stats = (struct s2_pool_stats){
		.frames = pool->frames.nr,
		.free_frames = atomic_load_explicit(&pool->frames.nr_free, memory_order_relaxed),
	};
	read_counts(&pool->counts, stats);
	count_ages(&pool->frames, S2_POOL_HVA_FIRST, S2_POOL_HVA_LAST, stats->by_age);
	return 0;
}

int s2_pool_get_region_stats(struct s2_pool *pool, uint64_t hva, struct s2_pool_stats *stats)
{
	struct s2_pool_region *region;
	int ret = 0;

	if (!pool || !stats)
		return -EINVAL;
	region = s2_pool_region_get(pool, hva);
	if (!region)
		return -ENOENT;
	if (region->hva == hva) {
		*stats = (struct s2_pool_stats){ 0 };
		read_counts(&region->counts, stats);
		count_ages(&pool->frames, hva, s2_pool_region_end(region), stats->by_age);
	} else {
		ret = -ENOENT;
	}
	s2_pool_region_put(region);
	return ret;
}
