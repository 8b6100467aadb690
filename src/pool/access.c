/* SPDX-License-Identifier: MIT */
/* What the host does to pages: reads, writes, discards. With the page locked, so that it stays. */
#include "pool/pool.h"

#include "base/guest_mode.h"
#include "base/mutant.h"

#include <errno.h>
#include <string.h>

/* The region that has all of [@hva, @hva + @size), with a reference. */
static struct s2_pool_region *region_of_range(struct s2_pool *pool, uint64_t hva, uint64_t size)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);

	if (region && size > s2_pool_region_end(region) - hva) {
		s2_pool_region_put(region);
		return NULL;
	}
	return region;
}

/* With the page locked, which is in @frame, or reads as the zero frame does. */
static int copy_locked(struct s2_pool *pool, struct s2_pool_region *region, uint64_t word,
		       uint32_t frame, unsigned offset, char *data, size_t len, unsigned access)
{
	char *addr = (char *)s2_pool_frame_addr(&pool->frames, frame) + offset;

	if (s2_pool_state(word) == S2_POOL_SHARED)
		return s2_pool_read_shared(pool, region, (uint32_t)s2_pool_payload(word), offset,
					   data, len);
	if (access == S2_ACCESS_WRITE)
		memcpy(addr, data, len);
	else
		memcpy(data, addr, len);
	return 0;
}

static int copy_in_page(struct s2_pool *pool, struct s2_pool_region *region, uint64_t hva,
			char *data, size_t len, unsigned access)
{
	struct s2_pool_page *page = s2_pool_page_at(region, hva);
	uint64_t word;
	uint32_t frame;
	int ret = s2_pool_page_in(pool, region, page, access, &word, &frame);

	if (ret)
		return ret;
	ret = copy_locked(pool, region, word, frame, hva & (S2_PAGE_SIZE - 1), data, len, access);
	s2_pool_page_unlock(page, word);
	return ret;
}

/* @data is only read if @access is S2_ACCESS_WRITE, and only written to otherwise. */
static int copy(struct s2_pool *pool, uint64_t hva, char *data, size_t len, unsigned access)
{
	struct s2_pool_region *region;
	bool left;
	int ret = 0;

	if (!pool || !data)
		return -EINVAL;
	region = region_of_range(pool, hva, len);
	if (!region)
		return -EINVAL;
	left = s2_guest_leave_all();
	while (len && !ret) {
		size_t in_page = S2_PAGE_SIZE - (hva & (S2_PAGE_SIZE - 1));

		in_page = len < in_page ? len : in_page;
		ret = copy_in_page(pool, region, hva, data, in_page, access);
		hva += in_page;
		data += in_page;
		len -= in_page;
	}
	s2_pool_region_put(region);
	if (left)
		s2_guest_return_all();
	return ret;
}

int s2_pool_read(struct s2_pool *pool, uint64_t hva, void *data, size_t len)
{
	return copy(pool, hva, data, len, S2_ACCESS_READ);
}

int s2_pool_write(struct s2_pool *pool, uint64_t hva, const void *data, size_t len)
{
	return copy(pool, hva, (char *)(uintptr_t)data, len, S2_ACCESS_WRITE);
}

static void drop_swapped(struct s2_pool *pool, struct s2_pool_region *region, uint64_t word)
{
	s2_pool_drop_slot(pool, word);
	S2_POOL_COUNT(pool, region->memcg, swapped, -1);
}

/* The shared page's lock comes before the invalidation: who has that may have to open one. */
static void drop_shared(struct s2_pool *pool, struct s2_pool_region *region,
			struct s2_pool_page *page, uint32_t nr, bool mapped)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	uint64_t word = s2_pool_shared_page_lock(&shared->page);

	if (mapped && !S2_MUTANT(DISCARD_STAYS_MAPPED))
		s2_pool_zap(pool, s2_pool_page_hva(region, page), S2_PAGE_SIZE);
	s2_pool_shared_leave(pool, nr, word, page);
	S2_POOL_COUNT(pool, region->memcg, shared, -1);
}

/*
 * Of the pages that have no frame of their own: what a tier has to do, and others have to let
 * go, is done with no invalidation open. True if there are others.
 */
static bool drop_frameless(struct s2_pool *pool, struct s2_pool_region *region,
			   struct s2_pool_page *page, uint64_t *word, bool mapped)
{
	switch (s2_pool_state(*word)) {
	case S2_POOL_SWAPPED:
		drop_swapped(pool, region, *word);
		break;
	case S2_POOL_SHARED:
		drop_shared(pool, region, page, (uint32_t)s2_pool_payload(*word), mapped);
		break;
	case S2_POOL_RESIDENT:
		s2_pool_split(pool, region, page);
		return true;
	case S2_POOL_ABSENT:
	case S2_POOL_ZERO: /* stays so: it reads as zeroes, whoever has the zero frame for it */
		return false;
	}
	*word = s2_pool_become(*word, S2_POOL_ABSENT);
	return false;
}

