/* SPDX-License-Identifier: MIT */
/*
 * Same-page merging, what ksmd is to a kernel: pages of any VMs that are equal share one frame,
 * read-only, until one of them is written to (fault.c).
 *
 * A page is merged if it has not changed since the scanner was there the last time: who
 * changes often would be taken apart as soon as it is merged. Whether it has, and
 * whether it may have an equal at all, is told by a digest, made while guests use the
 * page. Only then is it taken from them:
 *
 *	CPU 0 (scanner)				CPU 1 (vCPU)
 *	---------------				------------
 *	lock the page; digest: has an equal
 *						may still write
 *	start(): nobody writes any more
 *	compare
 *	change_pte: the other's frame, read-only
 *	end()
 *						a fault: waits for the lock
 *	the page is SHARED; its frame is free
 *	unlock
 *						finds it so
 *
 * Of two equal pages that both have a frame of their own, the first loses its writers in the
 * same way, and as long as it is locked none can come back. So no more than one invalidation is
 * open at a time, and all locks have been taken before it, by trying.
 */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/guest_mode.h"
#include "base/mutant.h"
#include "pool/merge_table.h"
#include "pool/page_digest.h"

#include <errno.h>
#include <string.h>

/*
 * As max_page_sharing of ksmd: who takes the frame away makes an invalidation for each that
 * shares it, with the shared page locked. From here on another one is begun, and what that
 * costs is a frame for 256 pages.
 */
#define SHARERS_MAX 256

/*
 * @lock:        one thread scans at a time. Protects everything but @table's chains.
 * @hva:         where it goes on.
 * @zero_digest: of the zero frame.
 */
struct s2_pool_merge {
	struct s2_mutex lock;
	struct s2_merge_table table;
	uint64_t hva;
	uint64_t zero_digest;
};

/* A page in a frame of its own, locked, by trying; @word is what to unlock it with. */
struct mergeable {
	struct s2_pool_region *region;
	struct s2_pool_page *page;
	uint64_t word;
	uint32_t frame;
};

/* A hint. */
static uint64_t digest_of(struct s2_pool *pool, uint32_t frame)
{
	return s2_page_digest(s2_pool_frame_addr(&pool->frames, frame));
}

/* 0 is for pages that have not been seen. */
static uint32_t checksum_of(uint64_t digest)
{
	return (uint32_t)digest ? (uint32_t)digest : 1;
}

static bool may_be_merged(uint64_t word)
{
	return s2_pool_state(word) == S2_POOL_RESIDENT && (word & S2_POOL_MERGEABLE);
}

static bool lock_mergeable(struct s2_pool_region *region, struct s2_pool_page *page,
			   struct mergeable *m)
{
	uint64_t word;

	/* Without a lock, for the many pages that are something else. */
	if (!may_be_merged(atomic_load_explicit(&page->word, memory_order_relaxed)) ||
	    !s2_pool_page_trylock(page, &word))
		return false;
	if (!may_be_merged(word) || s2_pool_killed(region)) {
		s2_pool_page_unlock(page, word);
		return false;
	}
	*m = (struct mergeable){
		.region = region,
		.page = page,
		.word = word,
		.frame = (uint32_t)s2_pool_payload(word),
	};
	return true;
}

/*
 * Takes the page away from all who may write to it. If it has the same contents as @frame,
 * which do not change while we are here, vCPUs may have that one from then on.
 */
static bool exchange_frame(struct s2_pool *pool, const struct mergeable *m, uint32_t frame)
{
	const struct s2_page page = {
		.addr = s2_pool_frame_addr(&pool->frames, frame),
		.shift = S2_PAGE_SHIFT,
	};
	uint64_t hva = s2_pool_page_hva(m->region, m->page);
	struct s2_invalidation inv;
	bool equal = S2_MUTANT(MERGE_COMPARES_EARLY) &&
		     !memcmp(s2_pool_frame_addr(&pool->frames, m->frame), page.addr, S2_PAGE_SIZE);

	s2_pool_split(pool, m->region, m->page);
	s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_PAGE_SIZE, 0);
	if (!S2_MUTANT(MERGE_COMPARES_EARLY))
		equal = !memcmp(s2_pool_frame_addr(&pool->frames, m->frame), page.addr,
				S2_PAGE_SIZE);
	if (equal)
		s2_change_pte(pool->mm, &inv, hva, &page);
	s2_invalidate_range_end(pool->mm, &inv);
	return equal;
}

static int drop_zeroes(struct s2_pool *pool, struct mergeable *m)
{
	if (!exchange_frame(pool, m, 0))
		return 0;
	s2_pool_give_frame(pool, m->region, m->frame);
	S2_POOL_COUNT(pool, m->region->memcg, zero, 1);
	m->word = s2_pool_become(m->word, S2_POOL_ZERO);
	return 1;
}

