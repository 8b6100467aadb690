/* SPDX-License-Identifier: MIT */
/*
 * The pool provider's own parts: struct s2_pool, its regions, and what fault(), reclaim
 * and the host's access share. docs/pool.md tells how they fit together.
 */
#ifndef S2_POOL_POOL_H
#define S2_POOL_POOL_H

#include "base/futex.h"
#include "base/lock.h"
#include "base/rcu_itree.h"
#include "pool/frames.h"
#include "pool/page.h"
#include "pool/shared.h"

#include <stage2/notifier.h>
#include <stage2/pool.h>

/*
 * Where regions may lie: 16 TiB, so that 32 bits number a page. Apart, and each at the
 * beginning of a 2 MiB block.
 */
#define S2_POOL_HVA_FIRST (UINT64_C(1) << 44)
#define S2_POOL_HVA_LAST (UINT64_C(1) << 45)
#define S2_POOL_HVA_ALIGN (UINT64_C(1) << S2_HUGE_SHIFT)
#define S2_POOL_CHUNK_PAGES (S2_POOL_HVA_ALIGN >> S2_PAGE_SHIFT)

/* As in struct s2_pool_stats. A memcg's @resident is what its limit is compared with. */
struct s2_pool_counts {
	_Atomic uint64_t resident;
	_Atomic uint64_t shared;
	_Atomic uint64_t swapped;
	_Atomic uint64_t zero;
	_Atomic uint64_t swap_outs;
	_Atomic uint64_t swap_ins;
	_Atomic uint64_t read_ahead;
	_Atomic uint64_t read_ahead_used;
	_Atomic uint64_t direct_reclaims;
	_Atomic uint64_t tier_errors;
	_Atomic uint64_t merged;
	_Atomic uint64_t cow_breaks;
	_Atomic uint64_t migrated;
	_Atomic uint64_t collapsed;
	_Atomic uint64_t split;
};

/*
 * Counts in a memcg and in the pool, which outlives it; with a NULL memcg in the pool
 * alone. Modulo 2^64, so that -1 will do.
 */
#define S2_POOL_COUNT(pool, memcg, field, n)                                                       \
	do {                                                                                       \
		struct s2_memcg *counts_of_ = (memcg);                                             \
		atomic_fetch_add_explicit(&(pool)->counts.field, (uint64_t)(n),                    \
					  memory_order_relaxed);                                   \
		if (counts_of_)                                                                    \
			atomic_fetch_add_explicit(&counts_of_->counts.field, (uint64_t)(n),        \
						  memory_order_relaxed);                           \
	} while (0)

/*
 * @limit:   in pages; 0 for none.
 * @regions: newest first; readers are in RCU sections. @nr_regions, and the list's
 *           changing, under regions_lock.
 * @killed:  its memory was given up for the sake of others (oom.c).
 * @next:    of the pool's, changed under regions_lock, read under oom_lock.
 */
struct s2_memcg {
	struct s2_pool *pool;
	_Atomic uint64_t limit;
	int oom_priority;
	_Atomic bool killed;
	_Atomic(struct s2_pool_region *) regions;
	_Atomic unsigned nr_regions;
	_Atomic uint32_t turn; /* which of the regions reclaim looks at next */
	_Atomic(struct s2_memcg *) next;
	struct s2_pool_counts counts __attribute__((aligned(64)));
};

/*
 * Who is at work on a region's pages, counted by thread, so that vCPUs which fault at the
 * same time do not write to one cache line.
 */
#define S2_POOL_REGION_REFS 16
struct s2_pool_region_refs {
	_Atomic uint32_t n;
} __attribute__((aligned(64)));

/*
 * @live:  may be used. Not yet, while a clone is being filled; no longer, when it is unmapped.
 * @left:  changes when somebody leaves it after that.
 * @hand:  where reclaim for the memcg's sake goes on.
 * @next:  of the memcg's.
 * @ahead: read-ahead's: the page after the last one that was swapped in, and the window.
 * @huge:  a bit for each 2 MiB of pages that lie in one block of frames, in their order, so that
 *         vCPUs may have them by one leaf. Set with all these pages locked; cleared with one.
 */
