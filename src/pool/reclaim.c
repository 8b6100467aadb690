/* SPDX-License-Identifier: MIT */
/*
 * A frame for who needs one: free, or made free by taking it from a page by second chance;
 * from one of the memcg's own if that is at its limit. In batches for kswapd.
 */
#include "pool/evict.h"
#include "pool/monotonic.h"
#include "pool/room.h"

#include <errno.h>

/* For a fault's read-ahead to leave alone. */
#define SPARE_FRAMES 16

static bool try_charge(struct s2_pool *pool, struct s2_memcg *memcg)
{
	uint64_t limit = atomic_load_explicit(&memcg->limit, memory_order_relaxed);
	uint64_t resident = atomic_load_explicit(&memcg->counts.resident, memory_order_relaxed);

	do {
		if (limit && resident >= limit)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&memcg->counts.resident, &resident,
							resident + 1, memory_order_relaxed,
							memory_order_relaxed));
	atomic_fetch_add_explicit(&pool->counts.resident, 1, memory_order_relaxed);
	return true;
}

void s2_pool_uncharge(struct s2_pool *pool, struct s2_pool_region *region)
{
	S2_POOL_COUNT(pool, region->memcg, resident, -1);
}

/*
 * Where to look next. With mercy, threads share a hand, so that they do not meet at the same
 * pages. But who has looked at as many as there are may then have seen half of them
 * twice, and the others not at all; and it is the round without mercy that decides that
 * there is no memory. In that one, each looks at all by itself: from @start on, @i for @i.
 */
static uint64_t turn_hand(_Atomic uint32_t *hand, bool mercy, uint64_t start, uint64_t i)
{
	return mercy ? atomic_fetch_add_explicit(hand, 1, memory_order_relaxed) : start + i;
}

/* Without mercy: so that the next one does not begin with the page that comes in now. */
static void put_hand(_Atomic uint32_t *hand, bool mercy, uint64_t at)
{
	if (!mercy)
		atomic_store_explicit(hand, (uint32_t)at + 1, memory_order_relaxed);
}

/*
 * What a look around has found. @busy: pages that may be had later. @locked: such that cannot
 * go, unless who is at work on them discards them.
 */
struct look {
	bool busy;
	bool locked;
};

static void see(struct look *look, enum s2_pool_outcome outcome)
{
	look->busy |= outcome == S2_POOL_BUSY;
	look->locked |= outcome == S2_POOL_IN_USE;
}

/* What cannot go is not locked for it: others would find it busy, and wait. */
static enum s2_pool_outcome try_owned(struct s2_pool *pool, uint32_t frame, uint64_t owner,
				      bool mercy)
{
	if (!s2_pool_may_go(pool, frame))
		return !mercy && s2_pool_is_locked(pool, owner) ? S2_POOL_IN_USE : S2_POOL_KEPT;
	if (mercy && s2_pool_second_chance(pool, frame, owner))
		return S2_POOL_KEPT;
	return s2_pool_evict(pool, frame, owner);
}

/* One look at a frame. A free one was not when the caller looked: things move. */
static enum s2_pool_outcome try_frame(struct s2_pool *pool, uint32_t frame, bool mercy)
{
	uint64_t owner = s2_pool_frame_owner(&pool->frames, frame);

	if (owner == S2_FRAME_FREE || owner == S2_FRAME_IN_TRANSIT)
		return S2_POOL_BUSY;
	return try_owned(pool, frame, owner, mercy);
}

/* Once around all frames. */
static bool go_around(struct s2_pool *pool, bool mercy, uint32_t *frame, struct look *look)
{
	struct s2_pool_frames *frames = &pool->frames;
	uint32_t start = atomic_load_explicit(&frames->hand, memory_order_relaxed) % frames->nr;

	for (uint32_t i = 0; i < frames->nr; i++) {
		uint64_t at = turn_hand(&frames->hand, mercy, start, i);
		enum s2_pool_outcome outcome;

		*frame = (uint32_t)(at % frames->nr) + 1;
		outcome = try_frame(pool, *frame, mercy);
		if (outcome == S2_POOL_EVICTED) {
			put_hand(&frames->hand, mercy, at);
			return true;
		}
		see(look, outcome);
	}
	return false;
}

/* Up to @want by second chance, once around at most. Shared frames go one by one: *@freed. */
static unsigned gather(struct s2_pool *pool, unsigned want, struct s2_pool_victim victims[],
		       unsigned *freed)
{
	struct s2_pool_frames *frames = &pool->frames;
	unsigned n = 0;

	for (uint32_t i = 0; i < frames->nr && n + *freed < want; i++) {
		uint32_t frame = (uint32_t)(turn_hand(&frames->hand, true, 0, i) % frames->nr) + 1;
		uint64_t owner = s2_pool_frame_owner(&pool->frames, frame);

		if (owner == S2_FRAME_FREE || owner == S2_FRAME_IN_TRANSIT ||
		    !s2_pool_may_go(pool, frame) || s2_pool_second_chance(pool, frame, owner))
			continue;
		if (!s2_frame_is_shared(owner)) {
			n += s2_pool_lock_victim(pool, frame, owner, &victims[n]);
		} else if (s2_pool_evict(pool, frame, owner) == S2_POOL_EVICTED) {
			s2_pool_frame_put(&pool->frames, frame);
			(*freed)++;
		}
	}
	return n;
}

