/* SPDX-License-Identifier: MIT */
/*
 * The clock that ages pages. Clearing an accessed bit is not enough: a vCPU that goes on
 * using the page by its TLB would never set it again, and the most used pages would look
 * idle. A flush for each page would make vCPUs start with an empty TLB thousands of
 * times a step. So bits are looked at by 2 MiB at a time, and those of a GiB are cleared
 * at once, with one flush of each VM that has any of it.
 */
#include "pool/pool.h"

#include "base/guest_mode.h"

#include <errno.h>

#define BITMAP_WORDS (S2_POOL_CHUNK_PAGES / 64)
#define RANGE_PAGES (UINT64_C(1) << (30 - S2_PAGE_SHIFT))

/* One step of a frame. @young: guests have used its page since the last one. */
static void age_frame(struct s2_pool *pool, uint32_t frame, bool young)
{
	_Atomic uint32_t *use = &pool->frames.table[frame].use;
	uint32_t old = atomic_load_explicit(use, memory_order_relaxed);
	uint32_t age = old & S2_FRAME_AGE_MASK, new;

	if (young)
		new = S2_FRAME_REFERENCED;
	else if (old & S2_FRAME_USED)
		new = old & S2_FRAME_REFERENCED;
	else
		new = (old & S2_FRAME_REFERENCED) | (age < S2_POOL_AGES - 1 ? age + 1 : age);
	/* If it fails, the frame has been used or is another page's by now: it is young. */
	atomic_compare_exchange_strong_explicit(use, &old, new, memory_order_relaxed,
						memory_order_relaxed);
}

/* A shared frame has its step with those of the others; here only that it was used. */
static void age_page(struct s2_pool *pool, struct s2_pool_page *page, bool young)
{
	uint64_t word = atomic_load_explicit(&page->word, memory_order_relaxed);
	struct s2_pool_shared *shared;

	if (s2_pool_state(word) == S2_POOL_RESIDENT) {
		age_frame(pool, (uint32_t)s2_pool_payload(word), young);
	} else if (young && s2_pool_state(word) == S2_POOL_SHARED) {
		shared = s2_pool_shared_at(&pool->shared, (uint32_t)s2_pool_payload(word));
		word = atomic_load_explicit(&shared->page.word, memory_order_relaxed);
		if (s2_pool_state(word) == S2_POOL_RESIDENT)
			s2_pool_frame_used(&pool->frames, (uint32_t)s2_pool_payload(word));
	}
}

/* Pages @first to @first + @n of one region; true if guests have used any. */
static bool age_chunk(struct s2_pool *pool, struct s2_pool_region *region, uint64_t first, uint64_t n)
{
	uint64_t bitmap[BITMAP_WORDS], hva = region->hva + (first << S2_PAGE_SHIFT);
	bool young = s2_test_young_pages(pool->mm, hva, hva + (n << S2_PAGE_SHIFT), bitmap) > 0;

	for (uint64_t i = 0; i < n; i++)
		age_page(pool, &region->pages[first + i], young && (bitmap[i / 64] >> i % 64 & 1));
	return young;
}

/*
 * One GiB at most, looked at by 2 MiB and then cleared as a whole: each VM that has used any
 * of it, though perhaps not the part that another has, is flushed.
 */
static void age_range(struct s2_pool *pool, struct s2_pool_region *region, uint64_t first,
		      uint64_t end)
{
	uint64_t hva = region->hva + (first << S2_PAGE_SHIFT);
	bool young = false;

	for (uint64_t i = first; i < end; i += S2_POOL_CHUNK_PAGES)
		young |= age_chunk(pool, region, i,
				   end - i < S2_POOL_CHUNK_PAGES ? end - i : S2_POOL_CHUNK_PAGES);
	if (young)
		s2_clear_flush_young(pool->mm, hva, hva + ((end - first) << S2_PAGE_SHIFT));
}

static void age_region(struct s2_pool *pool, struct s2_pool_region *region)
{
	for (uint64_t first = 0; first < region->npages; first += RANGE_PAGES) {
		uint64_t rest = region->npages - first;

		age_range(pool, region, first, first + (rest < RANGE_PAGES ? rest : RANGE_PAGES));
	}
}

/* The shared frames, of which the regions have told which were used. */
static void age_shared(struct s2_pool *pool)
{
	for (uint32_t frame = 1; frame <= pool->frames.nr; frame++)
		if (s2_frame_is_shared(s2_pool_frame_owner(&pool->frames, frame)))
			age_frame(pool, frame, false);
}

static void step(struct s2_pool *pool)
{
	struct s2_pool_region *region;
	uint64_t hva = 0;

	s2_mutex_lock(&pool->aging_lock);
	while ((region = s2_pool_region_next(pool, hva))) {
		age_region(pool, region);
		hva = s2_pool_region_end(region);
		s2_pool_region_put(region);
	}
	age_shared(pool);
	s2_mutex_unlock(&pool->aging_lock);
}

int s2_pool_age(struct s2_pool *pool)
{
	bool left;

	if (!pool)
		return -EINVAL;
	left = s2_guest_leave_all();
	step(pool);
	if (left)
		s2_guest_return_all();
	return 0;
}