/* After its frame was exchanged for the shared page's, which is locked. */
static void join(struct s2_pool *pool, struct mergeable *m, uint32_t nr)
{
	s2_pool_shared_link(pool, s2_pool_shared_at(&pool->shared, nr),
			    s2_pool_page_hva(m->region, m->page), m->page);
	s2_pool_give_frame(pool, m->region, m->frame);
	S2_POOL_COUNT(pool, m->region->memcg, shared, 1);
	S2_POOL_COUNT(pool, m->region->memcg, merged, 1);
	m->word = s2_pool_become(m->word, s2_pool_shared_word(nr));
}

/* One that is swapped out stays so: to bring it in would take the frame that is to be won. */
static bool has_room(const struct s2_pool_shared *shared, uint64_t word, uint64_t digest)
{
	return s2_pool_state(word) == S2_POOL_RESIDENT && shared->merged &&
	       shared->digest == digest && shared->sharers < SHARERS_MAX;
}

static bool merge_with_shared(struct s2_pool *pool, struct mergeable *m, uint32_t nr,
			      uint64_t digest)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	bool equal = false;
	uint64_t word;

	if (!s2_pool_page_trylock(&shared->page, &word))
		return false;
	if (has_room(shared, word, digest))
		equal = exchange_frame(pool, m, (uint32_t)s2_pool_payload(word));
	if (equal)
		join(pool, m, nr);
	s2_pool_page_unlock(&shared->page, word);
	return equal;
}

static bool find_shared(struct s2_pool *pool, struct s2_pool_merge *merge, struct mergeable *m,
			uint64_t digest)
{
	uint32_t found[S2_MERGE_FOUND];
	unsigned n = s2_merge_table_find(pool, &merge->table, digest, found);

	for (unsigned i = 0; i < n; i++)
		if (merge_with_shared(pool, m, found[i], digest))
			return true;
	return false;
}

/*
 * The frame of @other becomes the shared page's. All that could fail is done before
 * change_pte has told vCPUs of it.
 */
static int merge_two(struct s2_pool *pool, struct s2_pool_merge *merge, struct mergeable *m,
		     struct mergeable *other, uint64_t digest)
{
	struct s2_pool_shared *shared;
	uint64_t held;
	uint32_t nr;
	int ret = s2_pool_shared_new(pool, &nr);

	if (ret)
		return ret;
	/* With itself: merely so that nobody writes to it any more. */
	exchange_frame(pool, other, other->frame);
	if (!exchange_frame(pool, m, other->frame)) {
		s2_pool_shared_free(pool, nr);
		return 0;
	}
	shared = s2_pool_shared_at(&pool->shared, nr);
	held = s2_pool_make_shared(pool, other->region, other->page, nr, &other->word);
	join(pool, m, nr);
	s2_merge_table_add(pool, &merge->table, nr, digest);
	s2_pool_page_unlock(&shared->page, held);
	return 1;
}

/* @nr was a candidate; it may be anything by now. */
static int merge_with_candidate(struct s2_pool *pool, struct s2_pool_merge *merge,
				struct mergeable *m, uint32_t nr, uint64_t digest)
{
	uint64_t hva = s2_pool_nr_hva(nr);
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);
	struct mergeable other;
	int ret = 0;

	if (!region)
		return 0;
	if (lock_mergeable(region, s2_pool_page_at(region, hva), &other)) {
		if (digest_of(pool, other.frame) == digest)
			ret = merge_two(pool, merge, m, &other, digest);
		s2_pool_page_unlock(other.page, other.word);
	}
	s2_pool_region_put(region);
	return ret;
}

/* 1: its frame came free. 0, or -ENOMEM. */
static int merge_page(struct s2_pool *pool, struct s2_pool_merge *merge, struct mergeable *m)
{
	uint64_t digest = digest_of(pool, m->frame);
	uint32_t seen = m->page->checksum, candidate;

	if (digest == merge->zero_digest && drop_zeroes(pool, m))
		return 1;
	m->page->checksum = checksum_of(digest);
	if (seen != m->page->checksum)
		return 0;
	if (find_shared(pool, merge, m, digest))
		return 1;
	candidate = s2_merge_candidate_exchange(
		&merge->table, digest, s2_pool_page_nr(s2_pool_page_hva(m->region, m->page)));
	if (candidate == S2_POOL_NO_PAGE)
		return 0;
	return merge_with_candidate(pool, merge, m, candidate, digest);
}

/* What a call may still do, and what it has done. */
struct scan {
	uint64_t pages;
	int64_t freed;
	int error;
};

static bool over(const struct scan *scan)
{
	return !scan->pages || scan->error;
}

