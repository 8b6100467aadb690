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

#include "base/mutant.h"
#include "pool/tier.h"

#include <errno.h>
#include <string.h>
#ifdef S2_HAVE_XXH_DISPATCH
/* The same digests by the widest vectors of the processor: XXH3_64bits() has those of SSE2. */
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

static uint32_t checksum(const void *data)
{
	return (uint32_t)XXH3_64bits(data, S2_PAGE_SIZE);
}

void s2_pool_drop_slot(struct s2_pool *pool, uint64_t word)
{
	unsigned i = s2_pool_tier_of(word);

	pool->tiers[i]->ops->drop(pool->tiers[i], s2_pool_payload(word));
	atomic_fetch_sub_explicit(&pool->tier_pages[i], 1, memory_order_relaxed);
}

/* Asks tier @i to keep pages of which @words say that none has yet: ABSENT. */
static void store_in(struct s2_pool *pool, struct s2_memcg *memcg, unsigned i, unsigned n,
		     const void *const pages[], uint64_t words[])
{
	uint64_t slots[S2_POOL_BATCH];
	int results[S2_POOL_BATCH];

	s2_pool_tier_store_many(pool->tiers[i], n, pages, slots, results);
	for (unsigned p = 0; p < n; p++) {
		if (!results[p]) {
			words[p] = s2_pool_swapped_word(i, slots[p]);
			atomic_fetch_add_explicit(&pool->tier_pages[i], 1, memory_order_relaxed);
		} else if (results[p] != -ENOSPC) {
			S2_POOL_COUNT(pool, memcg, tier_errors, 1);
		}
	}
}

/* The first tier that takes it, and *@word to find it there; or an error. */
static int store(struct s2_pool *pool, struct s2_memcg *memcg, const void *data, uint64_t *word)
{
	uint64_t kept = S2_POOL_ABSENT;

	for (unsigned i = 0; kept == S2_POOL_ABSENT && i < pool->nr_tiers; i++)
		store_in(pool, memcg, i, 1, &data, &kept);
	if (kept == S2_POOL_ABSENT)
		return -ENOSPC;
	*word = kept;
	return 0;
}

/*
 * A guest may be writing, and then the copy is of no use, which is found out. A guest's
 * own copies are plain accesses, so that this is a race, of which no sanitizer need
 * tell; clang has atomic accesses looked at even so, hence a volatile one.
 */
typedef uint64_t page_vector __attribute__((vector_size(16), may_alias));

static __attribute__((no_sanitize("thread"))) void copy_while_in_use(uint64_t *copy,
								     const uint64_t *data)
{
	const volatile page_vector *from = (const volatile page_vector *)data;
	page_vector *to = (page_vector *)copy;

	for (unsigned i = 0; i < S2_PAGE_SIZE / sizeof(*to); i++)
		to[i] = from[i];
}

static bool is_zero(const struct s2_pool *pool, const void *data)
{
	return !memcmp(data, s2_pool_frame_addr(&pool->frames, 0), S2_PAGE_SIZE);
}

/* Where @data is kept from now on; zeroes are kept nowhere. */
static int keep(struct s2_pool *pool, struct s2_memcg *memcg, const void *data, uint64_t *word)
{
	if (!is_zero(pool, data))
		return store(pool, memcg, data, word);
	*word = S2_POOL_ABSENT;
	return 0;
}

/* What was kept is of no use. */
static void forget(struct s2_pool *pool, uint64_t kept)
{
	if (s2_pool_state(kept) == S2_POOL_SWAPPED)
		s2_pool_drop_slot(pool, kept);
}

/* Within the invalidation. The copy has been stored as *@word. */
static int settle(struct s2_pool *pool, struct s2_memcg *memcg, const void *copy, const void *data,
		  uint64_t *word)
{
	if (!memcmp(copy, data, S2_PAGE_SIZE) || S2_MUTANT(SWAP_NOT_COMPARED))
		return 0;
	forget(pool, *word);
	return keep(pool, memcg, data, word);
}

