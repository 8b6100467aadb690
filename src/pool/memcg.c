/* SPDX-License-Identifier: MIT */
/*
 * Memory cgroups: what the regions of one VM may have together, and have had. A page that
 * is shared is charged to nobody but the pool: of those that share it, each may go.
 */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/guest_mode.h"
#include "base/reserved.h"

#include <errno.h>

/* A misaligned access needs two pages at once: with one it would never end. */
static bool bad_limit(uint64_t limit)
{
	return (limit & (S2_PAGE_SIZE - 1)) || limit == S2_PAGE_SIZE;
}

static void enlist(struct s2_pool *pool, struct s2_memcg *memcg)
{
	s2_mutex_lock(&pool->regions_lock);
	atomic_store_explicit(&memcg->next,
			      atomic_load_explicit(&pool->memcgs, memory_order_relaxed),
			      memory_order_relaxed);
	/* Release pairs with the acquire of who walks the list, in oom.c. */
	atomic_store_explicit(&pool->memcgs, memcg, memory_order_release);
	s2_mutex_unlock(&pool->regions_lock);
}

int s2_memcg_create(struct s2_pool *pool, const struct s2_memcg_config *config,
		    struct s2_memcg **memcg)
{
	static const struct s2_memcg_config defaults;
	struct s2_memcg *new;
	bool left;

	if (!pool || !memcg)
		return -EINVAL;
	if (!config)
		config = &defaults;
	if (bad_limit(config->limit) || config->oom_priority < 0 || !S2_RESERVED_UNUSED(config))
		return -EINVAL;
	new = s2_zalloc(&pool->allocator, sizeof(*new), 64);
	if (!new)
		return -ENOMEM;
	new->pool = pool;
	new->oom_priority = config->oom_priority;
	atomic_init(&new->limit, config->limit >> S2_PAGE_SHIFT);
	left = s2_guest_leave_all();
	enlist(pool, new);
	if (left)
		s2_guest_return_all();
	*memcg = new;
	return 0;
}

/* Who walks the list is waited for by the caller. */
static void delist(struct s2_pool *pool, struct s2_memcg *memcg)
{
	_Atomic(struct s2_memcg *) *link = &pool->memcgs;
	struct s2_memcg *other;

	S2_ASSERT_HELD_WRITE(&pool->regions_lock);
	while ((other = atomic_load_explicit(link, memory_order_relaxed)) != memcg)
		link = &other->next;
	atomic_store_explicit(link, atomic_load_explicit(&memcg->next, memory_order_relaxed),
			      memory_order_release);
}

int s2_memcg_destroy(struct s2_memcg *memcg)
{
	struct s2_pool *pool;
	bool left, busy;

	if (!memcg)
		return 0;
	pool = memcg->pool;
	left = s2_guest_leave_all();
	s2_mutex_lock(&pool->regions_lock);
	busy = memcg->nr_regions;
	if (!busy)
		delist(pool, memcg);
	s2_mutex_unlock(&pool->regions_lock);
	if (!busy) {
		/* An OOM killer that found it before holds this while it looks at it. */
		s2_mutex_lock(&pool->oom_lock);
		s2_mutex_unlock(&pool->oom_lock);
		s2_free(&pool->allocator, memcg);
	}
	if (left)
		s2_guest_return_all();
	return busy ? -EBUSY : 0;
}

int s2_memcg_set_limit(struct s2_memcg *memcg, uint64_t limit)
{
	bool left;
	int ret;

	if (!memcg || bad_limit(limit))
		return -EINVAL;
	atomic_store_explicit(&memcg->limit, limit >> S2_PAGE_SHIFT, memory_order_relaxed);
	left = s2_guest_leave_all();
	ret = s2_pool_reclaim_to_limit(memcg);
	if (left)
		s2_guest_return_all();
	return ret;
}

/* Of a region's pages that are resident, by age. */
static void count_region(struct s2_pool *pool, struct s2_pool_region *region,
			 uint64_t by_age[S2_POOL_AGES])
{
	for (uint64_t i = 0; i < region->npages; i++) {
		uint64_t word =
			atomic_load_explicit(&region->pages[i].word, memory_order_relaxed);

		if (s2_pool_state(word) == S2_POOL_RESIDENT)
			by_age[s2_pool_frame_age(&pool->frames, (uint32_t)s2_pool_payload(word))]++;
	}
}

int s2_memcg_get_stats(struct s2_memcg *memcg, struct s2_pool_stats *stats)
{
	struct s2_pool_region *region;

	if (!memcg || !stats)
		return -EINVAL;
	*stats = (struct s2_pool_stats){
		.killed = atomic_load_explicit(&memcg->killed, memory_order_relaxed),
	};
	s2_pool_read_counts(&memcg->counts, stats);
	for (unsigned i = 0; (region = s2_pool_memcg_region(memcg, i)); i++) {
		count_region(memcg->pool, region, stats->by_age);
		s2_pool_region_put(region);
	}
	return 0;
}
