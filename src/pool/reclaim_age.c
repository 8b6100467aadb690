/* SPDX-License-Identifier: MIT */
/*
 * Reclaim by age, for who wants memory back: s2_pool_reclaim() of all, s2_memcg_reclaim() of one VM.
 * It takes pages by the batch, which tiers are glad of.
 */
#include "pool/evict.h"
#include "pool/room.h"

#include "base/alloc.h"
#include "base/guest_mode.h"

#include <errno.h>

/* @min_age 0 asks for all of them, used or not. */
static bool old_enough(struct s2_pool *pool, uint32_t frame, uint64_t owner, unsigned age,
		       unsigned min_age)
{
	uint32_t use = atomic_load_explicit(&pool->frames.table[frame].use, memory_order_relaxed);

	if ((use & S2_FRAME_AGE_MASK) != age)
		return false;
	return !min_age || !((use & S2_FRAME_USED) || s2_pool_any_young(pool, owner, s2_test_young));
}

/*
 * @copies: of a batch of pages; NULL if there was no memory for that: then one by one.
 * @n:      victims that are locked, and not stored yet; up to @batch.
 */
struct reclaim {
	struct s2_pool *pool;
	uint64_t bytes;
	uint64_t freed;
	unsigned min_age;
	unsigned n;
	unsigned batch;
	void *copies;
	struct s2_pool_victim victims[S2_POOL_BATCH];
};

static void reclaim_begin(struct reclaim *reclaim, struct s2_pool *pool, uint64_t bytes,
			  unsigned min_age)
{
	reclaim->pool = pool;
	reclaim->bytes = bytes;
	reclaim->freed = 0;
	reclaim->min_age = min_age;
	reclaim->n = 0;
	/* Who asks for little has little cleared for it. */
	reclaim->batch = bytes >> S2_PAGE_SHIFT < S2_POOL_BATCH ?
				 (unsigned)(bytes >> S2_PAGE_SHIFT) + 1 : S2_POOL_BATCH;
	reclaim->copies = s2_zalloc(&pool->allocator, reclaim->batch * S2_PAGE_SIZE, 64);
	s2_pool_ask_again(pool);
}

static void reclaim_victims(struct reclaim *reclaim)
{
	reclaim->freed += (uint64_t)s2_pool_evict_victims(reclaim->pool, reclaim->victims, reclaim->n,
						  reclaim->copies) << S2_PAGE_SHIFT;
	reclaim->n = 0;
}

static bool reclaimed_enough(const struct reclaim *reclaim)
{
	return reclaim->freed + ((uint64_t)reclaim->n << S2_PAGE_SHIFT) >= reclaim->bytes;
}

/* If it is old enough, it is free after that, or one of the victims. */
static void reclaim_frame(struct reclaim *reclaim, uint32_t frame, uint64_t owner, unsigned age)
{
	struct s2_pool *pool = reclaim->pool;

	if (owner == S2_FRAME_FREE || owner == S2_FRAME_IN_TRANSIT ||
	    !s2_pool_may_go(pool, frame) ||
	    !old_enough(pool, frame, owner, age, reclaim->min_age))
		return;
	if (!reclaim->copies || s2_frame_is_shared(owner)) {
		if (s2_pool_evict(pool, frame, owner) == S2_POOL_EVICTED) {
			s2_pool_frame_put(&pool->frames, frame);
			reclaim->freed += S2_PAGE_SIZE;
		}
		return;
	}
	reclaim->n += s2_pool_lock_victim(pool, frame, owner, &reclaim->victims[reclaim->n]);
	if (reclaim->n == reclaim->batch || reclaimed_enough(reclaim))
		reclaim_victims(reclaim);
}

static void reclaim_age(struct reclaim *reclaim, unsigned age)
{
	struct s2_pool_frames *frames = &reclaim->pool->frames;

	for (uint32_t frame = 1; frame <= frames->nr && !reclaimed_enough(reclaim); frame++)
		reclaim_frame(reclaim, frame, s2_pool_frame_owner(frames, frame), age);
	reclaim_victims(reclaim);
}

int64_t s2_pool_reclaim(struct s2_pool *pool, uint64_t bytes, unsigned min_age)
{
	struct reclaim reclaim;
	bool left;

	if (!pool || min_age >= S2_POOL_AGES)
		return -EINVAL;
	left = s2_guest_leave_all();
	reclaim_begin(&reclaim, pool, bytes, min_age);
	for (unsigned age = S2_POOL_AGES; age-- > min_age && !reclaimed_enough(&reclaim);)
		reclaim_age(&reclaim, age);
	s2_free(&pool->allocator, reclaim.copies);
	if (left)
		s2_guest_return_all();
	return (int64_t)reclaim.freed;
}

static void reclaim_region(struct reclaim *reclaim, struct s2_pool_region *region, unsigned age)
{
	for (uint64_t i = 0; i < region->npages && !reclaimed_enough(reclaim); i++) {
		uint64_t word =
			atomic_load_explicit(&region->pages[i].word, memory_order_relaxed);

		if (s2_pool_state(word) == S2_POOL_RESIDENT)
			reclaim_frame(reclaim, (uint32_t)s2_pool_payload(word),
				      s2_pool_page_hva(region, &region->pages[i]), age);
	}
	reclaim_victims(reclaim);
}

int64_t s2_memcg_reclaim(struct s2_memcg *memcg, uint64_t bytes, unsigned min_age)
{
	struct s2_pool_region *region;
	struct reclaim reclaim;
	bool left;

	if (!memcg || min_age >= S2_POOL_AGES)
		return -EINVAL;
	left = s2_guest_leave_all();
	reclaim_begin(&reclaim, memcg->pool, bytes, min_age);
	for (unsigned age = S2_POOL_AGES; age-- > min_age && !reclaimed_enough(&reclaim);) {
		for (unsigned i = 0; (region = s2_pool_memcg_region(memcg, i)); i++) {
			reclaim_region(&reclaim, region, age);
			s2_pool_region_put(region);
		}
	}
	s2_free(&memcg->pool->allocator, reclaim.copies);
	if (left)
		s2_guest_return_all();
	return (int64_t)reclaim.freed;
}
