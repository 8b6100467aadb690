/* SPDX-License-Identifier: MIT */
/*
 * The provider's fault(): what handle_mm_fault() is to a process. What it returns is not
 * pinned. Whoever takes a frame away opens an invalidation first; either the fault maps
 * before that and is zapped, or it finds the sequence changed and comes again.
 */
#include "pool/pool.h"

#include "base/mutant.h"

#include <errno.h>
#include <string.h>

/* The contents of a shared page, wherever they are; with its lock. */
static int copy_shared(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t word,
		       uint32_t frame)
{
	if (s2_pool_state(word) == S2_POOL_SWAPPED)
		return s2_pool_load_shared(pool, shared, word, frame);
	memcpy(s2_pool_frame_addr(&pool->frames, frame),
	       s2_pool_frame_addr(&pool->frames, (uint32_t)s2_pool_payload(word)), S2_PAGE_SIZE);
	return 0;
}

/*
 * Into a frame of the page's own. The shared page stays locked over the invalidation: until
 * that, this page's vCPUs may have its frame, which as long as the page is linked
 * nobody gives away without them.
 */
static int copy_and_leave(struct s2_pool *pool, uint64_t hva, struct s2_pool_page *page,
			  uint32_t nr, uint64_t word, uint32_t frame)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	int ret = copy_shared(pool, shared, word, frame);

	if (ret) {
		s2_pool_page_unlock(&shared->page, word);
		return ret;
	}
	if (!S2_MUTANT(COW_STAYS_MAPPED))
		s2_pool_zap(pool, hva, S2_PAGE_SIZE);
	s2_pool_shared_leave(pool, nr, word, page);
	return 0;
}

/*
 * Breaks the sharing. The last one takes the frame over, which its vCPUs may have already: the
 * next fault makes their SPTEs writable. *@frame: the one to do it with, and the page's after that.
 */
static int break_cow(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     uint32_t nr, uint32_t *frame)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	uint64_t word = s2_pool_shared_page_lock(&shared->page);
	int ret = 0;

	if (s2_pool_shared_take_over(pool, nr, word, page)) {
		s2_pool_frame_put(&pool->frames, *frame);
		*frame = (uint32_t)s2_pool_payload(word);
	} else {
		ret = copy_and_leave(pool, s2_pool_page_hva(region, page), page, nr, word, *frame);
		if (ret)
			return ret;
		S2_POOL_COUNT(pool, region->memcg, cow_breaks, 1);
	}
	S2_POOL_COUNT(pool, region->memcg, shared, -1);
	return 0;
}

/* What the page holds, into a frame that is nobody's yet; it may turn out to be another. */
static int fill_frame(struct s2_pool *pool, struct s2_pool_region *region,
		      struct s2_pool_page *page, uint64_t word, uint32_t *frame)
{
	switch (s2_pool_state(word)) {
	case S2_POOL_SWAPPED:
		return s2_pool_swap_in(pool, region, page, word, *frame);
	case S2_POOL_SHARED:
		return break_cow(pool, region, page, (uint32_t)s2_pool_payload(word), frame);
	default:
		memset(s2_pool_frame_addr(&pool->frames, *frame), 0, S2_PAGE_SIZE);
		return 0;
	}
}

/*
 * Into a frame, from wherever it is. The page stays locked over the invalidation, so
 * that a fault which comes after it waits for us and does not find the zero frame again.
 */
static int own_frame(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     uint64_t *word)
{
	uint32_t frame;
	int ret = s2_pool_take_frame(pool, region, &frame);

	if (ret)
		return ret;
	ret = fill_frame(pool, region, page, *word, &frame);
	if (ret) {
		s2_pool_give_frame(pool, region, frame);
		return ret;
	}
	/* vCPUs may have the zero frame for the page, which they must not keep. */
	if (s2_pool_state(*word) == S2_POOL_ZERO && !S2_MUTANT(ZERO_FRAME_STAYS))
		s2_pool_zap(pool, s2_pool_page_hva(region, page), S2_PAGE_SIZE);
	/* The scanner for equal pages has not seen it. */
	page->checksum = 0;
	*word = s2_pool_become(*word, s2_pool_resident_word(frame));
	s2_pool_frame_own(&pool->frames, frame, s2_pool_page_hva(region, page));
	return 0;
}

/* A shared page that has a frame, which it keeps as long as it is locked. */
static int lock_resident(struct s2_pool *pool, struct s2_pool_region *region, uint32_t nr,
			 uint64_t *word)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	uint32_t frame;
	int ret;

	*word = s2_pool_shared_page_lock(&shared->page);
	if (s2_pool_state(*word) == S2_POOL_RESIDENT)
		return 0;
	/*
	 * Without the lock: who has many pages locked, whose frames we may be waiting for,
	 * may wait for it.
	 */
	s2_pool_page_unlock(&shared->page, *word);
	if (s2_pool_killed(region))
		return -EFAULT;
	ret = s2_pool_take_shared_frame(pool, region, &frame);
	if (ret)
		return ret;
	*word = s2_pool_shared_page_lock(&shared->page);
	if (s2_pool_state(*word) != S2_POOL_RESIDENT)
		ret = s2_pool_load_shared(pool, shared, *word, frame);
	else
		ret = -EEXIST;
	if (ret) {
		s2_pool_give_frame(pool, NULL, frame);
		if (ret == -EEXIST)
			return 0;
		s2_pool_page_unlock(&shared->page, *word);
		return ret;
	}
	s2_pool_drop_slot(pool, *word);
	S2_POOL_COUNT(pool, NULL, swapped, -1);
	atomic_fetch_add_explicit(&pool->shared_frames, 1, memory_order_relaxed);
	*word = s2_pool_resident_word(frame);
	s2_pool_frame_own(&pool->frames, frame, s2_frame_shared_owner(nr));
	return 0;
}