static void drop_frames(struct s2_pool *pool, struct s2_pool_region *region, unsigned n,
			uint64_t words[])
{
	for (unsigned i = 0; i < n; i++) {
		if (s2_pool_state(words[i]) != S2_POOL_RESIDENT)
			continue;
		s2_pool_give_frame(pool, region, (uint32_t)s2_pool_payload(words[i]));
		words[i] = s2_pool_become(words[i], S2_POOL_ABSENT);
	}
}

static void drop_run(struct s2_pool *pool, struct s2_pool_region *region,
		     struct s2_pool_page *pages, unsigned n, uint64_t words[], bool mapped)
{
	bool frames = false;

	for (unsigned i = 0; i < n; i++)
		frames |= drop_frameless(pool, region, &pages[i], &words[i], mapped);
	if (!frames)
		return;
	if (mapped && !S2_MUTANT(DISCARD_STAYS_MAPPED))
		s2_pool_zap(pool, s2_pool_page_hva(region, pages), (uint64_t)n << S2_PAGE_SHIFT);
	drop_frames(pool, region, n, words);
}

void s2_pool_drop_pages(struct s2_pool *pool, struct s2_pool_region *region, uint64_t first,
			uint64_t n, bool mapped)
{
	uint64_t words[S2_POOL_RUN];

	while (n) {
		struct s2_pool_page *pages = &region->pages[first];
		unsigned run = s2_pool_run_lock(pages, n < S2_POOL_RUN ? (unsigned)n : S2_POOL_RUN,
						words);

		drop_run(pool, region, pages, run, words, mapped);
		s2_pool_run_unlock(pages, run, words);
		first += run;
		n -= run;
	}
}

int s2_pool_find_pages(struct s2_pool *pool, uint64_t hva, uint64_t size,
		       struct s2_pool_region **region, uint64_t *first)
{
	if (!pool || !size || ((hva | size) & (S2_PAGE_SIZE - 1)))
		return -EINVAL;
	*region = region_of_range(pool, hva, size);
	if (!*region)
		return -EINVAL;
	*first = (hva - (*region)->hva) >> S2_PAGE_SHIFT;
	return 0;
}

int s2_pool_discard(struct s2_pool *pool, uint64_t hva, uint64_t size)
{
	struct s2_pool_region *region;
	uint64_t first;
	int ret = s2_pool_find_pages(pool, hva, size, &region, &first);
	bool left;

	if (ret)
		return ret;
	left = s2_guest_leave_all();
	s2_pool_drop_pages(pool, region, first, size >> S2_PAGE_SHIFT, true);
	s2_pool_region_put(region);
	if (left)
		s2_guest_return_all();
	return 0;
}

static int advise_page(struct s2_pool *pool, struct s2_pool_region *region,
		       struct s2_pool_page *page, enum s2_pool_advice advice)
{
	uint64_t word = s2_pool_page_lock(page);
	uint32_t frame;
	int ret = 0;

	if (advice == S2_POOL_DO_NOT_MERGE && s2_pool_state(word) == S2_POOL_SHARED) {
		s2_pool_page_unlock(page, word);
		ret = s2_pool_page_in(pool, region, page, S2_ACCESS_WRITE, &word, &frame);
		if (ret)
			return ret;
	}
	word = advice == S2_POOL_MERGE ? word | S2_POOL_MERGEABLE : word & ~S2_POOL_MERGEABLE;
	s2_pool_page_unlock(page, word);
	return ret;
}

int s2_pool_advise(struct s2_pool *pool, uint64_t hva, uint64_t size, enum s2_pool_advice advice)
{
	struct s2_pool_region *region;
	uint64_t first;
	bool left;
	int ret;

	if ((unsigned)advice > S2_POOL_DO_NOT_MERGE)
		return -EINVAL;
	ret = s2_pool_find_pages(pool, hva, size, &region, &first);
	if (ret)
		return ret;
	left = s2_guest_leave_all();
	for (uint64_t i = 0; !ret && i < size >> S2_PAGE_SHIFT; i++)
		ret = advise_page(pool, region, &region->pages[first + i], advice);
	s2_pool_region_put(region);
	if (left)
		s2_guest_return_all();
	return ret;
}
