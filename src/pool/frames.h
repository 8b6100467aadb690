/* SPDX-License-Identifier: MIT */
/*
 * The pool's memory: frames of 4 KiB in one memfd, the free ones in a list. Frame 0 is the
 * zero frame, which nobody may write to and which is never free.
 */
#ifndef S2_POOL_FRAMES_H
#define S2_POOL_FRAMES_H

#include "base/lock.h"

#include <stage2/pool.h>

/* Instead of an owner; no region has these addresses. */
#define S2_FRAME_FREE UINT64_C(0)
#define S2_FRAME_IN_TRANSIT UINT64_C(1) /* taken, and no page's yet, or no longer */

/*
 * How a frame has been used, for reclaim: its age, and
 * REFERENCED: since direct reclaim last came by; it has a second chance.
 * USED:       since the last step of aging, though a guest's accessed bit may not say so.
 * FLUSHES:    its accessed bit is the last to be cleared in this step.
 */
#define S2_FRAME_AGE_MASK UINT32_C(7)
#define S2_FRAME_REFERENCED (UINT32_C(1) << 3)
#define S2_FRAME_USED (UINT32_C(1) << 4)
#define S2_FRAME_FLUSHES (UINT32_C(1) << 5)

_Static_assert(S2_POOL_AGES == S2_FRAME_AGE_MASK + 1, "an age fits");

/*
 * @owner: the page's address in the pool, by which reclaim finds it; read without a
 *         lock, and so a hint until the page is locked and found to have the frame.
 */
struct s2_pool_frame {
	_Atomic uint64_t owner;
	_Atomic uint32_t use;
	uint32_t next; /* in the free list; 0 ends it */
};

/*
 * @freed: changes when a frame is put back, for those who sleep until one is.
 * @hand:  where direct reclaim goes on.
 */
struct s2_pool_frames {
	char *memory;
	uint32_t nr; /* without the zero frame: they are 1 to nr */
	struct s2_pool_frame *table;
	struct s2_spinlock lock; /* protects the list and nr_free's changes */
	uint32_t first;
	_Atomic uint32_t nr_free;
	_Atomic uint32_t freed;
	_Atomic uint32_t waiters;
	_Atomic uint32_t hand;
};

int s2_pool_frames_init(struct s2_pool_frames *frames, uint64_t size, const struct s2_allocator *a);
void s2_pool_frames_free(struct s2_pool_frames *frames, const struct s2_allocator *a);

/* Takes a frame, in transit, whose contents are whatever they are. 0: none is free. */
uint32_t s2_pool_frame_get(struct s2_pool_frames *frames);
void s2_pool_frame_put(struct s2_pool_frames *frames, uint32_t frame);

/*
 * Sleeps until a frame has been put back since @freed was read, but not for long: room may
 * come about in another way.
 */
uint32_t s2_pool_frames_freed(struct s2_pool_frames *frames);
void s2_pool_frame_wait(struct s2_pool_frames *frames, uint32_t freed);

static inline void *s2_pool_frame_addr(const struct s2_pool_frames *frames, uint32_t frame)
{
	return frames->memory + ((uint64_t)frame << S2_PAGE_SHIFT);
}

static inline uint64_t s2_pool_frame_owner(struct s2_pool_frames *frames, uint32_t frame)
{
	return atomic_load_explicit(&frames->table[frame].owner, memory_order_relaxed);
}

static inline void s2_pool_frame_own(struct s2_pool_frames *frames, uint32_t frame, uint64_t owner)
{
	atomic_store_explicit(&frames->table[frame].owner, owner, memory_order_relaxed);
}

static inline void s2_pool_frame_used(struct s2_pool_frames *frames, uint32_t frame)
{
	_Atomic uint32_t *use = &frames->table[frame].use;
	const uint32_t both = S2_FRAME_REFERENCED | S2_FRAME_USED;

	if ((atomic_load_explicit(use, memory_order_relaxed) & both) != both)
		atomic_fetch_or_explicit(use, both, memory_order_relaxed);
}

#endif /* S2_POOL_FRAMES_H */