/* Its frame, for reading. It may go at any time, but not without an invalidation. */
static int shared_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t nr,
			uint32_t *frame)
{
	uint64_t word;
	int ret = lock_resident(pool, region, nr, &word);

	if (ret)
		return ret;
	*frame = (uint32_t)s2_pool_payload(word);
	s2_pool_frame_used(&pool->frames, *frame);
	s2_pool_page_unlock(&s2_pool_shared_at(&pool->shared, nr)->page, word);
	return 0;
}

int s2_pool_read_shared(struct s2_pool *pool, struct s2_pool_region *region, uint32_t nr,
			unsigned offset, void *data, size_t len)
{
	uint64_t word;
	int ret = lock_resident(pool, region, nr, &word);

	if (ret)
		return ret;
	memcpy(data,
	       (char *)s2_pool_frame_addr(&pool->frames, (uint32_t)s2_pool_payload(word)) + offset,
	       len);
	s2_pool_page_unlock(&s2_pool_shared_at(&pool->shared, nr)->page, word);
	return 0;
}

static bool needs_own_frame(enum s2_pool_state state, unsigned access)
{
	return state == S2_POOL_SWAPPED || (state != S2_POOL_RESIDENT && access == S2_ACCESS_WRITE);
}

int s2_pool_page_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    unsigned access, uint64_t *word, uint32_t *frame)
{
	uint64_t before = s2_pool_page_lock(page);
	int ret = s2_pool_killed(region) ? -EFAULT : 0;

	*word = before;
	*frame = 0;
	if (!ret && needs_own_frame(s2_pool_state(before), access))
		ret = own_frame(pool, region, page, word);
	else if (!ret && s2_pool_state(before) == S2_POOL_SHARED)
		ret = shared_frame(pool, region, (uint32_t)s2_pool_payload(before), frame);
	if (ret) {
		s2_pool_page_unlock(page, before);
		return ret;
	}
	if (s2_pool_state(*word) == S2_POOL_RESIDENT) {
		*frame = (uint32_t)s2_pool_payload(*word);
		s2_pool_frame_used(&pool->frames, *frame);
	}
	if (before & S2_POOL_READ_AHEAD) {
		*word &= ~S2_POOL_READ_AHEAD;
		S2_POOL_COUNT(pool, region->memcg, read_ahead_used, 1);
	}
	if (s2_pool_state(before) == S2_POOL_SWAPPED || (before & S2_POOL_READ_AHEAD))
		s2_pool_read_ahead(pool, region, page);
	return 0;
}

/* So many pages are offered along with the one that is asked for. */
#define FAULT_AROUND 15u

/*
 * How many pages after one that is RESIDENT are so as well, in the frames after its own. They are
 * not locked by us, nor may they be by others: who is taking one away has invalidated it
 * already, maybe, before the fault's look at the sequence. Who locks it after us will
 * invalidate it, and the fault finds out.
 */
static unsigned count_neighbours(struct s2_pool_region *region, struct s2_pool_page *page,
				 uint32_t frame)
{
	uint64_t left = (uint64_t)(&region->pages[region->npages] - page) - 1;
	unsigned n = 0;

	while (n < FAULT_AROUND && n < left) {
		/* Acquire: after the sequence, which the fault has read before. */
		uint64_t word = atomic_load_explicit(&page[n + 1].word, memory_order_acquire);

		if ((word & ~S2_POOL_MERGEABLE) != s2_pool_resident_word(frame + n + 1))
			break;
		n++;
	}
	return n;
}

/* What vCPUs may map for the page, which is locked. */
static struct s2_page describe(struct s2_pool *pool, struct s2_pool_region *region,
			       struct s2_pool_page *page, uint64_t word, uint32_t frame)
{
	bool own = s2_pool_state(word) == S2_POOL_RESIDENT;
	char *addr = s2_pool_frame_addr(&pool->frames, frame);

	if (own && s2_pool_in_huge(region, page))
		return (struct s2_page){
			.addr = addr - (s2_pool_page_hva(region, page) & (S2_POOL_HVA_ALIGN - 1)),
			.shift = S2_HUGE_SHIFT,
			.writable = true,
		};
	return (struct s2_page){
		.addr = addr,
		.shift = S2_PAGE_SHIFT,
		.writable = own,
		.after = own ? count_neighbours(region, page, frame) : 0,
	};
}

static int pool_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *found)
{
	struct s2_pool *pool = ctx;
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);
	struct s2_pool_page *page;
	uint64_t word;
	uint32_t frame;
	int ret;

	if (!region)
		return -EFAULT;
	page = s2_pool_page_at(region, hva);
	ret = s2_pool_page_in(pool, region, page, access, &word, &frame);
	if (!ret) {
		*found = describe(pool, region, page, word, frame);
		if (s2_pool_state(word) == S2_POOL_ABSENT)
			word = s2_pool_become(word, S2_POOL_ZERO);
		s2_pool_page_unlock(page, word);
	}
	s2_pool_region_put(region);
	return ret;
}

static int pool_backing(void *ctx, const void *addr, struct s2_backing *backing)
{
	return s2_pool_frames_backing(&((struct s2_pool *)ctx)->frames, addr, backing);
}

const struct s2_provider_ops s2_pool_provider = {
	.name = "pool",
	.fault = pool_fault,
	.backing = pool_backing,
};
