/* SPDX-License-Identifier: MIT */
/*
 * Migration and compaction: pages go on in other frames, under running guests, so that frames that
 * are free here and there become blocks of 2 MiB that are free as a whole.
 *
 * A page is locked from before the invalidation until it has its new frame: who faults
 * meanwhile waits for it. As in reclaim, whose page a frame is, is a hint until that page is
 * locked; and it is locked by trying only, since what is in use by others is no frame to wait for.
 */
#include "pool/evict.h"

#include "base/guest_mode.h"
#include "base/mutant.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

/* How often a block is gone through: who has a page locked is done with it soon. */
#define PASSES 3

uint64_t s2_pool_move_contents(struct s2_pool *pool, uint64_t word, uint64_t owner, uint32_t to)
{
	struct s2_pool_frames *frames = &pool->frames;
	uint32_t from = (uint32_t)s2_pool_payload(word);

	memcpy(s2_pool_frame_addr(frames, to), s2_pool_frame_addr(frames, from), S2_PAGE_SIZE);
	atomic_store_explicit(&frames->table[to].use,
			      atomic_load_explicit(&frames->table[from].use, memory_order_relaxed),
			      memory_order_relaxed);
	s2_pool_frame_own(frames, to, owner);
	s2_pool_frame_put(frames, from);
	return (word & S2_POOL_FLAGS) | s2_pool_resident_word(to);
}

/* The page is locked. */
static void migrate_page(struct s2_pool *pool, struct s2_pool_region *region,
			 struct s2_pool_page *page, uint64_t *word, uint32_t to)
{
	uint64_t hva = s2_pool_page_hva(region, page);
	struct s2_invalidation inv;

	s2_pool_split(pool, region, page);
	if (S2_MUTANT(MIGRATE_COPIES_EARLY))
		*word = s2_pool_move_contents(pool, *word, hva, to);
	s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_PAGE_SIZE, 0);
	if (!S2_MUTANT(MIGRATE_COPIES_EARLY))
		*word = s2_pool_move_contents(pool, *word, hva, to);
	s2_invalidate_range_end(pool->mm, &inv);
	S2_POOL_COUNT(pool, region->memcg, migrated, 1);
}

static bool migrate_own(struct s2_pool *pool, uint32_t frame, uint64_t hva, uint32_t to)
{
	struct s2_pool_victim v;

	if (!s2_pool_lock_victim(pool, frame, hva, &v))
		return false;
	migrate_page(pool, v.region, v.page, &v.word, to);
	s2_pool_unlock_victim(&v);
	return true;
}

static bool migrate_shared(struct s2_pool *pool, uint32_t frame, uint64_t owner, uint32_t to)
{
	struct s2_pool_shared *shared =
		s2_pool_shared_at(&pool->shared, s2_frame_shared_index(owner));
	uint64_t word;
	bool moved;

	if (!s2_pool_page_trylock(&shared->page, &word))
		return false;
	moved = s2_pool_has_frame(word, frame);
	if (moved) {
		s2_pool_shared_take_away(pool, shared);
		word = s2_pool_move_contents(pool, word, owner, to);
		S2_POOL_COUNT(pool, NULL, migrated, 1);
	}
	s2_pool_page_unlock(&shared->page, word);
	return moved;
}

/* Frees @frame and has @to in use instead; or false, and neither has changed. */
static bool migrate(struct s2_pool *pool, uint32_t frame, uint32_t to)
{
	uint64_t owner = s2_pool_frame_owner(&pool->frames, frame);

	if (owner == S2_FRAME_FREE || owner == S2_FRAME_IN_TRANSIT)
		return false;
	if (s2_frame_is_shared(owner))
		return migrate_shared(pool, frame, owner, to);
	return migrate_own(pool, frame, owner, to);
}

/* Once through the block, which is isolated. False: nothing is free anywhere else. */
static bool move_out(struct s2_pool *pool, uint32_t block)
{
	struct s2_pool_frames *frames = &pool->frames;
	uint32_t first = s2_pool_block_first(block), to = 0;

	for (uint32_t frame = first; frame < first + S2_POOL_BLOCK_FRAMES; frame++) {
		if (s2_pool_frame_owner(frames, frame) == S2_FRAME_FREE)
			continue;
		if (!to)
			to = s2_pool_frame_get_outside(frames, block);
		if (!to)
			return false;
		if (migrate(pool, frame, to))
			to = 0;
	}
	if (to)
		s2_pool_frame_put(frames, to);
	return true;
}

/*
 * Isolated, so that what is moved out of it stays free. Others do without its free frames for
 * that time, and wait if there are no more: none of them finds that there is no memory, as
 * reclaim takes a frame that is free, and that it did not get, for one to come.
 */
static void empty(struct s2_pool *pool, uint32_t block)
{
	s2_pool_block_isolate(&pool->frames, block, true);
	for (unsigned pass = 0; pass < PASSES; pass++) {
		if (pass)
			sched_yield();
		if (!move_out(pool, block) ||
		    s2_pool_block_nr_free(&pool->frames, block) == S2_POOL_BLOCK_FRAMES)
			break;
	}
	s2_pool_block_isolate(&pool->frames, block, false);
}

/*
 * The block that is emptied, and how many of its frames were in use. They are taken in the
 * order of these, then of their numbers: each comes up once, whether it could be emptied or not.
 */
struct turn {
	uint32_t used;
	uint32_t block;
};

static bool comes_after(const struct turn *turn, const struct turn *other)
{
	return turn->used != other->used ? turn->used > other->used : turn->block > other->block;
}

/*
 * Whole blocks are not looked at: a full one may be a guest's 2 MiB. False if what is free
 * in the others is not enough to empty the next one, and so none that comes after it.
 */
static bool next_turn(struct s2_pool_frames *frames, struct turn *turn)
{
	struct turn next = { .used = UINT32_MAX };
	uint64_t room = 0;

	for (uint32_t block = 0; block < frames->nr_blocks; block++) {
		uint32_t nr_free = s2_pool_block_nr_free(frames, block);
		struct turn this = { .used = S2_POOL_BLOCK_FRAMES - nr_free, .block = block };

		if (!nr_free || nr_free == S2_POOL_BLOCK_FRAMES)
			continue;
		room += nr_free;
		if (block < s2_pool_frames_nr_blocks(frames) && comes_after(&this, turn) &&
		    comes_after(&next, &this))
			next = this;
	}
	*turn = next;
	/* The block's own free frames are in @room: without them, what is used fits if this holds. */
	return next.used < S2_POOL_BLOCK_FRAMES && room >= S2_POOL_BLOCK_FRAMES;
}

void s2_pool_make_blocks(struct s2_pool *pool)
{
	struct turn turn = { 0 };

	s2_mutex_lock(&pool->compact_lock);
	s2_pool_frames_drain(&pool->frames);
	while (next_turn(&pool->frames, &turn))
		empty(pool, turn.block);
	s2_mutex_unlock(&pool->compact_lock);
}

int64_t s2_pool_compact(struct s2_pool *pool)
{
	struct s2_pool_stats stats;
	bool left;

	if (!pool)
		return -EINVAL;
	left = s2_guest_leave_all();
	s2_pool_make_blocks(pool);
	if (left)
		s2_guest_return_all();
	s2_pool_get_stats(pool, &stats);
	return (int64_t)stats.free_blocks;
}