unsigned s2_pool_evict_batch(struct s2_pool *pool, unsigned want, void *copies)
{
	struct s2_pool_victim victims[S2_POOL_BATCH];
	unsigned freed = 0, n = gather(pool, want, victims, &freed);

	return freed + s2_pool_evict_victims(pool, victims, n, copies);
}

/* Once around a region's pages; @found: how many have a frame. */
static bool go_around_region(struct s2_pool *pool, struct s2_pool_region *region, bool mercy,
			     uint32_t *frame, struct look *look, uint64_t *found)
{
	uint32_t start = atomic_load_explicit(&region->hand, memory_order_relaxed);

	for (uint64_t i = 0; i < region->npages; i++) {
		uint64_t at = turn_hand(&region->hand, mercy, start, i);
		struct s2_pool_page *page = &region->pages[at % region->npages];
		uint64_t word = atomic_load_explicit(&page->word, memory_order_relaxed);
		enum s2_pool_outcome outcome;

		if (s2_pool_state(word) != S2_POOL_RESIDENT)
			continue;
		(*found)++;
		*frame = (uint32_t)s2_pool_payload(word);
		outcome = try_owned(pool, *frame, s2_pool_page_hva(region, page), mercy);
		if (outcome == S2_POOL_EVICTED) {
			put_hand(&region->hand, mercy, at);
			return true;
		}
		see(look, outcome);
	}
	return false;
}

/* Once around a memcg's regions, beginning with another each time. */
static bool go_around_memcg(struct s2_memcg *memcg, bool mercy, uint32_t *frame, struct look *look)
{
	uint32_t turn = atomic_fetch_add_explicit(&memcg->turn, 1, memory_order_relaxed);
	unsigned nr = memcg->nr_regions ? memcg->nr_regions : 1;
	struct s2_pool_region *region;
	uint64_t found = 0;
	bool got = false;

	for (unsigned i = 0; i < nr && !got; i++) {
		region = s2_pool_memcg_region(memcg, (turn + i) % nr);
		if (!region)
			continue;
		got = go_around_region(memcg->pool, region, mercy, frame, look, &found);
		s2_pool_region_put(region);
	}
	/* Charged for, and no page's yet: in another fault's hands. */
	look->busy |= found < atomic_load_explicit(&memcg->counts.resident, memory_order_relaxed);
	return got;
}

static bool over_limit(struct s2_memcg *memcg, uint64_t more)
{
	uint64_t limit = atomic_load_explicit(&memcg->limit, memory_order_relaxed);

	return limit && atomic_load_explicit(&memcg->counts.resident, memory_order_relaxed) + more >
				limit;
}

static bool got_room(struct s2_pool *pool, struct s2_memcg *memcg)
{
	return memcg ? !over_limit(memcg, 1) : s2_pool_frames_nr_free(&pool->frames) > 0;
}

/* Its frames are not taken by others, nor given up before we are gone. */
static bool must_give_up(struct s2_pool_region *region)
{
	return !atomic_load_explicit(&region->live, memory_order_relaxed) || s2_pool_killed(region);
}

/*
 * How long who finds others at work goes on, if none of them frees a frame: a page that is stored,
 * or a frame that is filled, may be worth waiting for, until a server is found not to answer; but
 * with a tier that fails again and again each finds busy for ever what another tries in
 * vain. And how long if they do free frames, but somebody else is always faster.
 */
#define FRUITLESS_NS UINT64_C(2000000000)
#define UNLUCKY_NS UINT64_C(5000000000)

/* For who has locked pages that cannot go, some milliseconds: most do not discard theirs. */
#define LOCKED_WAITS 10

/* Of one fault, however often it begins anew. The times are 0 before it first lost patience. */
struct patience {
	uint64_t began_ns;
	uint64_t fruitful_ns;
	uint32_t freed;
};

static bool runs_out(struct patience *patience, uint32_t freed)
{
	uint64_t now = s2_monotonic_ns();

	if (!patience->began_ns)
		patience->began_ns = patience->fruitful_ns = now;
	if (freed != patience->freed)
		patience->fruitful_ns = now;
	patience->freed = freed;
	return now - patience->fruitful_ns > FRUITLESS_NS || now - patience->began_ns > UNLUCKY_NS;
}

/* May others free a frame soon? @waits: how often it was so for the sake of locked pages. */
static bool is_hope(const struct look *look, unsigned *waits)
{
	return look->busy || (look->locked && (*waits)++ < LOCKED_WAITS);
}

/*
 * Evicts a page for @region's sake, one of @memcg's if that is not NULL. 0: *@frame is the
 * caller's; -EAGAIN: there is room now without that. Some rounds with mercy; then one
 * without, and only if that finds nobody at work either, there is no memory.
 */