static void scan_page(struct s2_pool *pool, struct s2_pool_merge *merge,
		      struct s2_pool_region *region, struct s2_pool_page *page, struct scan *scan)
{
	struct mergeable m;
	int ret;

	if (!lock_mergeable(region, page, &m))
		return;
	ret = merge_page(pool, merge, &m);
	s2_pool_page_unlock(page, m.word);
	scan->pages--;
	if (ret < 0)
		scan->error = ret;
	else
		scan->freed += ret;
}

/* From the cursor to the region's end, or @end. Whoever unmaps the region is waiting for us. */
static void scan_region(struct s2_pool *pool, struct s2_pool_merge *merge,
			struct s2_pool_region *region, uint64_t end, struct scan *scan)
{
	if (merge->hva < region->hva)
		merge->hva = region->hva;
	if (end > s2_pool_region_end(region))
		end = s2_pool_region_end(region);
	for (; merge->hva < end && !over(scan); merge->hva += S2_PAGE_SIZE) {
		if (!atomic_load_explicit(&region->live, memory_order_relaxed)) {
			merge->hva = end;
			return;
		}
		scan_page(pool, merge, region, s2_pool_page_at(region, merge->hva), scan);
	}
}

/* From the cursor on, up to @end. */
static void scan_regions(struct s2_pool *pool, struct s2_pool_merge *merge, uint64_t end,
			 struct scan *scan)
{
	while (merge->hva < end && !over(scan)) {
		struct s2_pool_region *region = s2_pool_region_get(pool, merge->hva);

		if (!region)
			region = s2_pool_region_next(pool, merge->hva);
		if (!region) {
			merge->hva = end;
			return;
		}
		scan_region(pool, merge, region, end, scan);
		s2_pool_region_put(region);
	}
}

/* To the end and from the beginning to where it began: no page is looked at twice. */
static void scan(struct s2_pool *pool, struct s2_pool_merge *merge, struct scan *scan)
{
	uint64_t begin = merge->hva;

	scan_regions(pool, merge, S2_POOL_HVA_LAST, scan);
	if (over(scan))
		return;
	s2_merge_candidates_forget(&merge->table);
	merge->hva = S2_POOL_HVA_FIRST;
	scan_regions(pool, merge, begin, scan);
}

static void destroy(struct s2_pool *pool, struct s2_pool_merge *merge)
{
	s2_merge_table_free(pool, &merge->table);
	s2_free(&pool->allocator, merge);
}

static struct s2_pool_merge *create(struct s2_pool *pool)
{
	struct s2_pool_merge *new = s2_zalloc(&pool->allocator, sizeof(*new), 64);
	struct s2_pool_merge *expected = NULL;

	if (!new)
		return NULL;
	if (s2_merge_table_init(pool, &new->table)) {
		s2_free(&pool->allocator, new);
		return NULL;
	}
	s2_mutex_init(&new->lock, S2_RANK_POOL_MERGE);
	new->hva = S2_POOL_HVA_FIRST;
	new->zero_digest = digest_of(pool, 0);
	/* Release: what it holds, before others use it; acquire: of another thread's. */
	if (atomic_compare_exchange_strong_explicit(&pool->merge, &expected, new,
						    memory_order_release, memory_order_acquire))
		return new;
	destroy(pool, new);
	return expected;
}

static struct s2_pool_merge *merge_of(struct s2_pool *pool)
{
	/* Acquire pairs with the release in create(). */
	return atomic_load_explicit(&pool->merge, memory_order_acquire);
}

static int64_t merge_pages(struct s2_pool *pool, uint64_t pages)
{
	struct s2_pool_merge *merge = merge_of(pool);
	struct scan work = { .pages = pages };

	if (!merge)
		merge = create(pool);
	if (!merge)
		return -ENOMEM;
	s2_mutex_lock(&merge->lock);
	scan(pool, merge, &work);
	s2_mutex_unlock(&merge->lock);
	return work.error && !work.freed ? work.error : work.freed;
}

int64_t s2_pool_merge(struct s2_pool *pool, uint64_t pages)
{
	int64_t ret;
	bool left;

	if (!pool)
		return -EINVAL;
	left = s2_guest_leave_all();
	ret = merge_pages(pool, pages);
	if (left)
		s2_guest_return_all();
	return ret;
}

void s2_pool_merge_forget(struct s2_pool *pool, uint32_t nr)
{
	if (s2_pool_shared_at(&pool->shared, nr)->merged)
		s2_merge_table_remove(pool, &merge_of(pool)->table, nr);
}

void s2_pool_merge_destroy(struct s2_pool *pool)
{
	struct s2_pool_merge *merge = merge_of(pool);

	if (merge)
		destroy(pool, merge);
}
