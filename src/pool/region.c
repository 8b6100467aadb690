/* SPDX-License-Identifier: MIT */
/*
 * Regions: what mmap() and munmap() are to a process. A region is found in an RCU section
 * and kept by a reference, since what is done to its pages takes too long for one.
 *
 * References are counted apart by thread:
 *
 *	CPU 0 (region_get)			CPU 1 (unmap)
 *	------------------			-------------
 *	count in its own place			live = false
 *	<full barrier>				<full barrier>
 *	look at live				add up all places
 *
 * Either CPU 0 finds it is not to use the region, or CPU 1 finds the reference and waits.
 */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/arch.h"
#include "base/guest_mode.h"
#include "base/mutant.h"
#include "base/rcu.h"

#include <errno.h>

/* A thread has one place, for all regions. */
static _Atomic uint32_t *my_refs(struct s2_pool_region *region)
{
	return &region->refs[s2_thread_hash() >> 28].n;
}

_Static_assert(S2_POOL_REGION_REFS == 16, "four bits of the hash choose one");

/* Of one that was found in an RCU section; false if it is not live. */
static bool try_get(struct s2_pool_region *region)
{
	_Atomic uint32_t *refs = my_refs(region);

	atomic_fetch_add_explicit(refs, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&region->live, memory_order_seq_cst))
		return true;
	s2_pool_region_put(region);
	return false;
}

void s2_pool_region_put(struct s2_pool_region *region)
{
	/* Who unmaps frees it when all are gone, and this section is over. */
	s2_rcu_read_lock();
	/* Release, and before the look at live, as above: who unmaps counts again, or is woken. */
	atomic_fetch_sub_explicit(my_refs(region), 1, memory_order_seq_cst);
	if (!atomic_load_explicit(&region->live, memory_order_seq_cst)) {
		atomic_fetch_add_explicit(&region->left, 1, memory_order_seq_cst);
		s2_futex_wake(&region->left, 1);
	}
	s2_rcu_read_unlock();
}

/* Of whatever state; the caller is in an RCU section, or has regions_lock. */
static struct s2_pool_region *lookup(struct s2_pool *pool, uint64_t hva)
{
	return s2_itree_lookup(s2_rcu_itree_root(&pool->regions), hva);
}

struct s2_pool_region *s2_pool_region_get(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region;

	s2_rcu_read_lock();
	region = lookup(pool, hva);
	if (region && !try_get(region))
		region = NULL;
	s2_rcu_read_unlock();
	return region;
}

struct s2_pool_region *s2_pool_region_next(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region = NULL;
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;

	s2_rcu_read_lock();
	s2_itree_iter_init(&it, s2_rcu_itree_root(&pool->regions), hva, UINT64_MAX);
	while (!region && (iv = s2_itree_iter_next(&it)))
		if (iv->start >= hva && try_get(iv->value))
			region = iv->value;
	s2_rcu_read_unlock();
	return region;
}

/* Of those that are live; with a reference if it is. */
static bool is_nth(struct s2_pool_region *region, unsigned *index)
{
	if (!*index)
		return try_get(region);
	*index -= atomic_load_explicit(&region->live, memory_order_relaxed);
	return false;
}

struct s2_pool_region *s2_pool_memcg_region(struct s2_memcg *memcg, unsigned index)
{
	struct s2_pool_region *region;

	s2_rcu_read_lock();
	/* Acquire pairs with the release in enlist(). */
	region = atomic_load_explicit(&memcg->regions, memory_order_acquire);
	while (region && !is_nth(region, &index))
		region = atomic_load_explicit(&region->next, memory_order_acquire);
	s2_rcu_read_unlock();
	return region;
}

struct s2_pool_page *s2_pool_linked_page(struct s2_pool *pool, uint32_t nr)
{
	uint64_t hva = s2_pool_nr_hva(nr);
	struct s2_pool_page *page;

	s2_rcu_read_lock();
	page = s2_pool_page_at(lookup(pool, hva), hva);
	s2_rcu_read_unlock();
	return page;
}

