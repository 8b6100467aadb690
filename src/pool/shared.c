/* SPDX-License-Identifier: MIT */
/* The table of shared pages, and the lists of those that share them. */
#include "pool/shared.h"

#include "base/alloc.h"
#include "base/mutant.h"
#include "pool/pool.h"

#include <errno.h>

#define NONE UINT32_MAX

void s2_pool_shared_init(struct s2_pool *pool)
{
	s2_spin_init(&pool->shared.lock, S2_RANK_INTERNAL);
	pool->shared.first_free = NONE;
}

void s2_pool_shared_destroy(struct s2_pool *pool)
{
	for (unsigned i = 0; i < S2_POOL_SHARED_CHUNKS; i++)
		s2_free(&pool->allocator,
			atomic_load_explicit(&pool->shared.chunks[i], memory_order_relaxed));
}

/* A chunk more, if another thread has not been faster. */
static int grow(struct s2_pool *pool, unsigned chunk)
{
	struct s2_pool_shared_table *table = &pool->shared;
	struct s2_pool_shared *new, *expected = NULL;

	if (chunk >= S2_POOL_SHARED_CHUNKS)
		return -ENOMEM;
	new = s2_zalloc(&pool->allocator, sizeof(*new) * (S2_POOL_SHARED_FIRST << chunk), 64);
	if (!new)
		return -ENOMEM;
	/* Release pairs with the acquire in s2_pool_shared_at(): the zeroes, before others look. */
	if (!atomic_compare_exchange_strong_explicit(&table->chunks[chunk], &expected, new,
						     memory_order_release, memory_order_relaxed))
		s2_free(&pool->allocator, new);
	return 0;
}

/* False if the table has to grow first, by *@chunk. */
static bool take(struct s2_pool_shared_table *table, uint32_t *nr, unsigned *chunk)
{
	bool taken = true;

	s2_spin_lock(&table->lock);
	if (table->first_free != NONE) {
		*nr = table->first_free;
		table->first_free = s2_pool_shared_at(table, *nr)->next_free;
	} else {
		*nr = table->nr;
		*chunk = s2_pool_shared_chunk(*nr);
		taken = *chunk < S2_POOL_SHARED_CHUNKS &&
			atomic_load_explicit(&table->chunks[*chunk], memory_order_relaxed);
		table->nr += taken;
	}
	s2_spin_unlock(&table->lock);
	return taken;
}

int s2_pool_shared_new(struct s2_pool *pool, uint32_t *nr)
{
	struct s2_pool_shared *shared;
	unsigned chunk;

	while (!take(&pool->shared, nr, &chunk)) {
		int ret = grow(pool, chunk);

		if (ret)
			return ret;
	}
	/* Who read its number from a frame long ago may still be looking. */
	shared = s2_pool_shared_at(&pool->shared, *nr);
	s2_pool_shared_page_lock(&shared->page);
	shared->first = S2_POOL_NO_PAGE;
	shared->sharers = 0;
	shared->merged = false;
	return 0;
}

void s2_pool_shared_free(struct s2_pool *pool, uint32_t nr)
{
	struct s2_pool_shared_table *table = &pool->shared;
	struct s2_pool_shared *shared = s2_pool_shared_at(table, nr);

	s2_pool_page_unlock(&shared->page, S2_POOL_ABSENT);
	s2_spin_lock(&table->lock);
	shared->next_free = table->first_free;
	table->first_free = nr;
	s2_spin_unlock(&table->lock);
}

void s2_pool_shared_link(struct s2_pool *pool, struct s2_pool_shared *shared, uint64_t hva,
			 struct s2_pool_page *page)
{
	S2_ASSERT_HELD_WRITE(&shared->page);
	page->prev = S2_POOL_NO_PAGE;
	page->next = shared->first;
	if (page->next != S2_POOL_NO_PAGE)
		s2_pool_linked_page(pool, page->next)->prev = s2_pool_page_nr(hva);
	shared->first = s2_pool_page_nr(hva);
	shared->sharers++;
}

