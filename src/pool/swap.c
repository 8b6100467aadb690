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
#include "pool/page_digest.h"
#include "pool/room.h"
#include "pool/tier.h"

#include <errno.h>
#include <string.h>

static uint32_t checksum(const void *data)
{
	return (uint32_t)s2_page_digest(data);
}

void s2_pool_drop_slot(struct s2_pool *pool, uint64_t word)
{
	unsigned i = s2_pool_tier_of(word);

	pool->tiers[i]->ops->drop(pool->tiers[i], s2_pool_payload(word));
	s2_pool_note_drop(pool, i);
	atomic_fetch_sub_explicit(&pool->tier_pages[i], 1, memory_order_relaxed);
}

/*
 * A page to be kept: its contents, or a copy of them, which are in @frame; and where they
 * are when they are @kept, for its word.
 */
struct keeping {
	const void *data;
	uint32_t frame;
	bool kept;
	uint64_t word;
};

static void take_result(struct s2_pool *pool, struct s2_memcg *memcg, unsigned i,
			struct keeping *k, int result, uint64_t slot)
{
	switch (result) {
	case 0:
		k->word = s2_pool_swapped_word(i, slot);
		k->kept = true;
		atomic_fetch_add_explicit(&pool->tier_pages[i], 1, memory_order_relaxed);
		break;
	case -ENOSPC:
		break;
	case -E2BIG:
		s2_pool_note_refusal(pool, i, k->frame, k->data, slot);
		break;
	default:
		S2_POOL_COUNT(pool, memcg, tier_errors, 1);
	}
}

/* Offers tier @i those that may fit. */
static void ask(struct s2_pool *pool, struct s2_memcg *memcg, unsigned i,
		struct keeping *offered[], unsigned n)
{
	uint64_t slots[S2_POOL_BATCH], drops = s2_pool_drops(pool, i);
	const void *pages[S2_POOL_BATCH];
	int results[S2_POOL_BATCH];
	unsigned asked = 0;
	bool full = false;

	for (unsigned p = 0; p < n; p++) {
		if (!s2_pool_may_fit(pool, i, offered[p]->frame, offered[p]->data))
			continue;
		pages[asked] = offered[p]->data;
		offered[asked++] = offered[p];
	}
	if (!asked)
		return;
	s2_pool_tier_store_many(pool->tiers[i], asked, pages, slots, results);
	for (unsigned p = 0; p < asked; p++) {
		take_result(pool, memcg, i, offered[p], results[p], slots[p]);
		full |= results[p] == -ENOSPC;
	}
	if (S2_MUTANT(FULL_AS_OF_NOW))
		drops = s2_pool_drops(pool, i);
	if (full)
		s2_pool_note_full(pool, i, drops);
}