/* Of what was kept, and is nobody's frame any more. */
static void account_out(struct s2_pool *pool, struct s2_memcg *memcg, uint64_t word)
{
	if (s2_pool_state(word) == S2_POOL_ABSENT) {
		S2_POOL_COUNT(pool, memcg, zero, 1);
		return;
	}
	S2_POOL_COUNT(pool, memcg, swapped, 1);
	S2_POOL_COUNT(pool, memcg, swap_outs, 1);
}

/* The invalidation, and that what is kept is what the guest has written last. */
static int take_away(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     const void *copy, const void *data, uint64_t *kept)
{
	/* The mutant's: where nobody has anything. */
	uint64_t hva = S2_MUTANT(SWAP_STAYS_MAPPED) ? S2_POOL_HVA_LAST :
						      s2_pool_page_hva(region, page);
	struct s2_invalidation inv;
	int ret;

	s2_pool_split(pool, region, page);
	s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_PAGE_SIZE, 0);
	ret = settle(pool, region->memcg, copy, data, kept);
	s2_invalidate_range_end(pool->mm, &inv);
	if (!ret && s2_pool_state(*kept) == S2_POOL_SWAPPED)
		page->checksum = checksum(data);
	return ret;
}

int s2_pool_swap_out(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     uint32_t frame, uint64_t *word)
{
	uint64_t copy[S2_PAGE_SIZE / sizeof(uint64_t)] __attribute__((aligned(64))), kept;
	const void *data = s2_pool_frame_addr(&pool->frames, frame);
	struct s2_memcg *memcg = region->memcg;
	int ret;

	copy_while_in_use(copy, data);
	ret = keep(pool, memcg, copy, &kept);
	if (!ret)
		ret = take_away(pool, region, page, copy, data, &kept);
	if (ret)
		return ret;
	*word = s2_pool_become(*word, kept);
	account_out(pool, memcg, kept);
	return 0;
}

/* Those of the copies that are not zeroes and that no tier before has taken, to tier @i. */
static void store_rest(struct s2_pool *pool, unsigned i, unsigned n, const void *const copies[],
		       uint64_t words[], const bool zero[])
{
	const void *pages[S2_POOL_BATCH];
	uint64_t kept[S2_POOL_BATCH];
	unsigned index[S2_POOL_BATCH], rest = 0;

	for (unsigned p = 0; p < n; p++) {
		if (zero[p] || words[p] != S2_POOL_ABSENT)
			continue;
		pages[rest] = copies[p];
		kept[rest] = S2_POOL_ABSENT;
		index[rest++] = p;
	}
	if (rest)
		store_in(pool, NULL, i, rest, pages, kept);
	for (unsigned r = 0; r < rest; r++)
		words[index[r]] = kept[r];
}

/* As s2_pool_swap_out() goes on, if the page still has the frame; its copy was stored as @kept. */
static bool settle_locked(struct s2_pool *pool, struct s2_pool_victim *victim, const void *copy,
			  uint64_t kept)
{
	const void *data = s2_pool_frame_addr(&pool->frames, victim->frame);

	if (!s2_pool_has_frame(victim->word, victim->frame)) {
		forget(pool, kept);
		return false;
	}
	if (take_away(pool, victim->region, victim->page, copy, data, &kept))
		return false;
	victim->word = s2_pool_become(victim->word, kept);
	account_out(pool, victim->region->memcg, kept);
	return true;
}

/* The page was not locked while it was stored, and may have gone or changed. */
static void settle_victim(struct s2_pool *pool, struct s2_pool_victim *victim, const void *copy,
			  uint64_t kept)
{
	if (!s2_pool_page_trylock(victim->page, &victim->word)) {
		forget(pool, kept);
		return;
	}
	victim->out = settle_locked(pool, victim, copy, kept);
	if (!victim->out)
		s2_pool_page_unlock(victim->page, victim->word);
}

