/* SPDX-License-Identifier: MIT */
/*
 * The pool's memory: frames of 4 KiB in one memfd. Frame 0 is the zero frame, which nobody
 * may write to and which is never free; it is no part of the memfd.
 *
 * The others are numbered from 1, and each 512 in a row are a block, 2 MiB of memory that
 * is aligned so: what a huge page needs. Single frames are taken from blocks that are
 * in use already, so that whole ones stay whole. If the pool's size is no multiple of
 * 2 MiB, some frames at its end are in no whole block.
 *
 * In front of the blocks, which one lock protects, are caches of a few frames, one for
 * each thread unless there are very many. A frame that is free is in a block or in a
 * cache and nowhere else: what moves between them does so with both locked. So it
 * can be known for certain that none is free, without which a fault would return
 * -ENOMEM beside a free frame.
 */
#ifndef S2_POOL_FRAMES_H
#define S2_POOL_FRAMES_H

#include "base/lock.h"

#include <stage2/mm.h>
#include <stage2/pool.h>

/*
 * Who has a frame: a page's address, from 2^44 on, a shared page's index, or one of
 * FREE, and
 * IN_TRANSIT: taken, and no page's yet, or no longer.
 */
#define S2_FRAME_FREE UINT64_C(0)
#define S2_FRAME_IN_TRANSIT UINT64_C(1)
#define S2_FRAME_SHARED UINT64_C(2)
#define S2_FRAME_SHARED_SHIFT 12

static inline uint64_t s2_frame_shared_owner(uint32_t index)
{
	return (uint64_t)index << S2_FRAME_SHARED_SHIFT | S2_FRAME_SHARED;
}

/* Pages' addresses have none of the low bits. */
static inline bool s2_frame_is_shared(uint64_t owner)
{
	return owner & S2_FRAME_SHARED;
}

static inline uint32_t s2_frame_shared_index(uint64_t owner)
{
	return (uint32_t)(owner >> S2_FRAME_SHARED_SHIFT);
}

/*
 * How a frame has been used, for reclaim: its age, and
 * REFERENCED: since direct reclaim last came by; it has a second chance.
 * USED:       since the last step of aging, though a guest's accessed bit may not say so.
 */
#define S2_FRAME_AGE_MASK UINT32_C(7)
#define S2_FRAME_REFERENCED (UINT32_C(1) << 3)
#define S2_FRAME_USED (UINT32_C(1) << 4)

_Static_assert(S2_POOL_AGES == S2_FRAME_AGE_MASK + 1, "an age fits");

/*
 * @owner:   see above; read without a lock, and so a hint until the page is locked and
 *           found to have the frame.
 * @refused: what tiers have said to contents that are, or were, in the frame (room.h).
 */
struct s2_pool_frame {
	_Atomic uint64_t owner;
	_Atomic uint64_t refused;
	_Atomic uint32_t use;
};

_Static_assert(sizeof(struct s2_pool_frame) <= 24, "the table of frames stays small");

#define S2_POOL_BLOCK_SHIFT 9
#define S2_POOL_BLOCK_FRAMES (1u << S2_POOL_BLOCK_SHIFT)
#define S2_POOL_NO_BLOCK UINT32_MAX

/* Partly free blocks, the fullest first, each list of another 32 counts; then whole ones. */
#define S2_POOL_BLOCK_LISTS 17

/*
 * Its free frames, but for those in caches.
 * @free:    a bit for each.
 * @words:   which words of @free have any.
 * @list:    which one it is in.
 */
struct s2_pool_block {
	uint64_t free[S2_POOL_BLOCK_FRAMES / 64];
	uint32_t next;
	uint32_t prev;
	_Atomic uint16_t nr_free;
	uint8_t words;
	uint8_t list;
};

#define S2_POOL_CACHES 64
#define S2_POOL_CACHE_MAX 64

/*
 * @puts: how many frames came here by s2_pool_frame_put().
 * Both counts are changed with @lock held, and read without.
 */
struct s2_pool_cache {
	_Alignas(64) struct s2_spinlock lock;
	_Atomic uint32_t count;
	_Atomic uint32_t puts;
	uint32_t frames[S2_POOL_CACHE_MAX];
};

/*
 * In four groups, each on cache lines of its own: what does not change, or seldom; what
 * @lock protects; what reclaim changes; the caches.
 *
 * @memory:   where frame 0 is. @fd: frame 1 is at its beginning; @whole_blocks: of it blocks
 *            can be mapped, but no single frames.
 * @nr:       without the zero frame: they are 1 to nr.
 * @capacity: of a cache; 0 in a small pool, which has none.
 * @cached:   a bit for each cache. One that is clear says that the cache is empty; changed
 *            with the cache's lock held.
 * @isolated: a block, changed with @lock held.
 * @waiters:  in s2_pool_frame_wait().
 * @nr_free:  in all blocks but the isolated one.
 * @puts:     as a cache's, of what came here without one.
 * @nonempty: which of @lists are.
 * @wakeups:  what waiters sleep on.
 * @hand:     where direct reclaim goes on.
 */
struct s2_pool_frames {
	char *memory;
	int fd;
	bool whole_blocks;
	uint32_t nr;
	uint32_t nr_blocks; /* with the partial one */
	uint32_t capacity;
	struct s2_pool_frame *table;
	struct s2_pool_block *blocks;
	_Atomic uint64_t cached;
	_Atomic uint32_t isolated;
	_Atomic uint32_t waiters;

