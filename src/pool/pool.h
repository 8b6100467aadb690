/* SPDX-License-Identifier: MIT */
/*
 * The pool provider's own parts: struct s2_pool, its regions, and what fault(), reclaim
 * and the host's access share. docs/pool.md tells how they fit together.
 */
#ifndef S2_POOL_POOL_H
#define S2_POOL_POOL_H

#include "base/itree.h"
#include "base/lock.h"
#include "pool/frames.h"
#include "pool/page.h"

#include <stage2/notifier.h>
#include <stage2/pool.h>

/* Where regions may lie. Apart, and each at the beginning of a 2 MiB block. */
#define S2_POOL_HVA_FIRST (UINT64_C(1) << 44)
#define S2_POOL_HVA_LAST (UINT64_C(1) << 46)
#define S2_POOL_HVA_ALIGN (UINT64_C(1) << S2_HUGE_SHIFT)

/* As in struct s2_pool_stats. A region's @resident is what its limit is compared with. */
struct s2_pool_counts {
	_Atomic uint64_t resident;
	_Atomic uint64_t swapped;
	_Atomic uint64_t zero;
	_Atomic uint64_t swap_outs;
	_Atomic uint64_t swap_ins;
	_Atomic uint64_t direct_reclaims;
	_Atomic uint64_t tier_errors;
	_Atomic uint64_t tier_pages[S2_POOL_TIERS];
};

/* Counts in a region and in the pool, which outlives it. Modulo 2^64, so that -1 will do. */
#define S2_POOL_COUNT(pool, region, field, n)                                                      \
	do {                                                                                       \
		atomic_fetch_add_explicit(&(pool)->counts.field, (uint64_t)(n),                    \
					  memory_order_relaxed);                                   \
		atomic_fetch_add_explicit(&(region)->counts.field, (uint64_t)(n),                  \
					  memory_order_relaxed);                                   \
	} while (0)

/*
 * @limit: in pages; 0 for none.
 * @refs:  one while it is mapped, and one for each thread that is at work on its pages.
 * @aged:  the step of aging in which one of its frames was made to flush; under aging_lock.
 */
struct s2_pool_region {
	uint64_t hva;
	uint64_t npages;
	uint64_t limit;
	uint64_t aged;
	_Atomic uint32_t refs;
	_Atomic bool unmapped;
	struct s2_pool_counts counts;
	struct s2_pool_page pages[];
};

/*
 * @root:         of the regions by hva; readers are in RCU sections, and take a reference.
 * @regions_lock: protects the changing of @root, @nodes, @next_hva.
 * @nodes:        for the updates of @root. A removal takes no more than it gives back, so
 *                that what a mapping leaves there is enough for an unmapping.
 * @aging_lock:   one step of the clock at a time.
 */
struct s2_pool {
	struct s2_allocator allocator;
	struct s2_mm *mm;
	struct s2_pool_tier *tiers[S2_POOL_TIERS];
	unsigned nr_tiers;
	struct s2_pool_frames frames;
	_Atomic(struct s2_itree_node *) root;
	struct s2_mutex regions_lock;
	struct s2_itree_reserve nodes;
	uint64_t next_hva;
	struct s2_mutex aging_lock;
	uint64_t steps;
	struct s2_pool_counts counts;
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

/* region.c: the region that holds @hva, with a reference; NULL if there is none. */
struct s2_pool_region *s2_pool_region_get(struct s2_pool *pool, uint64_t hva);
void s2_pool_region_put(struct s2_pool_region *region);

/* fault.c: the provider's. */
extern const struct s2_provider_ops s2_pool_provider;

/*
 * fault.c: locks the page and, unless it is read and reads as zeroes, brings it into a
 * frame. On success it is locked, and *@word is what to unlock it with; on error it is
 * unlocked and as it was.
 */
int s2_pool_page_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    unsigned access, uint64_t *word);

/*
 * reclaim.c: a frame in transit for a page of @region, which is charged for it;
 * reclaims if it must. -ENOMEM, or -EFAULT: @region is being unmapped.
 */
int s2_pool_take_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t *frame);

/* reclaim.c: the reverse. */
void s2_pool_give_frame(struct s2_pool *pool, struct s2_pool_region *region, uint32_t frame);

/*
 * swap.c: with the page locked. Out: no vCPU has its frame any more, and *@word is what it
 * is now; or, on error, as it was. In: into a frame that nobody has yet.
 */
int s2_pool_swap_out(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     uint32_t frame, uint64_t *word);
int s2_pool_swap_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    uint64_t word, uint32_t frame);
void s2_pool_drop_slot(struct s2_pool *pool, struct s2_pool_region *region, uint64_t word);

/* access.c: makes a page absent, whatever it was. In-flight invalidations: none of the caller's. */
void s2_pool_drop_page(struct s2_pool *pool, struct s2_pool_region *region,
		       struct s2_pool_page *page);

#endif /* S2_POOL_POOL_H */
