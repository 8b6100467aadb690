/* SPDX-License-Identifier: MIT */
/*
 * Taking frames away from pages: because a fault needs one (direct reclaim, by second
 * chance), or because somebody wants memory back (s2_pool_reclaim(), by age).
 *
 * Candidates come from the table of frames, which says to which page each belongs. That
 * is a hint: page and region may go meanwhile, so the region is looked up, and the page,
 * locked, must still have the frame. Pages are locked by trying only, since a
 * fault that reclaims has one locked already.
 */
#include "pool/pool.h"

#include "base/guest_mode.h"

#include <errno.h>

/*
 * EVICTED: the frame is the caller's, in transit, and its region not charged for it.
 * BUSY:    somebody is at work on it, and it may come free without us.
 * KEPT:    it is wanted, or no tier would take it.
 */
enum outcome { EVICTED, BUSY, KEPT };

static bool try_charge(struct s2_pool *pool, struct s2_pool_region *region)
{
	uint64_t resident = atomic_load_explicit(&region->counts.resident, memory_order_relaxed);

	do {
		if (region->limit && resident >= region->limit)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&region->counts.resident, &resident,
							resident + 1, memory_order_relaxed,
							memory_order_relaxed));
	atomic_fetch_add_explicit(&pool->counts.resident, 1, memory_order_relaxed);
	return true;
}

static void uncharge(struct s2_pool *pool, struct s2_pool_region *region)
{
	S2_POOL_COUNT(pool, region, resident, -1);
}

/* The page is locked. */
static enum outcome evict_page(struct s2_pool *pool, struct s2_pool_region *region,
			       struct s2_pool_page *page, uint32_t frame, uint64_t *word)
{
	if (s2_pool_state(*word) != S2_POOL_RESIDENT || s2_pool_payload(*word) != frame)
		return BUSY;
	if (s2_pool_swap_out(pool, region, page, frame, word))
		return KEPT;
	s2_pool_frame_own(&pool->frames, frame, S2_FRAME_IN_TRANSIT);
	uncharge(pool, region);
	return EVICTED;
}

/* @hva: the frame's owner, as was read. */
static enum outcome evict(struct s2_pool *pool, uint32_t frame, uint64_t hva)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);
	enum outcome outcome = BUSY;
	struct s2_pool_page *page;
	uint64_t word;

	if (!region)
		return BUSY;
	page = s2_pool_page_at(region, hva);
	if (s2_pool_page_trylock(page, &word)) {
		outcome = evict_page(pool, region, page, frame, &word);
		s2_pool_page_unlock(page, word);
	}
	s2_pool_region_put(region);
	return outcome;
}

/* Has the page been used since the last time? The answer of its accessed bits is kept for aging. */
static bool second_chance(struct s2_pool *pool, uint32_t frame, uint64_t hva)
{
	_Atomic uint32_t *use = &pool->frames.table[frame].use;
	bool young = s2_clear_young(pool->mm, hva, hva + S2_PAGE_SIZE);

	if (young)
		atomic_fetch_or_explicit(use, S2_FRAME_USED, memory_order_relaxed);
	return (atomic_fetch_and_explicit(use, ~S2_FRAME_REFERENCED, memory_order_relaxed) &
		S2_FRAME_REFERENCED) || young;
}

static uint32_t turn_hand(struct s2_pool_frames *frames)
{
	return atomic_fetch_add_explicit(&frames->hand, 1, memory_order_relaxed) % frames->nr + 1;
}

/* One look at a frame; of @only's if that is not NULL. */
static enum outcome try_frame(struct s2_pool *pool, uint32_t frame, struct s2_pool_region *only,
			      bool mercy)
{
	uint64_t hva = s2_pool_frame_owner(&pool->frames, frame);

	if (only && (hva < only->hva || hva >= s2_pool_region_end(only)))
		return KEPT;
	/* A free one was not when the caller looked: things move. */
	if (hva == S2_FRAME_FREE || hva == S2_FRAME_IN_TRANSIT)
		return BUSY;
	if (mercy && second_chance(pool, frame, hva))
		return KEPT;
	return evict(pool, frame, hva);
}

/* Once around. Sets *@busy if what it did not get may be had later. */
static bool go_around(struct s2_pool *pool, struct s2_pool_region *only, bool mercy,
		      uint32_t *frame, bool *busy)
{
	uint64_t owned = 0;

	*busy = false;
	for (uint32_t i = 0; i < pool->frames.nr; i++) {
		enum outcome outcome;
		uint64_t hva;

		*frame = turn_hand(&pool->frames);
		hva = s2_pool_frame_owner(&pool->frames, *frame);
		if (only && hva >= only->hva && hva < s2_pool_region_end(only))
			owned++;
		outcome = try_frame(pool, *frame, only, mercy);
		if (outcome == EVICTED)
			return true;
		*busy |= outcome == BUSY;
	}
	/* Charged for, and no page's yet: in another fault's hands. */
	*busy |= only && owned < only->limit;
	return false;
}

