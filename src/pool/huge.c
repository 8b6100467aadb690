/* SPDX-License-Identifier: MIT */
/*
 * 2 MiB at a time: pages that lie in one block of frames, in their order, may be had by one
 * leaf. A bit of the region says so. It is set while all of the pages are locked, and
 * cleared by whoever takes one of them away, with that one locked:
 *
 *	CPU 0 (fault on another page)		CPU 1 (takes a page away)
 *	-----------------------------		-------------------------
 *	seq = mmu_invalidate_seq
 *	the bit is set: 2 MiB
 *						clear the bit
 *						start(), of 4 KiB: zaps, whole, a leaf of 2 MiB
 *						the frame is another's
 *						end(): seq up
 *	seq has changed, or the leaf would
 *	span what is being invalidated: retry
 */
#include "pool/pool.h"

#include "base/guest_mode.h"
#include "base/mutant.h"

#include <errno.h>
#include <sched.h>

/* How often 2 MiB of which a page is in use by others, or was taken away again, are tried. */
#define ATTEMPTS 10

_Static_assert(S2_POOL_RUN == S2_POOL_CHUNK_PAGES && S2_POOL_RUN == S2_POOL_BLOCK_FRAMES,
	       "a chunk of pages is locked as one run, and lies in one block");

void s2_pool_split(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page)
{
	uint64_t chunk = (uint64_t)(page - region->pages) / S2_POOL_CHUNK_PAGES;
	uint64_t bit = UINT64_C(1) << chunk % 64;

	if (!s2_pool_in_huge(region, page) || S2_MUTANT(SPLIT_FORGOTTEN))
		return;
	/* Ordered before the invalidation by the locks that one takes. */
	if (atomic_fetch_and_explicit(&region->huge[chunk / 64], ~bit, memory_order_seq_cst) & bit)
		S2_POOL_COUNT(pool, region->memcg, split, 1);
}

static int bring_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *pages)
{
	for (unsigned i = 0; i < S2_POOL_RUN; i++) {
		uint64_t word;
		uint32_t frame;
		int ret = s2_pool_page_in(pool, region, &pages[i], S2_ACCESS_WRITE, &word, &frame);

		if (ret)
			return ret;
		s2_pool_page_unlock(&pages[i], word);
	}
	return 0;
}

static bool all_resident(const uint64_t words[])
{
	for (unsigned i = 0; i < S2_POOL_RUN; i++)
		if (s2_pool_state(words[i]) != S2_POOL_RESIDENT)
			return false;
	return true;
}

/* The first frame of the block that they are in already, in their order; or 0. */
static uint32_t common_block(const uint64_t words[])
{
	uint32_t first = (uint32_t)s2_pool_payload(words[0]);

	if ((first - 1) % S2_POOL_BLOCK_FRAMES)
		return 0;
	for (uint32_t i = 0; i < S2_POOL_RUN; i++)
		if (!s2_pool_has_frame(words[i], first + i))
			return 0;
	return first;
}

/*
 * With all pages locked, so that nobody finds the bit before it is true. Also of pages that stay
 * where they are: vCPUs lose their leaves of 4 KiB, in whose place the one of 2 MiB comes.
 */
static void move_into(struct s2_pool *pool, struct s2_pool_region *region,
		      struct s2_pool_page *pages, uint64_t words[], uint32_t first)
{
	uint64_t hva = s2_pool_page_hva(region, pages);
	uint64_t chunk = (uint64_t)(pages - region->pages) / S2_POOL_CHUNK_PAGES;
	struct s2_invalidation inv;

	s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_POOL_HVA_ALIGN, 0);
	for (uint32_t i = 0; i < S2_POOL_RUN; i++)
		if (!s2_pool_has_frame(words[i], first + i))
			words[i] = s2_pool_move_contents(pool, words[i], hva + i * S2_PAGE_SIZE,
							 first + i);
	atomic_fetch_or_explicit(&region->huge[chunk / 64], UINT64_C(1) << chunk % 64,
				 memory_order_relaxed);
	s2_invalidate_range_end(pool->mm, &inv);
	S2_POOL_COUNT(pool, region->memcg, collapsed, 1);
}

/* -ENOSPC: no block is free. The pages are locked. */
static int collapse_locked(struct s2_pool *pool, struct s2_pool_region *region,
			   struct s2_pool_page *pages, uint64_t words[])
{
	uint32_t first;

	if (s2_pool_in_huge(region, pages))
		return 0;
	if (!all_resident(words))
		return -EAGAIN;
	first = common_block(words);
	if (!first)
		first = s2_pool_block_get(&pool->frames);
	if (!first)
		return -ENOSPC;
	move_into(pool, region, pages, words, first);
	return 0;
}

static int try_collapse(struct s2_pool *pool, struct s2_pool_region *region,
			struct s2_pool_page *pages)
{
	uint64_t words[S2_POOL_RUN];
	int ret = bring_in(pool, region, pages);

	if (ret)
		return ret;
	if (!s2_pool_run_trylock(pages, S2_POOL_RUN, words))
		return -EAGAIN;
	ret = collapse_locked(pool, region, pages, words);
	s2_pool_run_unlock(pages, S2_POOL_RUN, words);
	return ret;
}

/* May so many be resident at once? If not, they would be brought in for nothing. */
static bool may_have_all(struct s2_pool *pool, struct s2_memcg *memcg)
{
	uint64_t limit = atomic_load_explicit(&memcg->limit, memory_order_relaxed);

	return (!limit || limit >= S2_POOL_RUN) && s2_pool_frames_nr_blocks(&pool->frames);
}

static int collapse_chunk(struct s2_pool *pool, struct s2_pool_region *region,
			  struct s2_pool_page *pages)
{
	bool compacted = false;

	if (!may_have_all(pool, region->memcg))
		return -ENOMEM;
	for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
		int ret = try_collapse(pool, region, pages);

		if (ret == -EAGAIN) {
			sched_yield();
			continue;
		}
		if (ret != -ENOSPC)
			return ret;
		if (compacted)
			return -ENOMEM;
		s2_pool_make_blocks(pool);
		compacted = true;
	}
	return -EAGAIN;
}

/* The chunks that are whole in pages @first to @end. */
static int collapse_pages(struct s2_pool *pool, struct s2_pool_region *region, uint64_t first,
			  uint64_t end)
{
	int ret = 0;

	first = (first + S2_POOL_RUN - 1) & ~(uint64_t)(S2_POOL_RUN - 1);
	for (; !ret && first + S2_POOL_RUN <= end; first += S2_POOL_RUN)
		ret = collapse_chunk(pool, region, &region->pages[first]);
	return ret;
}

int s2_pool_collapse(struct s2_pool *pool, uint64_t hva, uint64_t size)
{
	struct s2_pool_region *region;
	uint64_t first;
	int ret = s2_pool_find_pages(pool, hva, size, &region, &first);
	bool left;

	if (ret)
		return ret;
	left = s2_guest_leave_all();
	ret = collapse_pages(pool, region, first, first + (size >> S2_PAGE_SHIFT));
	s2_pool_region_put(region);
	if (left)
		s2_guest_return_all();
	return ret;
}