static void unlink_page(struct s2_pool *pool, struct s2_pool_shared *shared,
			struct s2_pool_page *page)
{
	S2_ASSERT_HELD_WRITE(&shared->page);
	if (page->prev != S2_POOL_NO_PAGE)
		s2_pool_linked_page(pool, page->prev)->next = page->next;
	else
		shared->first = page->next;
	if (page->next != S2_POOL_NO_PAGE)
		s2_pool_linked_page(pool, page->next)->prev = page->prev;
	page->checksum = 0;
	shared->sharers--;
}

uint64_t s2_pool_make_shared(struct s2_pool *pool, struct s2_pool_region *region,
			     struct s2_pool_page *page, uint32_t nr, uint64_t *word)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	uint64_t hva = s2_pool_page_hva(region, page), held = *word & ~S2_POOL_FLAGS;

	if (s2_pool_state(*word) == S2_POOL_RESIDENT) {
		s2_pool_frame_own(&pool->frames, (uint32_t)s2_pool_payload(*word),
				  s2_frame_shared_owner(nr));
		s2_pool_uncharge(pool, region);
		atomic_fetch_add_explicit(&pool->shared_frames, 1, memory_order_relaxed);
	} else {
		shared->page.checksum = page->checksum;
		S2_POOL_COUNT(pool, region->memcg, swapped, -1);
		S2_POOL_COUNT(pool, NULL, swapped, 1);
	}
	s2_pool_shared_link(pool, shared, hva, page);
	S2_POOL_COUNT(pool, region->memcg, shared, 1);
	*word = s2_pool_become(*word, s2_pool_shared_word(nr));
	return held;
}

bool s2_pool_shared_next(struct s2_pool *pool, struct s2_pool_shared *shared, uint32_t *cursor,
			 uint64_t *hva)
{
	S2_ASSERT_HELD_WRITE(&shared->page);
	*cursor = *cursor == S2_POOL_NO_PAGE ? shared->first :
					       s2_pool_linked_page(pool, *cursor)->next;
	if (*cursor == S2_POOL_NO_PAGE)
		return false;
	*hva = s2_pool_nr_hva(*cursor);
	return true;
}

void s2_pool_shared_take_away(struct s2_pool *pool, struct s2_pool_shared *shared)
{
	uint32_t cursor = S2_POOL_NO_PAGE;
	uint64_t hva;

	while (!S2_MUTANT(SHARED_STAYS_MAPPED) && s2_pool_shared_next(pool, shared, &cursor, &hva))
		s2_pool_zap(pool, hva, S2_PAGE_SIZE);
}

bool s2_pool_shared_take_over(struct s2_pool *pool, uint32_t nr, uint64_t word,
			      struct s2_pool_page *page)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);

	S2_ASSERT_HELD_WRITE(&shared->page);
	if (shared->sharers > 1 || s2_pool_state(word) != S2_POOL_RESIDENT)
		return false;
	unlink_page(pool, shared, page);
	s2_pool_merge_forget(pool, nr);
	atomic_fetch_sub_explicit(&pool->shared_frames, 1, memory_order_relaxed);
	s2_pool_shared_free(pool, nr);
	return true;
}

/* What the last one that shared it leaves behind. */
static void give_up(struct s2_pool *pool, uint64_t word)
{
	if (s2_pool_state(word) == S2_POOL_RESIDENT) {
		s2_pool_give_frame(pool, NULL, (uint32_t)s2_pool_payload(word));
		atomic_fetch_sub_explicit(&pool->shared_frames, 1, memory_order_relaxed);
	} else {
		s2_pool_drop_slot(pool, word);
		S2_POOL_COUNT(pool, NULL, swapped, -1);
	}
}

void s2_pool_shared_leave(struct s2_pool *pool, uint32_t nr, uint64_t word,
			  struct s2_pool_page *page)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);

	unlink_page(pool, shared, page);
	if (shared->sharers) {
		s2_pool_page_unlock(&shared->page, word);
		return;
	}
	s2_pool_merge_forget(pool, nr);
	give_up(pool, word);
	s2_pool_shared_free(pool, nr);
}
