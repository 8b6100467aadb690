/* SPDX-License-Identifier: MIT */
/*
 * Read-ahead: a guest that goes through its memory page after page would wait for the
 * tier at each. When it asks for the page after the last one that was brought in, those
 * that follow come with one call of the tier, twice as many each time. The guest finds
 * them resident; that it uses the last of them brings in the next batch.
 *
 * It takes free frames only, and leaves some: nobody's page goes for a guess.
 */
#include "pool/pool.h"

#define WINDOW_MIN 4

/* In one word: the page after the last one brought in, and how many came with it. */
#define WINDOW_BITS 8

struct window {
	uint64_t next;
	unsigned pages;
};

static struct window load(struct s2_pool_region *region)
{
	uint64_t packed = atomic_load_explicit(&region->ahead, memory_order_relaxed);

	return (struct window){ packed >> WINDOW_BITS, packed & ((1u << WINDOW_BITS) - 1) };
}

static void store(struct s2_pool_region *region, uint64_t next, unsigned pages)
{
	atomic_store_explicit(&region->ahead, next << WINDOW_BITS | pages, memory_order_relaxed);
}

/* One of those that were brought in last, but not the very last: enough is there. */
static bool in_window(const struct window *last, uint64_t at)
{
	return at + 1 < last->next && at + last->pages >= last->next;
}

/* Twice the last one, if the guest is where that one ended. */
static unsigned choose(struct s2_pool *pool, const struct window *last, uint64_t at)
{
	unsigned pages = last->pages < WINDOW_MIN ? WINDOW_MIN : 2 * last->pages;

	if (at != last->next && at + 1 != last->next)
		return 0;
	return pages < pool->read_ahead ? pages : pool->read_ahead;
}

/* Locks the pages from @pages on that are in one tier, up to @n, and gives each a frame. */
static unsigned gather(struct s2_pool *pool, struct s2_pool_region *region,
		       struct s2_pool_page *pages, unsigned n, uint64_t words[], uint32_t frames[])
{
	unsigned i;

	for (i = 0; i < n; i++) {
		if (!s2_pool_page_trylock(&pages[i], &words[i]))
			break;
		frames[i] = s2_pool_state(words[i]) == S2_POOL_SWAPPED &&
					    s2_pool_tier_of(words[i]) == s2_pool_tier_of(words[0]) ?
				    s2_pool_take_free_frame(pool, region) : 0;
		if (!frames[i]) {
			s2_pool_page_unlock(&pages[i], words[i]);
			break;
		}
	}
	return i;
}

static void finish(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		   uint64_t word, uint32_t frame, bool loaded)
{
	if (!loaded) {
		s2_pool_give_frame(pool, region, frame);
		s2_pool_page_unlock(page, word);
		return;
	}
	page->checksum = 0;
	s2_pool_frame_own(&pool->frames, frame, s2_pool_page_hva(region, page));
	s2_pool_page_unlock(page, s2_pool_become(word, s2_pool_resident_word(frame)) |
					  S2_POOL_READ_AHEAD);
	S2_POOL_COUNT(pool, region->memcg, read_ahead, 1);
}

void s2_pool_read_ahead(struct s2_pool *pool, struct s2_pool_region *region,
			struct s2_pool_page *page)
{
	uint64_t at = (uint64_t)(page - region->pages), words[S2_POOL_BATCH];
	struct window last = load(region);
	unsigned want = choose(pool, &last, at), n = 0;
	uint32_t frames[S2_POOL_BATCH];
	int results[S2_POOL_BATCH];

	if (pool->read_ahead == 1 || in_window(&last, at))
		return;
	want = want < region->npages - at - 1 ? want : (unsigned)(region->npages - at - 1);
	if (want)
		n = gather(pool, region, page + 1, want, words, frames);
	store(region, at + 1 + n, n);
	if (!n)
		return;
	s2_pool_swap_in_many(pool, region, page + 1, n, words, frames, results);
	for (unsigned i = 0; i < n; i++)
		finish(pool, region, &page[1 + i], words[i], frames[i], !results[i]);
}
