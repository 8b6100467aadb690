/* SPDX-License-Identifier: MIT */
/*
 * Clones of regions: dup_mmap(). Pages in frames and pages in tiers alike become shared, so
 * that nothing is copied or brought in; what has been shared before, with the clones that
 * came earlier, takes one link more and no invalidation.
 */
#include "pool/pool.h"

#include "base/guest_mode.h"
#include "base/mutant.h"

#include <errno.h>

/* Both go on as SHARED; with the shared page locked. */
static void link_clone(struct s2_pool *pool, struct s2_pool_region *clone,
		       struct s2_pool_shared *shared, uint64_t i, uint64_t word)
{
	struct s2_pool_page *page = &clone->pages[i];

	s2_pool_shared_link(pool, shared, s2_pool_page_hva(clone, page), page);
	S2_POOL_COUNT(pool, clone->memcg, shared, 1);
	atomic_store_explicit(&page->word, word, memory_order_relaxed);
}

static int clone_unshared(struct s2_pool *pool, struct s2_pool_region *region,
			  struct s2_pool_region *clone, uint64_t i, uint64_t *word)
{
	uint64_t held;
	uint32_t nr;
	int ret = s2_pool_shared_new(pool, &nr);

	if (ret)
		return ret;
	held = s2_pool_make_shared(pool, region, &region->pages[i], nr, word);
	link_clone(pool, clone, s2_pool_shared_at(&pool->shared, nr), i, *word);
	s2_pool_page_unlock(&s2_pool_shared_at(&pool->shared, nr)->page, held);
	return 0;
}

static void clone_shared(struct s2_pool *pool, struct s2_pool_region *clone, uint64_t i,
			 uint64_t word)
{
	struct s2_pool_shared *shared =
		s2_pool_shared_at(&pool->shared, (uint32_t)s2_pool_payload(word));
	uint64_t held = s2_pool_shared_page_lock(&shared->page);

	link_clone(pool, clone, shared, i, word);
	s2_pool_page_unlock(&shared->page, held);
}

static int clone_page(struct s2_pool *pool, struct s2_pool_region *region,
		      struct s2_pool_region *clone, uint64_t i, uint64_t *word)
{
	switch (s2_pool_state(*word)) {
	case S2_POOL_RESIDENT:
	case S2_POOL_SWAPPED:
		return clone_unshared(pool, region, clone, i, word);
	case S2_POOL_SHARED:
		clone_shared(pool, clone, i, *word);
		break;
	case S2_POOL_ABSENT:
	case S2_POOL_ZERO:
		atomic_store_explicit(&clone->pages[i].word,
				      s2_pool_become(*word, S2_POOL_ABSENT), memory_order_relaxed);
		break;
	}
	return 0;
}

/* vCPUs may write to those that are resident, until an invalidation has passed. */
static void write_protect(struct s2_pool *pool, struct s2_pool_region *region, uint64_t first,
			  unsigned n, const uint64_t words[])
{
	bool resident = false;

	for (unsigned i = 0; i < n; i++) {
		if (s2_pool_state(words[i]) != S2_POOL_RESIDENT)
			continue;
		s2_pool_split(pool, region, &region->pages[first + i]);
		resident = true;
	}
	if (resident && !S2_MUTANT(CLONE_STAYS_WRITABLE))
		s2_pool_zap(pool, region->hva + (first << S2_PAGE_SHIFT),
			    (uint64_t)n << S2_PAGE_SHIFT);
}

/*
 * The pages stay locked over the invalidation and what follows, so that a fault which comes
 * after it waits, and finds them shared. The invalidation has ended before anything is done
 * that may wait for others: the shared pages' locks.
 */
static int clone_run(struct s2_pool *pool, struct s2_pool_region *region,
		     struct s2_pool_region *clone, uint64_t first, unsigned *n)
{
	uint64_t words[S2_POOL_RUN];
	int ret;

	*n = s2_pool_run_lock(&region->pages[first], *n, words);
	/* Locked, since what an OOM killer has taken away looks absent. */
	ret = s2_pool_killed(region) ? -EFAULT : 0;
	write_protect(pool, region, first, *n, words);
	for (unsigned i = 0; !ret && i < *n; i++)
		ret = clone_page(pool, region, clone, first + i, &words[i]);
	s2_pool_run_unlock(&region->pages[first], *n, words);
	return ret;
}

static int fill(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_region *clone)
{
	for (uint64_t i = 0; i < region->npages;) {
		uint64_t rest = region->npages - i;
		unsigned n = rest < S2_POOL_RUN ? (unsigned)rest : S2_POOL_RUN;
		int ret = clone_run(pool, region, clone, i, &n);

		if (ret)
			return ret;
		i += n;
	}
	return 0;
}

/* The region that begins at @hva, and nowhere else. */
static struct s2_pool_region *region_at(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);

	if (region && region->hva != hva) {
		s2_pool_region_put(region);
		return NULL;
	}
	return region;
}

static int clone_region(struct s2_pool *pool, struct s2_memcg *memcg, struct s2_pool_region *region,
			uint64_t *hva)
{
	struct s2_pool_region *clone = s2_pool_region_create(pool, memcg, region->npages);
	int ret;

	if (!clone)
		return -ENOMEM;
	ret = fill(pool, region, clone);
	if (ret) {
		s2_pool_region_destroy(pool, clone);
		return ret;
	}
	*hva = clone->hva;
	s2_pool_region_publish(clone);
	return 0;
}

int s2_pool_clone(struct s2_pool *pool, struct s2_memcg *memcg, uint64_t hva, uint64_t *clone)
{
	struct s2_pool_region *region;
	int ret = -ENOENT;
	bool left;

	if (!pool || !clone || (memcg && memcg->pool != pool))
		return -EINVAL;
	left = s2_guest_leave_all();
	region = region_at(pool, hva);
	if (region) {
		ret = clone_region(pool, memcg, region, clone);
		s2_pool_region_put(region);
	}
	if (left)
		s2_guest_return_all();
	return ret;
}