static struct s2_itree_iv interval(struct s2_pool_region *region)
{
	return (struct s2_itree_iv){
		.start = region->hva,
		.end = s2_pool_region_end(region),
		.value = region,
	};
}

/* At least a page further on: who runs over a region's end is not in the next one. */
static uint64_t after(uint64_t end)
{
	return (end + S2_POOL_HVA_ALIGN) & ~(S2_POOL_HVA_ALIGN - 1);
}

/* The first gap from @from on; 0 if there is none. */
static uint64_t find_gap(struct s2_pool *pool, uint64_t from, uint64_t size)
{
	const struct s2_itree_iv *iv;
	struct s2_itree_iter it;

	S2_ASSERT_HELD_WRITE(&pool->regions_lock);
	s2_itree_iter_init(&it, s2_rcu_itree_root(&pool->regions), from, UINT64_MAX);
	while ((iv = s2_itree_iter_next(&it)) && after(from + size) > iv->start)
		from = after(iv->end);
	/* The last page has no number: S2_POOL_NO_PAGE. */
	return from + size < S2_POOL_HVA_LAST ? from : 0;
}

/* Addresses are used again when all others have been: a stale one is found out for long. */
static uint64_t choose_hva(struct s2_pool *pool, uint64_t size)
{
	uint64_t hva = find_gap(pool, pool->next_hva, size);

	return hva ? hva : find_gap(pool, S2_POOL_HVA_FIRST, size);
}

static void enlist(struct s2_pool_region *region)
{
	struct s2_memcg *memcg = region->memcg;

	S2_ASSERT_HELD_WRITE(&memcg->pool->regions_lock);
	atomic_store_explicit(&region->next,
			      atomic_load_explicit(&memcg->regions, memory_order_relaxed),
			      memory_order_relaxed);
	/* Release pairs with the acquire in s2_pool_memcg_region(). */
	atomic_store_explicit(&memcg->regions, region, memory_order_release);
	memcg->nr_regions++;
}

/* Readers that are at it find their way on, until the grace period that follows. */
static void delist(struct s2_pool_region *region)
{
	struct s2_memcg *memcg = region->memcg;
	_Atomic(struct s2_pool_region *) *link = &memcg->regions;
	struct s2_pool_region *other;

	S2_ASSERT_HELD_WRITE(&memcg->pool->regions_lock);
	while ((other = atomic_load_explicit(link, memory_order_relaxed)) != region)
		link = &other->next;
	atomic_store_explicit(link, atomic_load_explicit(&region->next, memory_order_relaxed),
			      memory_order_release);
	memcg->nr_regions--;
}

/* Gives the region its addresses, and others the region. */
static int insert(struct s2_pool *pool, struct s2_pool_region *region)
{
	uint64_t size = region->npages << S2_PAGE_SHIFT, hva = choose_hva(pool, size);
	struct s2_itree_iv iv;

	S2_ASSERT_HELD_WRITE(&pool->regions_lock);
	region->hva = hva;
	iv = interval(region);
	if (!hva || s2_rcu_itree_add(&pool->regions, &pool->allocator, &iv))
		return -ENOMEM;
	pool->next_hva = after(hva + size);
	enlist(region);
	return 0;
}

/* The region, its pages, and a bit for each 2 MiB of them. */
static struct s2_pool_region *allocate(struct s2_pool *pool, uint64_t npages)
{
	uint64_t chunks = (npages + S2_POOL_CHUNK_PAGES - 1) / S2_POOL_CHUNK_PAGES;
	uint64_t bits = (chunks + 63) / 64 * sizeof(uint64_t);
	struct s2_pool_region *region;

	region = s2_zalloc(&pool->allocator,
			   sizeof(*region) + npages * sizeof(struct s2_pool_page) + bits, 64);
	if (region)
		region->huge = (_Atomic uint64_t *)(void *)&region->pages[npages];
	return region;
}

