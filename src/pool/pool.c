/* SPDX-License-Identifier: MIT */
/* The life of a pool, and what it has counted. */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/reserved.h"
#include "base/guest_mode.h"

#include <errno.h>

#define SIZE_MIN (UINT64_C(64) << 10)
#define SIZE_MAX_ALLOWED (UINT64_C(1) << 40)
#define READ_AHEAD_DEFAULT 16

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

static bool watermarks_allowed(const struct s2_pool_config *config)
{
	uint64_t low = config->low_watermark, high = config->high_watermark;

	if (!low && !high)
		return true;
	return !((low | high) & (S2_PAGE_SIZE - 1)) && low < high && high < config->size;
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
	if (!watermarks_allowed(config) || config->read_ahead > S2_POOL_BATCH)
		return false;
	return S2_RESERVED_UNUSED(config);
}

static void init_fields(struct s2_pool *pool, const struct s2_pool_config *config)
{
	s2_mutex_init(&pool->regions_lock, S2_RANK_POOL_REGIONS);
	s2_mutex_init(&pool->aging_lock, S2_RANK_POOL_AGING);
	s2_mutex_init(&pool->compact_lock, S2_RANK_POOL_COMPACT);
	s2_mutex_init(&pool->oom_lock, S2_RANK_POOL_OOM);
	s2_pool_shared_init(pool);
	pool->memcg.pool = pool;
	pool->next_hva = S2_POOL_HVA_FIRST;
	pool->read_ahead = config->read_ahead ? config->read_ahead : READ_AHEAD_DEFAULT;
	while (pool->nr_tiers < S2_POOL_TIERS && config->tiers[pool->nr_tiers]) {
		pool->tiers[pool->nr_tiers] = config->tiers[pool->nr_tiers];
		pool->nr_tiers++;
	}
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
	ret = s2_pool_frames_init(&pool->frames, config->size, config->huge_pages, &pool->allocator);
	if (ret)
		goto out_mm;
	init_fields(pool, config);
	ret = s2_pool_start_kswapd(pool, config);
	if (!ret)
		return 0;
	s2_pool_frames_free(&pool->frames, &pool->allocator);
out_mm:
	s2_mm_put(pool->mm);
	return ret;
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
	const struct s2_itree_node *root;
	struct s2_memcg *memcg;

	if (!pool)
		return;
	s2_pool_stop_kswapd(pool);
	while ((root = s2_rcu_itree_root(&pool->regions))) {
		s2_itree_iter_init(&it, root, 0, UINT64_MAX);
		s2_pool_unmap(pool, s2_itree_iter_next(&it)->start);
	}
	while ((memcg = atomic_load_explicit(&pool->memcgs, memory_order_relaxed)))
		s2_memcg_destroy(memcg);
	a = pool->allocator;
	s2_mm_put(pool->mm);
	for (unsigned i = 0; i < pool->nr_tiers; i++)
		pool->tiers[i]->ops->destroy(pool->tiers[i]);
	s2_pool_merge_destroy(pool);
	s2_pool_shared_destroy(pool);
	s2_pool_frames_free(&pool->frames, &a);
	s2_free(&a, pool);
}

struct s2_mm *s2_pool_mm(struct s2_pool *pool)
{
	return pool ? pool->mm : NULL;
}

void s2_pool_read_counts(struct s2_pool_counts *counts, struct s2_pool_stats *stats)
{
#define READ(field) stats->field = atomic_load_explicit(&counts->field, memory_order_relaxed)
	READ(resident);
	READ(shared);
	READ(swapped);
	READ(zero);
	READ(swap_outs);
	READ(swap_ins);
	READ(read_ahead);
	READ(read_ahead_used);
	READ(direct_reclaims);
	READ(tier_errors);
	READ(merged);
	READ(cow_breaks);
	READ(migrated);
	READ(collapsed);
	READ(split);
#undef READ
}

static void count_ages(struct s2_pool_frames *frames, uint64_t by_age[S2_POOL_AGES])
{
	for (uint32_t frame = 1; frame <= frames->nr; frame++)
		if (s2_pool_frame_owner(frames, frame) >= S2_POOL_HVA_FIRST)
			by_age[s2_pool_frame_age(frames, frame)]++;
}

static uint64_t count_free_blocks(struct s2_pool_frames *frames)
{
	uint64_t free = 0;

	for (uint32_t block = 0; block < s2_pool_frames_nr_blocks(frames); block++)
		free += s2_pool_block_nr_free(frames, block) == S2_POOL_BLOCK_FRAMES;
	return free;
}

int s2_pool_get_stats(struct s2_pool *pool, struct s2_pool_stats *stats)
{
	if (!pool || !stats)
		return -EINVAL;
	*stats = (struct s2_pool_stats){
		.frames = pool->frames.nr,
		.free_frames = s2_pool_frames_nr_free(&pool->frames),
		.free_blocks = count_free_blocks(&pool->frames),
		.shared_frames = atomic_load_explicit(&pool->shared_frames, memory_order_relaxed),
		.background_reclaims = s2_pool_kswapd_reclaims(pool),
		.oom_kills = atomic_load_explicit(&pool->oom_kills, memory_order_relaxed),
	};
	s2_pool_read_counts(&pool->counts, stats);
	for (unsigned i = 0; i < S2_POOL_TIERS; i++)
		stats->tier_pages[i] =
			atomic_load_explicit(&pool->tier_pages[i], memory_order_relaxed);
	count_ages(&pool->frames, stats->by_age);
	return 0;
}