void s2_pool_swap_out_many(struct s2_pool *pool, struct s2_pool_victim victims[], unsigned n,
			   void *copies)
{
	const void *pages[S2_POOL_BATCH];
	uint64_t words[S2_POOL_BATCH];
	bool zero[S2_POOL_BATCH];

	for (unsigned i = 0; i < n; i++) {
		uint64_t *copy = (uint64_t *)copies + i * (S2_PAGE_SIZE / sizeof(uint64_t));

		copy_while_in_use(copy, s2_pool_frame_addr(&pool->frames, victims[i].frame));
		pages[i] = copy;
		words[i] = S2_POOL_ABSENT;
		zero[i] = is_zero(pool, copy);
		victims[i].out = false;
		s2_pool_page_unlock(victims[i].page, victims[i].word);
	}
	for (unsigned i = 0; i < pool->nr_tiers; i++)
		store_rest(pool, i, n, pages, words, zero);
	for (unsigned i = 0; i < n; i++)
		if (zero[i] || words[i] != S2_POOL_ABSENT)
			settle_victim(pool, &victims[i], pages[i], words[i]);
}

/* Nobody writes to a shared page: what was stored is what is there. */
int s2_pool_swap_out_shared(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t *word)
{
	const void *data = s2_pool_frame_addr(&pool->frames, (uint32_t)s2_pool_payload(*word));
	int ret = store(pool, NULL, data, word);

	if (ret)
		return ret;
	shared->page.checksum = checksum(data);
	s2_pool_shared_take_away(pool, shared);
	account_out(pool, NULL, *word);
	return 0;
}

/* What a tier has returned, with @ret, for a page of which it is to be the contents. */
static int check(struct s2_pool *pool, struct s2_memcg *memcg, const struct s2_pool_page *page,
		 const void *data, int ret)
{
	if (ret && ret != -EBADMSG)
		ret = -EIO;
	if (!ret && checksum(data) != page->checksum && !S2_MUTANT(CHECKSUM_IGNORED))
		ret = -EBADMSG;
	if (ret)
		S2_POOL_COUNT(pool, memcg, tier_errors, 1);
	else
		S2_POOL_COUNT(pool, memcg, swap_ins, 1);
	return ret;
}

static int load(struct s2_pool *pool, struct s2_memcg *memcg, const struct s2_pool_page *page,
		uint64_t word, uint32_t frame)
{
	struct s2_pool_tier *tier = pool->tiers[s2_pool_tier_of(word)];
	void *data = s2_pool_frame_addr(&pool->frames, frame);

	return check(pool, memcg, page, data, tier->ops->load(tier, s2_pool_payload(word), data));
}

static void swapped_in(struct s2_pool *pool, struct s2_pool_region *region, uint64_t word)
{
	s2_pool_drop_slot(pool, word);
	S2_POOL_COUNT(pool, region->memcg, swapped, -1);
}

int s2_pool_swap_in(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		    uint64_t word, uint32_t frame)
{
	int ret = load(pool, region->memcg, page, word, frame);

	if (!ret)
		swapped_in(pool, region, word);
	return ret;
}

void s2_pool_swap_in_many(struct s2_pool *pool, struct s2_pool_region *region,
			  struct s2_pool_page *pages, unsigned n, const uint64_t words[],
			  const uint32_t frames[], int results[])
{
	uint64_t slots[S2_POOL_BATCH] = { 0 };
	void *data[S2_POOL_BATCH] = { NULL };

	for (unsigned i = 0; i < n; i++) {
		slots[i] = s2_pool_payload(words[i]);
		data[i] = s2_pool_frame_addr(&pool->frames, frames[i]);
	}
	s2_pool_tier_load_many(pool->tiers[s2_pool_tier_of(words[0])], n, slots, data, results);
	for (unsigned i = 0; i < n; i++) {
		results[i] = check(pool, region->memcg, &pages[i], data[i], results[i]);
		if (!results[i])
			swapped_in(pool, region, words[i]);
	}
}

int s2_pool_load_shared(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t word,
			uint32_t frame)
{
	return load(pool, NULL, &shared->page, word, frame);
}