static int direct_reclaim(struct s2_pool *pool, struct s2_pool_region *region,
			  struct s2_memcg *memcg, struct patience *patience, uint32_t *frame)
{
	unsigned waits = 0;

	for (unsigned round = 0;; round++) {
		uint32_t freed = s2_pool_frames_freed(&pool->frames);
		bool mercy = round < S2_POOL_MERCIFUL_ROUNDS;
		struct look look = { false };

		if (round == S2_POOL_MERCIFUL_ROUNDS)
			s2_pool_ask_again(pool);
		if (memcg ? go_around_memcg(memcg, mercy, frame, &look) :
			    go_around(pool, mercy, frame, &look))
			return 0;
		/* There may be room for a moment each time, and another who takes it. */
		if (got_room(pool, memcg))
			return runs_out(patience, freed) ? -ENOMEM : -EAGAIN;
		if (must_give_up(region))
			return -EFAULT;
		if (mercy)
			continue;
		if (!is_hope(&look, &waits) || runs_out(patience, freed))
			return -ENOMEM;
		s2_pool_frame_wait(&pool->frames, freed);
	}
}

/* Raises the charge by one, which the limit may not allow before a page is gone. */
static int charge(struct s2_pool *pool, struct s2_pool_region *region, bool *reclaimed)
{
	struct patience patience = { 0 };
	uint32_t frame;
	int ret;

	while (!try_charge(pool, region->memcg)) {
		*reclaimed = true;
		ret = direct_reclaim(pool, region, region->memcg, &patience, &frame);
		if (!ret)
			s2_pool_frame_put(&pool->frames, frame);
		else if (ret != -EAGAIN)
			return ret;
	}
	return 0;
}

/* A free frame, or one that is made free. */
static int find_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame,
		      bool *reclaimed)
{
	struct patience patience = { 0 };

	for (;;) {
		int ret;

		*frame = s2_pool_frame_get(&pool->frames);
		if (*frame)
			return 0;
		*reclaimed = true;
		ret = direct_reclaim(pool, region, NULL, &patience, frame);
		if (ret == -ENOMEM && s2_pool_out_of_memory(pool)) {
			/* The victim may have been its own memcg. */
			if (s2_pool_killed(region))
				return -EFAULT;
			patience = (struct patience){ 0 };
			continue;
		}
		if (ret != -EAGAIN)
			return ret;
	}
}

static void begin_use(struct s2_pool *pool, uint32_t frame)
{
	atomic_store_explicit(&pool->frames.table[frame].use, 0, memory_order_relaxed);
	s2_pool_wake_kswapd(pool);
}

int s2_pool_take_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame)
{
	bool reclaimed = false;
	int ret = charge(pool, region, &reclaimed);

	if (ret)
		return ret;
	ret = find_frame(pool, region, frame, &reclaimed);
	if (ret) {
		s2_pool_uncharge(pool, region);
		return ret;
	}
	if (reclaimed)
		S2_POOL_COUNT(pool, region->memcg, direct_reclaims, 1);
	begin_use(pool, *frame);
	return 0;
}

int s2_pool_take_shared_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame)
{
	bool reclaimed = false;
	int ret = find_frame(pool, region, frame, &reclaimed);

	if (ret)
		return ret;
	if (reclaimed)
		S2_POOL_COUNT(pool, NULL, direct_reclaims, 1);
	begin_use(pool, *frame);
	return 0;
}

uint32_t s2_pool_take_free_frame(struct s2_pool *pool, struct s2_pool_region *region)
{
	uint32_t frame;

	if (s2_pool_frames_nr_free(&pool->frames) < SPARE_FRAMES ||
	    !try_charge(pool, region->memcg))
		return 0;
	frame = s2_pool_frame_get(&pool->frames);
	if (frame)
		begin_use(pool, frame);
	else
		s2_pool_uncharge(pool, region);
	return frame;
}

void s2_pool_give_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t frame)
{
	/* Before the frame: who waits for one looks whether its limit has room then. */
	if (region)
		s2_pool_uncharge(pool, region);
	s2_pool_frame_put(&pool->frames, frame);
}

int s2_pool_reclaim_to_limit(struct s2_memcg *memcg)
{
	struct s2_pool_frames *frames = &memcg->pool->frames;
	unsigned waits = 0;

	s2_pool_ask_again(memcg->pool);
	while (over_limit(memcg, 0)) {
		uint32_t freed = s2_pool_frames_freed(frames), frame;
		struct look look = { false };

		/* Without mercy: whoever sets a limit does not wait for pages to get old. */
		if (go_around_memcg(memcg, true, &frame, &look) ||
		    go_around_memcg(memcg, false, &frame, &look))
			s2_pool_frame_put(frames, frame);
		else if (over_limit(memcg, 0) && !is_hope(&look, &waits))
			return -ENOMEM;
		else
			s2_pool_frame_wait(frames, freed);
	}
	return 0;
}