struct s2_pool_region *s2_pool_region_create(struct s2_pool *pool, struct s2_memcg *memcg,
					     uint64_t npages)
{
	struct s2_pool_region *region = allocate(pool, npages);
	int ret;

	if (!region)
		return NULL;
	region->npages = npages;
	region->memcg = memcg ? memcg : &pool->memcg;
	s2_mutex_lock(&pool->regions_lock);
	ret = insert(pool, region);
	s2_mutex_unlock(&pool->regions_lock);
	if (!ret)
		return region;
	s2_free(&pool->allocator, region);
	return NULL;
}

void s2_pool_region_publish(struct s2_pool_region *region)
{
	/* Release pairs with the look at it in try_get(): what a clone was filled with. */
	atomic_store_explicit(&region->live, true, memory_order_release);
}

static bool bad_size(uint64_t size)
{
	return size & (S2_PAGE_SIZE - 1);
}

int s2_pool_map(struct s2_pool *pool, struct s2_memcg *memcg, uint64_t size, uint64_t *hva)
{
	struct s2_pool_region *region;
	bool left;

	if (!pool || !hva || !size || bad_size(size) || (memcg && memcg->pool != pool))
		return -EINVAL;
	if (size >= S2_POOL_HVA_LAST - S2_POOL_HVA_FIRST)
		return -ENOMEM;
	left = s2_guest_leave_all();
	region = s2_pool_region_create(pool, memcg, size >> S2_PAGE_SHIFT);
	if (region) {
		*hva = region->hva;
		s2_pool_region_publish(region);
	}
	if (left)
		s2_guest_return_all();
	return region ? 0 : -ENOMEM;
}

static uint32_t nr_users(struct s2_pool_region *region)
{
	uint32_t users = 0;

	for (unsigned i = 0; i < S2_POOL_REGION_REFS; i++)
		users += atomic_load_explicit(&region->refs[i].n, memory_order_seq_cst);
	return users;
}

/* It is not live, so that nobody comes who does not go at once. */
static void await_users(struct s2_pool_region *region)
{
	for (;;) {
		uint32_t left = atomic_load_explicit(&region->left, memory_order_seq_cst);

		if (!nr_users(region))
			return;
		s2_futex_wait(&region->left, left);
	}
}

/*
 * Nobody is at work on its pages any more, or will be. A fault that was may yet map the
 * frame it found, until the invalidation has passed; then it looks again, in vain.
 */
static void drop_all(struct s2_pool *pool, struct s2_pool_region *region)
{
	s2_pool_zap(pool, region->hva, region->npages << S2_PAGE_SHIFT);
	s2_pool_drop_pages(pool, region, 0, region->npages, false);
}

void s2_pool_region_destroy(struct s2_pool *pool, struct s2_pool_region *region)
{
	struct s2_itree_iv iv = interval(region);

	if (!S2_MUTANT(REGION_NOT_AWAITED))
		await_users(region);
	drop_all(pool, region);
	s2_mutex_lock(&pool->regions_lock);
	delist(region);
	s2_rcu_itree_remove(&pool->regions, &pool->allocator, &iv);
	s2_mutex_unlock(&pool->regions_lock);
	s2_free(&pool->allocator, region);
}

/*
 * It stays in the tree, and keeps its addresses, until its pages are gone: those that it shares
 * with others are linked by their numbers.
 */
static struct s2_pool_region *end_life(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region;

	s2_mutex_lock(&pool->regions_lock);
	region = lookup(pool, hva);
	if (region && (region->hva != hva ||
		       !atomic_load_explicit(&region->live, memory_order_relaxed)))
		region = NULL;
	if (region)
		atomic_store_explicit(&region->live, false, memory_order_seq_cst);
	s2_mutex_unlock(&pool->regions_lock);
	return region;
}

int s2_pool_unmap(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region;
	bool left;

	if (!pool)
		return -EINVAL;
	left = s2_guest_leave_all();
	region = end_life(pool, hva);
	if (region)
		s2_pool_region_destroy(pool, region);
	if (left)
		s2_guest_return_all();
	return region ? 0 : -ENOENT;
}