static bool got_room(struct s2_pool *pool, struct s2_pool_region *only)
{
	if (only)
		return atomic_load_explicit(&only->counts.resident, memory_order_relaxed) <
		       only->limit;
	return atomic_load_explicit(&pool->frames.nr_free, memory_order_relaxed);
}

/*
 * Evicts a page for @region's sake, one of its own if @own. 0: *@frame is the caller's;
 * -EAGAIN: there is room now without that. Two rounds with mercy, since the first
 * may find all pages used; then one without, and only if that finds nobody at
 * work either, there is no memory.
 */
static int direct_reclaim(struct s2_pool *pool, struct s2_pool_region *region, bool own,
			  uint32_t *frame)
{
	struct s2_pool_region *only = own ? region : NULL;
	bool busy;

	for (unsigned round = 0;; round++) {
		uint32_t freed = s2_pool_frames_freed(&pool->frames);

		if (go_around(pool, only, round < 2, frame, &busy))
			return 0;
		if (got_room(pool, only))
			return -EAGAIN;
		/* Its frames are not taken by others, nor given up before we are gone. */
		if (atomic_load_explicit(&region->unmapped, memory_order_relaxed))
			return -EFAULT;
		if (round >= 2 && !busy)
			return -ENOMEM;
		if (round >= 2)
			s2_pool_frame_wait(&pool->frames, freed);
	}
}

/* Raises @region's charge by one, which its limit may not allow before a page is gone. */
static int charge(struct s2_pool *pool, struct s2_pool_region *region, bool *reclaimed)
{
	uint32_t frame;
	int ret;

	while (!try_charge(pool, region)) {
		*reclaimed = true;
		ret = direct_reclaim(pool, region, true, &frame);
		if (!ret)
			s2_pool_frame_put(&pool->frames, frame);
		else if (ret != -EAGAIN)
			return ret;
	}
	return 0;
}

/* A free frame, or one that is made free; the region is charged for it already. */
static int find_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame,
		      bool *reclaimed)
{
	for (;;) {
		int ret;

		*frame = s2_pool_frame_get(&pool->frames);
		if (*frame)
			return 0;
		*reclaimed = true;
		ret = direct_reclaim(pool, region, false, frame);
		if (ret != -EAGAIN)
			return ret;
	}
}

int s2_pool_take_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame)
{
	bool reclaimed = false;
	int ret = charge(pool, region, &reclaimed);

	if (ret)
		return ret;
	ret = find_frame(pool, region, frame, &reclaimed);
	if (ret) {
		uncharge(pool, region);
		return ret;
	}
	if (reclaimed)
		S2_POOL_COUNT(pool, region, direct_reclaims, 1);
	atomic_store_explicit(&pool->frames.table[*frame].use, 0, memory_order_relaxed);
	return 0;
}

void s2_pool_give_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t frame)
{
	s2_pool_frame_put(&pool->frames, frame);
	uncharge(pool, region);
}

/* @min_age 0 asks for all of them, used or not. */
static bool old_enough(struct s2_pool *pool, uint32_t frame, uint64_t hva, unsigned age,
		       unsigned min_age)
{
	uint32_t use = atomic_load_explicit(&pool->frames.table[frame].use, memory_order_relaxed);

	if ((use & S2_FRAME_AGE_MASK) != age)
		return false;
	return !min_age || !((use & S2_FRAME_USED) || s2_test_young(pool->mm, hva));
}

/* Frees the frames of pages of @age; how many bytes. */
static uint64_t reclaim_age(struct s2_pool *pool, uint64_t bytes, unsigned age, unsigned min_age)
{
	uint64_t freed = 0;

	for (uint32_t frame = 1; frame <= pool->frames.nr && freed < bytes; frame++) {
		uint64_t hva = s2_pool_frame_owner(&pool->frames, frame);

		if (hva == S2_FRAME_FREE || hva == S2_FRAME_IN_TRANSIT ||
		    !old_enough(pool, frame, hva, age, min_age) ||
		    evict(pool, frame, hva) != EVICTED)
			continue;
		s2_pool_frame_put(&pool->frames, frame);
		freed += S2_PAGE_SIZE;
	}
	return freed;
}

int64_t s2_pool_reclaim(struct s2_pool *pool, uint64_t bytes, unsigned min_age)
{
	uint64_t freed = 0;
	bool left;

	if (!pool || min_age >= S2_POOL_AGES)
		return -EINVAL;
	left = s2_guest_leave_all();
	for (unsigned age = S2_POOL_AGES; age-- > min_age && freed < bytes;)
		freed += reclaim_age(pool, bytes - freed, age, min_age);
	if (left)
		s2_guest_return_all();
	return (int64_t)freed;
}
