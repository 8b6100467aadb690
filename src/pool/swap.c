/* SPDX-License-Identifier: MIT */
/*
 * Between frames and tiers. Tiers are strangers: whatever they answer, a guest gets the
 * bytes it has written or an error. What tells is a checksum that stays with the page.
 *
 * A page is stored before it is taken away from the guest, from a copy, and taken away only
 * if it is still what was stored:
 *
 *	CPU 0 (reclaim)				CPU 1 (vCPU)
 *	---------------				------------
 *	copy, store the copy
 *						may still write
 *	start(): nobody writes any more
 *	frame is as the copy: it is swapped
 *	end()
 *
 * So no invalidation is open while a tier is at work, which would hold up memslot updates;
 * and a page that no tier takes is not invalidated at all. That matters to who
 * reclaims in a fault: its own invalidation would have the fault begin anew, and
 * the error that there is no memory would never come out.
 */
#include "pool/pool.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

static uint32_t checksum(const void *data)
{
	return (uint32_t)XXH3_64bits(data, S2_PAGE_SIZE);
}

static void forget_slot(struct s2_pool *pool, struct s2_pool_region *region, uint64_t word)
{
	unsigned i = s2_pool_tier_of(word);

	pool->tiers[i]->ops->drop(pool->tiers[i], s2_pool_payload(word));
	S2_POOL_COUNT(pool, region, tier_pages[i], -1);
}

/* The answer of the first tier that takes it, and *@word to find it there; or an error. */
static int store(struct s2_pool *pool, struct s2_pool_region *region, const void *data,
		 uint64_t *word)
{
	int ret = -ENOSPC;

	for (unsigned i = 0; ret && i < pool->nr_tiers; i++) {
		struct s2_pool_tier *tier = pool->tiers[i];
		uint64_t slot = 0;

		ret = tier->ops->store(tier, data, &slot);
		if (!ret && slot >> S2_POOL_SLOT_BITS) {
			tier->ops->drop(tier, slot);
			ret = -EIO;
		}
		if (!ret) {
			*word = s2_pool_swapped_word(i, slot);
			S2_POOL_COUNT(pool, region, tier_pages[i], 1);
		} else if (ret != -ENOSPC) {
			S2_POOL_COUNT(pool, region, tier_errors, 1);
		}
	}
	return ret;
}

/*
 * A guest may be writing, and then the copy is of no use, which is found out. A guest's
 * own copies are plain accesses, so that this is a race, of which no sanitizer need
 * tell; clang has atomic accesses looked at even so, hence a volatile one.
 */
static __attribute__((no_sanitize("thread"))) void copy_while_in_use(uint64_t *copy,
								     const volatile uint64_t *data)
{
	for (unsigned i = 0; i < S2_PAGE_SIZE / sizeof(*copy); i++)
		copy[i] = data[i];
}

static bool is_zero(const struct s2_pool *pool, const void *data)
{
	return !memcmp(data, s2_pool_frame_addr(&pool->frames, 0), S2_PAGE_SIZE);
}

/* Where @data is kept from now on; zeroes are kept nowhere. */
static int keep(struct s2_pool *pool, struct s2_pool_region *region, const void *data,
		uint64_t *word)
{
	if (!is_zero(pool, data))
		return store(pool, region, data, word);
	*word = S2_POOL_ABSENT;
	return 0;
}

/* Within the invalidation. The copy has been stored as *@word. */
static int settle(struct s2_pool *pool, struct s2_pool_region *region, const void *copy,
		  const void *data, uint64_t *word)
{
	if (!memcmp(copy, data, S2_PAGE_SIZE))
		return 0;
	if (s2_pool_state(*word) == S2_POOL_SWAPPED)
		forget_slot(pool, region, *word);
	return keep(pool, region, data, word);
}

int s2_pool_swap_out(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     uint32_t frame, uint64_t *word)
{
	uint64_t copy[S2_PAGE_SIZE / sizeof(uint64_t)], new, hva = s2_pool_page_hva(region, page);
	const void *data = s2_pool_frame_addr(&pool->frames, frame);
	struct s2_invalidation inv;
	int ret;

	copy_while_in_use(copy, data);
	ret = keep(pool, region, copy, &new);
	if (ret)
		return ret;
	s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_PAGE_SIZE, 0);
	ret = settle(pool, region, copy, data, &new);
	s2_invalidate_range_end(pool->mm, &inv);
	if (ret)
		return ret;
	*word = new;
	if (s2_pool_state(new) == S2_POOL_ABSENT) {
		S2_POOL_COUNT(pool, region, zero, 1);
		return 0;
	}
	page->checksum = checksum(data);
	S2_POOL_COUNT(pool, region, swapped, 1);
	S2_POOL_COUNT(pool, region, swap_outs, 1);
	return 0;
}

int s2_pool_swap_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    uint64_t word, uint32_t frame)
{
	struct s2_pool_tier *tier = pool->tiers[s2_pool_tier_of(word)];
	void *data = s2_pool_frame_addr(&pool->frames, frame);
	int ret = tier->ops->load(tier, s2_pool_payload(word), data);

	if (ret && ret != -EBADMSG)
		ret = -EIO;
	if (!ret && checksum(data) != page->checksum)
		ret = -EBADMSG;
	if (ret) {
		S2_POOL_COUNT(pool, region, tier_errors, 1);
		return ret;
	}
	s2_pool_drop_slot(pool, region, word);
	S2_POOL_COUNT(pool, region, swap_ins, 1);
	return 0;
}

void s2_pool_drop_slot(struct s2_pool *pool, struct s2_pool_region *region, uint64_t word)
{
	forget_slot(pool, region, word);
	S2_POOL_COUNT(pool, region, swapped, -1);
}