	_Alignas(64) struct s2_spinlock lock;
	_Atomic uint32_t nr_free;
	_Atomic uint32_t puts;
	uint32_t nonempty;
	uint32_t lists[S2_POOL_BLOCK_LISTS];

	_Alignas(64) _Atomic uint32_t hand;
	_Atomic uint32_t wakeups;
	_Atomic uint32_t next_home;

	struct s2_pool_cache caches[S2_POOL_CACHES];
};

/*
 * @huge_pages: the host's own, of 2 MiB, for the pool's memory, as far as it has them. Of
 *              @size bytes, a multiple of 4 KiB.
 */
int s2_pool_frames_init(struct s2_pool_frames *frames, uint64_t size, bool huge_pages,
			const struct s2_allocator *a);
void s2_pool_frames_free(struct s2_pool_frames *frames, const struct s2_allocator *a);

/*
 * Takes a frame, in transit, whose contents are whatever they are. 0: none is free, outside
 * of the isolated block; there was an instant in this call at which this was so.
 */
uint32_t s2_pool_frame_get(struct s2_pool_frames *frames);
void s2_pool_frame_put(struct s2_pool_frames *frames, uint32_t frame);

/* How many s2_pool_frame_get() may have; exact if nobody is at work. Looks at all caches. */
uint32_t s2_pool_frames_nr_free(struct s2_pool_frames *frames);

/*
 * At least so many, for who asks often: without those in caches, which are no more than a
 * 16th of the pool.
 */
static inline uint32_t s2_pool_frames_nr_free_uncached(struct s2_pool_frames *frames)
{
	return atomic_load_explicit(&frames->nr_free, memory_order_relaxed);
}

/* Frames in caches go back to their blocks. */
void s2_pool_frames_drain(struct s2_pool_frames *frames);

/*
 * Sleeps until a frame has been put back since @freed was read, but not for long: room may
 * come about in another way.
 */
uint32_t s2_pool_frames_freed(struct s2_pool_frames *frames);
void s2_pool_frame_wait(struct s2_pool_frames *frames, uint32_t freed);

/* A whole block that is free: its first frame's number, all 512 in transit. 0: there is none. */
uint32_t s2_pool_block_get(struct s2_pool_frames *frames);

/* The reverse; or of 512 frames in transit that were taken one by one and are a block. */
void s2_pool_block_put(struct s2_pool_frames *frames, uint32_t first);

/*
 * For compaction. While a block is isolated, its free frames, and those that are freed, are
 * not given out. One block at a time: the caller has a lock for that.
 */
void s2_pool_block_isolate(struct s2_pool_frames *frames, uint32_t block, bool isolate);

/* A frame in transit that is not in @block, of the fullest block there is. 0: there is none. */
uint32_t s2_pool_frame_get_outside(struct s2_pool_frames *frames, uint32_t block);

/* Not counting those in caches, see s2_pool_frames_drain(). */
static inline uint32_t s2_pool_block_nr_free(struct s2_pool_frames *frames, uint32_t block)
{
	return atomic_load_explicit(&frames->blocks[block].nr_free, memory_order_relaxed);
}

/* Whole ones, whether free or not: they are 0 to this. A partial one comes after them. */
static inline uint32_t s2_pool_frames_nr_blocks(const struct s2_pool_frames *frames)
{
	return frames->nr >> S2_POOL_BLOCK_SHIFT;
}

static inline uint32_t s2_pool_block_of(uint32_t frame)
{
	return (frame - 1) >> S2_POOL_BLOCK_SHIFT;
}

static inline uint32_t s2_pool_block_first(uint32_t block)
{
	return (block << S2_POOL_BLOCK_SHIFT) + 1;
}

/* For who maps a frame once more. -ENOTSUP: the host's memory comes in larger pages. */
int s2_pool_frames_backing(const struct s2_pool_frames *frames, const void *addr,
			   struct s2_backing *backing);

static inline void *s2_pool_frame_addr(const struct s2_pool_frames *frames, uint32_t frame)
{
	return frames->memory + ((uint64_t)frame << S2_PAGE_SHIFT);
}

/*
 * Acquire pairs with the release in s2_pool_frame_own(): who reads a shared page's number finds it
 * in the table of these, which may just have grown for it.
 */
static inline uint64_t s2_pool_frame_owner(struct s2_pool_frames *frames, uint32_t frame)
{
	return atomic_load_explicit(&frames->table[frame].owner, memory_order_acquire);
}

static inline void s2_pool_frame_own(struct s2_pool_frames *frames, uint32_t frame, uint64_t owner)
{
	atomic_store_explicit(&frames->table[frame].owner, owner, memory_order_release);
}

static inline void s2_pool_frame_used(struct s2_pool_frames *frames, uint32_t frame)
{
	_Atomic uint32_t *use = &frames->table[frame].use;
	const uint32_t both = S2_FRAME_REFERENCED | S2_FRAME_USED;

	if ((atomic_load_explicit(use, memory_order_relaxed) & both) != both)
		atomic_fetch_or_explicit(use, both, memory_order_relaxed);
}

#endif /* S2_POOL_FRAMES_H */
