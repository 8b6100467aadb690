/* SPDX-License-Identifier: MIT */
/*
 * The clock that ages pages. Clearing an accessed bit is not enough: a vCPU that goes on
 * using the page by its TLB would never set it again, and the most used pages would look
 * idle. A flush for each page would make vCPUs start with an empty TLB thousands of
 * times a step. So bits are cleared without, but for one page of each region:
 * that one comes last, and its flush makes up for all.
 */
#include "pool/pool.h"

#include "base/guest_mode.h"

#include <errno.h>

/* Is this the page whose clearing flushes? One of those that guests have, so that it does. */
static bool clears_last(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);
	bool last = region && region->aged != pool->steps;

	S2_ASSERT_HELD_WRITE(&pool->aging_lock);
	if (!region)
		return false;
	region->aged = pool->steps;
	s2_pool_region_put(region);
	return last;
}

static void age_frame(struct s2_pool *pool, uint32_t frame, uint64_t hva)
{
	_Atomic uint32_t *use = &pool->frames.table[frame].use;
	uint32_t old = atomic_load_explicit(use, memory_order_relaxed);
	uint32_t age = old & S2_FRAME_AGE_MASK, new;

	if (s2_test_young(pool->mm, hva)) {
		new = S2_FRAME_REFERENCED;
		if (clears_last(pool, hva))
			new |= S2_FRAME_FLUSHES;
		else
			s2_clear_young(pool->mm, hva, hva + S2_PAGE_SIZE);
	} else if (old & S2_FRAME_USED) {
		new = old & S2_FRAME_REFERENCED;
	} else {
		new = (old & S2_FRAME_REFERENCED) | (age < S2_POOL_AGES - 1 ? age + 1 : age);
	}
	/* If it fails, the frame has been used or is another page's by now: it is young. */
	atomic_compare_exchange_strong_explicit(use, &old, new, memory_order_relaxed,
						memory_order_relaxed);
}

static void flush(struct s2_pool *pool, uint32_t frame)
{
	_Atomic uint32_t *use = &pool->frames.table[frame].use;
	uint64_t hva;

	if (!(atomic_load_explicit(use, memory_order_relaxed) & S2_FRAME_FLUSHES))
		return;
	atomic_fetch_and_explicit(use, ~S2_FRAME_FLUSHES, memory_order_relaxed);
	hva = s2_pool_frame_owner(&pool->frames, frame);
	/* One that was taken away meanwhile has been flushed with that. */
	if (hva != S2_FRAME_FREE && hva != S2_FRAME_IN_TRANSIT)
		s2_clear_flush_young(pool->mm, hva, hva + S2_PAGE_SIZE);
}

int s2_pool_age(struct s2_pool *pool)
{
	bool left;

	if (!pool)
		return -EINVAL;
	left = s2_guest_leave_all();
	s2_mutex_lock(&pool->aging_lock);
	pool->steps++;
	for (uint32_t frame = 1; frame <= pool->frames.nr; frame++) {
		uint64_t hva = s2_pool_frame_owner(&pool->frames, frame);

		if (hva != S2_FRAME_FREE && hva != S2_FRAME_IN_TRANSIT)
			age_frame(pool, frame, hva);
	}
	for (uint32_t frame = 1; frame <= pool->frames.nr; frame++)
		flush(pool, frame);
	s2_mutex_unlock(&pool->aging_lock);
	if (left)
		s2_guest_return_all();
	return 0;
}