struct s2_pool_region {
	uint64_t hva;
	uint64_t npages;
	struct s2_memcg *memcg;
	_Atomic bool live;
	_Atomic uint32_t left;
	_Atomic uint32_t hand;
	_Atomic uint64_t ahead;
	_Atomic(struct s2_pool_region *) next;
	_Atomic uint64_t *huge;
	struct s2_pool_region_refs refs[S2_POOL_REGION_REFS];
	struct s2_pool_page pages[];
};

/*
 * What is known of the room in a tier (room.c).
 * @drops: how many there have been.
 * @full:  as of how many of them it was full, and one more; 0: it was not.
 * @past:  how many pages went past it because of that.
 */
struct s2_pool_tier_room {
	_Atomic uint64_t drops;
	_Atomic uint64_t full;
	_Atomic uint32_t past;
};

/*
 * @regions:      by hva; readers are in RCU sections, and take a reference.
 * @regions_lock: protects the changing of @regions, @next_hva, @memcgs and the memcgs' lists.
 * @memcg:        of the regions that were mapped without one.
 * @aging_lock:   one step of the clock at a time; @compact_lock: one compaction.
 */
struct s2_pool_kswapd;
struct s2_pool_merge;

struct s2_pool {
	struct s2_allocator allocator;
	struct s2_mm *mm;
	struct s2_pool_tier *tiers[S2_POOL_TIERS];
	unsigned nr_tiers;
	unsigned read_ahead;
	struct s2_pool_frames frames;
	struct s2_pool_shared_table shared;
	struct s2_rcu_itree regions;
	struct s2_mutex regions_lock;
	uint64_t next_hva;
	_Atomic(struct s2_memcg *) memcgs;
	struct s2_memcg memcg;
	struct s2_mutex aging_lock;
	struct s2_mutex compact_lock;
	struct s2_mutex oom_lock;
	struct s2_pool_counts counts;
	_Atomic uint64_t tier_pages[S2_POOL_TIERS];
	struct s2_pool_tier_room room[S2_POOL_TIERS];
	_Atomic uint64_t shared_frames;
	_Atomic uint64_t oom_kills;
	struct s2_pool_kswapd *kswapd; /* NULL: none */
	_Atomic(struct s2_pool_merge *) merge; /* made by the first call of s2_pool_merge() */
};

static inline uint64_t s2_pool_region_end(const struct s2_pool_region *region)
{
	return region->hva + (region->npages << S2_PAGE_SHIFT);
}

static inline uint64_t s2_pool_page_hva(const struct s2_pool_region *region,
					const struct s2_pool_page *page)
{
	return region->hva + ((uint64_t)(page - region->pages) << S2_PAGE_SHIFT);
}

static inline struct s2_pool_page *s2_pool_page_at(struct s2_pool_region *region, uint64_t hva)
{
	return &region->pages[(hva - region->hva) >> S2_PAGE_SHIFT];
}

static inline uint32_t s2_pool_page_nr(uint64_t hva)
{
	return (uint32_t)((hva - S2_POOL_HVA_FIRST) >> S2_PAGE_SHIFT);
}

static inline uint64_t s2_pool_nr_hva(uint32_t nr)
{
	return S2_POOL_HVA_FIRST + ((uint64_t)nr << S2_PAGE_SHIFT);
}

/*
 * An invalidation of its own: no vCPU has, when this returns, what it had of the pages; and a fault
 * that has found one of them before finds that it must come again. Pages that are locked stay
 * away from vCPUs until they are unlocked.
 */
static inline void s2_pool_zap(struct s2_pool *pool, uint64_t hva, uint64_t size)
{
	struct s2_invalidation inv;

	s2_invalidate_range_start(pool->mm, &inv, hva, hva + size, 0);
	s2_invalidate_range_end(pool->mm, &inv);
}

