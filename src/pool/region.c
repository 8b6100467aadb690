/* SPDX-License-Identifier: MIT */
/*
 * Regions: what mmap() and munmap() are to a process. A region is found in an RCU section
 * and kept by a reference, since what is done to its pages takes too long for one.
 */
#include "pool/pool.h"

#include "base/alloc.h"
#include "base/futex.h"
#include "base/guest_mode.h"
#include "base/rcu.h"

#include <errno.h>

struct s2_pool_region *s2_pool_region_get(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region;
	uint32_t refs = 0;

	s2_rcu_read_lock();
	/* Acquire pairs with the release in publish(): the tree, and the regions in it. */
	region = s2_itree_lookup(atomic_load_explicit(&pool->root, memory_order_acquire), hva);
	if (region)
		refs = atomic_load_explicit(&region->refs, memory_order_relaxed);
	while (refs && !atomic_compare_exchange_weak_explicit(&region->refs, &refs, refs + 1,
							      memory_order_relaxed,
							      memory_order_relaxed))
		;
	s2_rcu_read_unlock();
	return refs ? region : NULL;
}

/* After the last one the region is gone: only its address is used then. */
void s2_pool_region_put(struct s2_pool_region *region)
{
	/* Release: what was done to the pages comes before their end. */
	if (atomic_fetch_sub_explicit(&region->refs, 1, memory_order_release) == 1)
		s2_futex_wake(&region->refs, 1);
}

/* Makes @root what readers see, and keeps the nodes that it replaces for later updates. */
static void publish(struct s2_pool *pool, struct s2_itree_node *root,
		    struct s2_itree_node *replaced)
{
	S2_ASSERT_HELD_WRITE(&pool->regions_lock);
	atomic_store_explicit(&pool->root, root, memory_order_release);
	s2_synchronize_rcu();
	s2_itree_reserve_add_list(&pool->nodes, replaced);
}

static struct s2_itree_iv interval(struct s2_pool_region *region)
{
	return (struct s2_itree_iv){
		.start = region->hva,
		.end = s2_pool_region_end(region),
		.value = region,
	};
}

/* Gives the region its addresses, and others the region. */
static int insert(struct s2_pool *pool, struct s2_pool_region *region)
{
	uint64_t size = region->npages << S2_PAGE_SHIFT, hva = pool->next_hva;
	struct s2_itree_node *root, *replaced = NULL;
	struct s2_itree_iv iv;

	S2_ASSERT_HELD_WRITE(&pool->regions_lock);
	if (size > S2_POOL_HVA_LAST - hva)
		return -ENOMEM;
	/* One half for this update, the other for the region's removal, which must not fail. */
	if (s2_itree_reserve_fill(&pool->nodes, &pool->allocator, 2 * S2_ITREE_UPDATE_NODES))
		return -ENOMEM;
	region->hva = hva;
	iv = interval(region);
	root = atomic_load_explicit(&pool->root, memory_order_relaxed);
	root = s2_itree_insert(root, &iv, &pool->nodes, &replaced);
	publish(pool, root, replaced);
	/* At least a page further on: who runs over a region's end is not in the next one. */
	hva = (hva + size + S2_POOL_HVA_ALIGN) & ~(S2_POOL_HVA_ALIGN - 1);
	pool->next_hva = hva < S2_POOL_HVA_LAST ? hva : S2_POOL_HVA_LAST;
	return 0;
}

static bool bad_size(uint64_t size)
{
	return size & (S2_PAGE_SIZE - 1);
}

int s2_pool_map(struct s2_pool *pool, uint64_t size, uint64_t limit, uint64_t *hva)
{
	struct s2_pool_region *region;
	bool left;
	int ret;

	if (!pool || !hva || !size || bad_size(size) || bad_size(limit))
		return -EINVAL;
	if (size > S2_POOL_HVA_LAST - S2_POOL_HVA_FIRST)
		return -ENOMEM;
	region = s2_zalloc(&pool->allocator,
			   sizeof(*region) +
				   (size >> S2_PAGE_SHIFT) * sizeof(struct s2_pool_page), 64);
	if (!region)
		return -ENOMEM;
	region->npages = size >> S2_PAGE_SHIFT;
	region->limit = limit >> S2_PAGE_SHIFT;
	atomic_init(&region->refs, 1);
	left = s2_guest_leave_all();
	s2_mutex_lock(&pool->regions_lock);
	ret = insert(pool, region);
	s2_mutex_unlock(&pool->regions_lock);
	if (left)
		s2_guest_return_all();
	if (ret)
		s2_free(&pool->allocator, region);
	else
		*hva = region->hva;
	return ret;
}

/* Takes the region that begins at @hva away from readers. */
static struct s2_pool_region *remove(struct s2_pool *pool, uint64_t hva)
{
	struct s2_itree_node *root, *replaced = NULL;
	struct s2_pool_region *region;

	S2_ASSERT_HELD_WRITE(&pool->regions_lock);
	root = atomic_load_explicit(&pool->root, memory_order_relaxed);
	region = s2_itree_lookup(root, hva);
	if (!region || region->hva != hva)
		return NULL;
	/* Before anything else: who waits for a frame while it has a reference gives up now. */
	atomic_store_explicit(&region->unmapped, true, memory_order_relaxed);
	root = s2_itree_remove(root, hva, s2_pool_region_end(region), region, &pool->nodes,
			       &replaced);
	publish(pool, root, replaced);
	return region;
}

/* Gives up the reference of being mapped, and waits for those of who is at work. */
static void await_users(struct s2_pool_region *region)
{
	uint32_t refs = atomic_fetch_sub_explicit(&region->refs, 1, memory_order_acq_rel) - 1;

	while (refs) {
		s2_futex_wait(&region->refs, refs);
		/* Acquire pairs with the release in s2_pool_region_put(). */
		refs = atomic_load_explicit(&region->refs, memory_order_acquire);
	}
}

/*
 * Nobody is at work on its pages any more, or will be. A fault that was may yet map the
 * frame it found, until the invalidation has passed; then it looks again, in vain.
 */
static void drop_pages(struct s2_pool *pool, struct s2_pool_region *region)
{
	struct s2_invalidation inv;

	s2_invalidate_range_start(pool->mm, &inv, region->hva, s2_pool_region_end(region), 0);
	s2_invalidate_range_end(pool->mm, &inv);
	for (uint64_t i = 0; i < region->npages; i++)
		s2_pool_drop_page(pool, region, &region->pages[i]);
}

int s2_pool_unmap(struct s2_pool *pool, uint64_t hva)
{
	struct s2_pool_region *region;
	bool left;

	if (!pool)
		return -EINVAL;
	left = s2_guest_leave_all();
	s2_mutex_lock(&pool->regions_lock);
	region = remove(pool, hva);
	s2_mutex_unlock(&pool->regions_lock);
	if (region) {
		await_users(region);
		drop_pages(pool, region);
		s2_free(&pool->allocator, region);
	}
	if (left)
		s2_guest_return_all();
	return region ? 0 : -ENOENT;
}