/* Each by the first tier that takes it. */
static void store(struct s2_pool *pool, struct s2_memcg *memcg, struct keeping pages[], unsigned n)
{
	for (unsigned i = 0; i < pool->nr_tiers; i++) {
		struct keeping *rest[S2_POOL_BATCH];
		unsigned nr = 0;

		for (unsigned p = 0; p < n; p++)
			if (!pages[p].kept)
				rest[nr++] = &pages[p];
		if (nr && !s2_pool_go_past(pool, i, nr))
			ask(pool, memcg, i, rest, nr);
	}
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

/* Zeroes are kept nowhere. */
static void keep(struct s2_pool *pool, struct s2_memcg *memcg, struct keeping pages[], unsigned n)
{
	for (unsigned p = 0; p < n; p++) {
		pages[p].kept = is_zero(pool, pages[p].data);
		pages[p].word = S2_POOL_ABSENT;
	}
	store(pool, memcg, pages, n);
}

/* What was kept is of no use. */
static void forget(struct s2_pool *pool, const struct keeping *copy)
{
	if (s2_pool_state(copy->word) == S2_POOL_SWAPPED)
		s2_pool_drop_slot(pool, copy->word);
}

/* Within the invalidation. The copy has been kept; now the page is, or it has to stay. */
static void settle(struct s2_pool *pool, struct s2_memcg *memcg, struct keeping *copy)
{
	const void *data = s2_pool_frame_addr(&pool->frames, copy->frame);

	if (!memcmp(copy->data, data, S2_PAGE_SIZE) || S2_MUTANT(SWAP_NOT_COMPARED))
		return;
	forget(pool, copy);
	copy->data = data;
	keep(pool, memcg, copy, 1);
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
static bool take_away(struct s2_pool *pool, struct s2_pool_region *region,
		      struct s2_pool_page *page, struct keeping *copy)
{
	/* The mutant's: where nobody has anything. */
	uint64_t hva = S2_MUTANT(SWAP_STAYS_MAPPED) ? S2_POOL_HVA_LAST :
						      s2_pool_page_hva(region, page);
	struct s2_invalidation inv;

	s2_pool_split(pool, region, page);
	s2_invalidate_range_start(pool->mm, &inv, hva, hva + S2_PAGE_SIZE, 0);
	settle(pool, region->memcg, copy);
	s2_invalidate_range_end(pool->mm, &inv);
	if (s2_pool_state(copy->word) == S2_POOL_SWAPPED)
		page->checksum = checksum(copy->data);
	return copy->kept;
}

int s2_pool_swap_out(struct s2_pool *pool, struct s2_pool_region *region, struct s2_pool_page *page,
		     uint32_t frame, uint64_t *word)
{
	uint64_t contents[S2_PAGE_SIZE / sizeof(uint64_t)] __attribute__((aligned(64)));
	struct keeping copy = { .data = contents, .frame = frame };

	copy_while_in_use(contents, s2_pool_frame_addr(&pool->frames, frame));
	keep(pool, region->memcg, &copy, 1);
	if (!copy.kept || !take_away(pool, region, page, &copy))
		return -ENOSPC;
	*word = s2_pool_become(*word, copy.word);
	account_out(pool, region->memcg, copy.word);
	return 0;
}

/* As s2_pool_swap_out() goes on, if the page still has the frame. */
static bool settle_locked(struct s2_pool *pool, struct s2_pool_victim *victim, struct keeping *copy)
{
	if (!s2_pool_has_frame(victim->word, victim->frame)) {
		forget(pool, copy);
		return false;
	}
	if (!take_away(pool, victim->region, victim->page, copy))
		return false;
	victim->word = s2_pool_become(victim->word, copy->word);
	account_out(pool, victim->region->memcg, copy->word);
	return true;
}

/* The page was not locked while it was stored, and may have gone or changed. */
static void settle_victim(struct s2_pool *pool, struct s2_pool_victim *victim, struct keeping *copy)
{
	if (!s2_pool_page_trylock(victim->page, &victim->word)) {
		forget(pool, copy);
		return;
	}
	victim->out = settle_locked(pool, victim, copy);
	if (!victim->out)
		s2_pool_page_unlock(victim->page, victim->word);
}

void s2_pool_swap_out_many(struct s2_pool *pool, struct s2_pool_victim victims[], unsigned n,
			   void *copies)
{
	struct keeping kept[S2_POOL_BATCH];

	for (unsigned i = 0; i < n; i++) {
		uint64_t *copy = (uint64_t *)copies + i * (S2_PAGE_SIZE / sizeof(uint64_t));

		copy_while_in_use(copy, s2_pool_frame_addr(&pool->frames, victims[i].frame));
		kept[i] = (struct keeping){ .data = copy, .frame = victims[i].frame };
		victims[i].out = false;
		s2_pool_page_unlock(victims[i].page, victims[i].word);
	}
	keep(pool, NULL, kept, n);
	for (unsigned i = 0; i < n; i++)
		if (kept[i].kept)
			settle_victim(pool, &victims[i], &kept[i]);
}

/* Nobody writes to a shared page: what was stored is what is there. */
int s2_pool_swap_out_shared(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t *word)
{
	uint32_t frame = (uint32_t)s2_pool_payload(*word);
	struct keeping page = { .data = s2_pool_frame_addr(&pool->frames, frame), .frame = frame };

	store(pool, NULL, &page, 1);
	if (!page.kept)
		return -ENOSPC;
	*word = page.word;
	shared->page.checksum = checksum(page.data);
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