static inline unsigned s2_pool_frame_age(struct s2_pool_frames *frames, uint32_t frame)
{
	return atomic_load_explicit(&frames->table[frame].use, memory_order_relaxed) &
	       S2_FRAME_AGE_MASK;
}

/* region.c: the region that holds @hva, with a reference; NULL if there is none. */
struct s2_pool_region *s2_pool_region_get(struct s2_pool *pool, uint64_t hva);

/* On the thread that took it. */
void s2_pool_region_put(struct s2_pool_region *region);

/* region.c: that of a memcg at @index, with a reference, of those that are live; or NULL. */
struct s2_pool_region *s2_pool_memcg_region(struct s2_memcg *memcg, unsigned index);

/* region.c: the region that begins at @hva or after it, with a reference; or NULL. */
struct s2_pool_region *s2_pool_region_next(struct s2_pool *pool, uint64_t hva);

/*
 * region.c: one that has its addresses but is not live; NULL if there is no memory. Then
 * that it is, or that it is not to be.
 */
struct s2_pool_region *s2_pool_region_create(struct s2_pool *pool, struct s2_memcg *memcg,
					     uint64_t npages);
void s2_pool_region_publish(struct s2_pool_region *region);
void s2_pool_region_destroy(struct s2_pool *pool, struct s2_pool_region *region);

/*
 * region.c: of a page that shares one. It is linked, and so its region is there, even if it
 * is not live; with the shared page locked.
 */
struct s2_pool_page *s2_pool_linked_page(struct s2_pool *pool, uint32_t nr);

/* fault.c: the provider's. */
extern const struct s2_provider_ops s2_pool_provider;

/*
 * fault.c: locks the page and, unless it is read and reads as zeroes, brings it into a
 * frame; one of its own if it is to be written. On success it is locked, *@word is what
 * to unlock it with, and *@frame where its contents are; on error it is unlocked and as
 * it was. A frame that is shared is good until an invalidation of the page.
 */
int s2_pool_page_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    unsigned access, uint64_t *word, uint32_t *frame);

/* fault.c: part of a shared page, for the host, with one that shares it locked. */
int s2_pool_read_shared(struct s2_pool *pool, struct s2_pool_region *region, uint32_t nr,
			unsigned offset, void *data, size_t len);

/* read_ahead.c: @page, which is locked, was read from a tier, or had been ahead of time. */
void s2_pool_read_ahead(struct s2_pool *pool, struct s2_pool_region *region,
			struct s2_pool_page *page);

/*
 * reclaim.c: a frame in transit for a page of @region, whose memcg is charged for it;
 * reclaims if it must. -ENOMEM, or -EFAULT: @region is being unmapped, or its memcg was
 * killed. The other is for a shared page, for the sake of @region but at nobody's charge.
 */
int s2_pool_take_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame);
int s2_pool_take_shared_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame);

/* The same without reclaiming: 0 if there is none, or if it would take one of the last. */
uint32_t s2_pool_take_free_frame(struct s2_pool *pool, struct s2_pool_region *region);

/* reclaim.c: the reverse. */
void s2_pool_give_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t frame);

/* reclaim.c: that a page of @region has its frame no longer. */
void s2_pool_uncharge(struct s2_pool *pool, struct s2_pool_region *region);

/*
 * reclaim.c: takes up to @want frames away, S2_POOL_BATCH at most, by second chance;
 * @copies: room for as many pages. How many came free.
 */
unsigned s2_pool_evict_batch(struct s2_pool *pool, unsigned want, void *copies);

/* reclaim.c: until the memcg keeps its limit; -ENOMEM. */
int s2_pool_reclaim_to_limit(struct s2_memcg *memcg);

/* pool.c: the counts' part of @stats. */
void s2_pool_read_counts(struct s2_pool_counts *counts, struct s2_pool_stats *stats);

/*
 * oom.c: takes a memcg's memory away for the sake of all others. False if there is none to
 * take it from.
 */
bool s2_pool_out_of_memory(struct s2_pool *pool);

/*
 * swap.c: with the page locked. Out: no vCPU has its frame any more, and *@word is what it
 * is now; or, on error, as it was. In: into a frame that nobody has yet.
 */
