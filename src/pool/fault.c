/* SPDX-License-Identifier: MIT */
/*
 * The provider's fault(): what handle_mm_fault() is to a process. What it returns is not
 * pinned. Whoever takes a frame away opens an invalidation first; either the fault maps
 * before that and is zapped, or it finds the sequence changed and comes again.
 */
#include "pool/pool.h"

#include <errno.h>
#include <string.h>

/* vCPUs may have the zero frame for the page, which they must not keep. */
static void take_zero_frame_away(struct s2_pool *pool, uint64_t hva)
{
	struct s2_invalidation inv;

	s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_PAGE_SIZE, 0);
	s2_invalidate_range_end(pool->mm, &inv);
}

/*
 * Into a frame, from wherever it is. The page stays locked over the invalidation, so
 * that a fault which comes after it waits for us and does not find the zero frame again.
 */
static int fill_frame(struct s2_pool *pool, struct s2_pool_region *region,
		      struct s2_pool_page *page, uint64_t *word)
{
	uint32_t frame;
	int ret = s2_pool_take_frame(pool, region, &frame);

	if (ret)
		return ret;
	if (s2_pool_state(*word) == S2_POOL_SWAPPED)
		ret = s2_pool_swap_in(pool, region, page, *word, frame);
	else
		memset(s2_pool_frame_addr(&pool->frames, frame), 0, S2_PAGE_SIZE);
	if (ret) {
		s2_pool_give_frame(pool, region, frame);
		return ret;
	}
	if (s2_pool_state(*word) == S2_POOL_ZERO)
		take_zero_frame_away(pool, s2_pool_page_hva(region, page));
	*word = s2_pool_resident_word(frame);
	s2_pool_frame_own(&pool->frames, frame, s2_pool_page_hva(region, page));
	return 0;
}

int s2_pool_page_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    unsigned access, uint64_t *word)
{
	enum s2_pool_state state;
	uint64_t before;
	int ret = 0;

	*word = before = s2_pool_page_lock(page);
	state = s2_pool_state(before);
	if (state == S2_POOL_SWAPPED || (state != S2_POOL_RESIDENT && access == S2_ACCESS_WRITE))
		ret = fill_frame(pool, region, page, word);
	if (ret)
		s2_pool_page_unlock(page, before);
	else if (s2_pool_state(*word) == S2_POOL_RESIDENT)
		s2_pool_frame_used(&pool->frames, (uint32_t)s2_pool_payload(*word));
	return ret;
}

static int pool_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *found)
{
	struct s2_pool *pool = ctx;
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);
	struct s2_pool_page *page;
	uint64_t word;
	int ret;

	if (!region)
		return -EFAULT;
	page = s2_pool_page_at(region, hva);
	ret = s2_pool_page_in(pool, region, page, access, &word);
	if (!ret) {
		bool resident = s2_pool_state(word) == S2_POOL_RESIDENT;
		uint32_t frame = resident ? (uint32_t)s2_pool_payload(word) : 0;

		*found = (struct s2_page){
			.addr = s2_pool_frame_addr(&pool->frames, frame),
			.shift = S2_PAGE_SHIFT,
			.writable = resident,
		};
		s2_pool_page_unlock(page, resident ? word : S2_POOL_ZERO);
	}
	s2_pool_region_put(region);
	return ret;
}

const struct s2_provider_ops s2_pool_provider = {
	.name = "pool",
	.fault = pool_fault,
};