int s2_pool_swap_out(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     uint32_t frame, uint64_t *word);
int s2_pool_swap_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    uint64_t word, uint32_t frame);

/* swap.c: the same of a shared page, which is locked; load leaves the slot in use. */
int s2_pool_swap_out_shared(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t *word);
int s2_pool_load_shared(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t word,
			uint32_t frame);

/*
 * swap.c: swap-in of pages that follow each other and are in one tier; results as for each.
 */
void s2_pool_swap_in_many(struct s2_pool *pool, struct s2_pool_region *region,
			  struct s2_pool_page *pages, unsigned n, const uint64_t words[],
			  const uint32_t frames[], int results[]);

/*
 * swap.c: swap-out of pages of any regions, which are locked, S2_POOL_BATCH at most: as many as
 * tiers take and are still what was stored. While tiers are at work none is locked, so
 * that nobody waits for a batch of others. In the end those are that are @out; what
 * has become of each is in its @word.
 */
struct s2_pool_victim {
	struct s2_pool_region *region;
	struct s2_pool_page *page;
	uint64_t word;
	uint32_t frame;
	bool out; /* the frame is the caller's, and the memcg is charged for it yet */
};
void s2_pool_swap_out_many(struct s2_pool *pool, struct s2_pool_victim victims[], unsigned n,
			   void *copies);

/* swap.c: gives back the slot that @word tells of. */
void s2_pool_drop_slot(struct s2_pool *pool, uint64_t word);

/*
 * access.c: the pages of a range of one region, from @first of that on, which the caller has a
 * reference to then. -EINVAL: no such range.
 */
int s2_pool_find_pages(struct s2_pool *pool, uint64_t hva, uint64_t size,
		       struct s2_pool_region **region, uint64_t *first);

/*
 * access.c: makes pages absent, whatever they were. @mapped: vCPUs may have them. The caller has
 * no invalidation in flight.
 */
void s2_pool_drop_pages(struct s2_pool *pool, struct s2_pool_region *region, uint64_t first,
			uint64_t n, bool mapped);

/* huge.c: is the page part of 2 MiB that vCPUs may have by one leaf? */
static inline bool s2_pool_in_huge(const struct s2_pool_region *region,
				   const struct s2_pool_page *page)
{
	uint64_t chunk = (uint64_t)(page - region->pages) / S2_POOL_CHUNK_PAGES;

	return atomic_load_explicit(&region->huge[chunk / 64], memory_order_relaxed) >> chunk % 64 & 1;
}

/*
 * huge.c: before anything happens to a page that may be mapped so, with the page locked and
 * before the invalidation that takes it away from vCPUs.
 */
void s2_pool_split(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page);

/* compact.c: makes as many whole blocks free as can be. Waits for no page, and no frame. */
void s2_pool_make_blocks(struct s2_pool *pool);

/*
 * compact.c: what the page or shared page @owner, which is RESIDENT as @word says, has in its
 * frame is in @to from now on, and the other one is free; gives the new word. With its lock,
 * and when no vCPU has the old frame any more.
 */
uint64_t s2_pool_move_contents(struct s2_pool *pool, uint64_t word, uint64_t owner, uint32_t to);

/* merge.c: what the scanner for equal pages has. */
void s2_pool_merge_destroy(struct s2_pool *pool);

/* kswapd.c: the pool's thread, if its config has watermarks. */
int s2_pool_start_kswapd(struct s2_pool *pool, const struct s2_pool_config *config);
void s2_pool_stop_kswapd(struct s2_pool *pool);
uint64_t s2_pool_kswapd_reclaims(struct s2_pool *pool);

/* A frame was taken: wakes the thread if few are left. */
void s2_pool_wake_kswapd(struct s2_pool *pool);

/* The memory of a killed memcg is gone. */
static inline bool s2_pool_killed(const struct s2_pool_region *region)
{
	return atomic_load_explicit(&region->memcg->killed, memory_order_relaxed);
}

#endif /* S2_POOL_POOL_H */
