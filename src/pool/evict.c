/* SPDX-License-Identifier: MIT */
/*
 * Taking a frame away from the page that has it.
 *
 * Which page that is comes from the table of frames, or from a look at the page without its lock.
 * That is a hint: page and region may go meanwhile, so the region is looked up, and the page,
 * locked, must still have the frame. Pages are locked by trying only, since a fault that
 * reclaims has one locked already.
 */
#include "pool/evict.h"

static enum s2_pool_outcome evict_shared(struct s2_pool *pool, uint32_t frame, uint32_t nr)
{
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	enum s2_pool_outcome outcome = S2_POOL_BUSY;
	uint64_t word;

	if (!s2_pool_page_trylock(&shared->page, &word))
		return S2_POOL_BUSY;
	if (s2_pool_has_frame(word, frame))
		outcome = s2_pool_swap_out_shared(pool, shared, &word) ? S2_POOL_KEPT : S2_POOL_EVICTED;
	if (outcome == S2_POOL_EVICTED) {
		s2_pool_frame_own(&pool->frames, frame, S2_FRAME_IN_TRANSIT);
		atomic_fetch_sub_explicit(&pool->shared_frames, 1, memory_order_relaxed);
	}
	s2_pool_page_unlock(&shared->page, word);
	return outcome;
}

static enum s2_pool_outcome evict_own(struct s2_pool *pool, uint32_t frame, uint64_t hva)
{
	struct s2_pool_victim v;
	bool kept;

	if (!s2_pool_lock_victim(pool, frame, hva, &v))
		return S2_POOL_BUSY;
	kept = s2_pool_swap_out(pool, v.region, v.page, frame, &v.word);
	if (!kept) {
		s2_pool_frame_own(&pool->frames, frame, S2_FRAME_IN_TRANSIT);
		s2_pool_uncharge(pool, v.region);
	}
	s2_pool_unlock_victim(&v);
	return kept ? S2_POOL_KEPT : S2_POOL_EVICTED;
}

enum s2_pool_outcome s2_pool_evict(struct s2_pool *pool, uint32_t frame, uint64_t owner)
{
	if (s2_frame_is_shared(owner))
		return evict_shared(pool, frame, s2_frame_shared_index(owner));
	return evict_own(pool, frame, owner);
}

static bool clear_young(struct s2_mm *mm, uint64_t hva)
{
	return s2_clear_young(mm, hva, hva + S2_PAGE_SIZE);
}

bool s2_pool_any_young(struct s2_pool *pool, uint64_t owner,
		       bool (*look)(struct s2_mm *mm, uint64_t hva))
{
	struct s2_pool_shared *shared;
	uint32_t cursor = S2_POOL_NO_PAGE;
	bool young = false;
	uint64_t word, hva;

	if (!s2_frame_is_shared(owner))
		return look(pool->mm, owner);
	shared = s2_pool_shared_at(&pool->shared, s2_frame_shared_index(owner));
	if (!s2_pool_page_trylock(&shared->page, &word))
		return true;
	while (s2_pool_shared_next(pool, shared, &cursor, &hva))
		young |= look(pool->mm, hva);
	s2_pool_page_unlock(&shared->page, word);
	return young;
}

/*
 * A 2 MiB leaf has one accessed bit, which is clear now: it was that of all its pages, the
 * others of which would seem idle to who looks at them next.
 */
static void spare_huge(struct s2_pool *pool, uint32_t frame, uint64_t hva)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);
	uint32_t block = s2_pool_block_of(frame), first = s2_pool_block_first(block);

	if (!region)
		return;
	/* The page may have left the frame since; that may be in the block that is not whole. */
	if (block < s2_pool_frames_nr_blocks(&pool->frames) &&
	    s2_pool_in_huge(region, s2_pool_page_at(region, hva)))
		for (uint32_t i = 0; i < S2_POOL_BLOCK_FRAMES; i++)
			s2_pool_frame_used(&pool->frames, first + i);
	s2_pool_region_put(region);
}

bool s2_pool_second_chance(struct s2_pool *pool, uint32_t frame, uint64_t owner)
{
	_Atomic uint32_t *use = &pool->frames.table[frame].use;

	/* Its accessed bits are for the next time: to look at them takes mmu_lock. */
	if (atomic_fetch_and_explicit(use, ~S2_FRAME_REFERENCED, memory_order_relaxed) &
	    S2_FRAME_REFERENCED)
		return true;
	if (!s2_pool_any_young(pool, owner, clear_young))
		return false;
	atomic_fetch_or_explicit(use, S2_FRAME_USED, memory_order_relaxed);
	if (!s2_frame_is_shared(owner))
		spare_huge(pool, frame, owner);
	return true;
}

static bool has_lock(struct s2_pool_page *page)
{
	return atomic_load_explicit(&page->word, memory_order_relaxed) & S2_POOL_LOCKED;
}

bool s2_pool_is_locked(struct s2_pool *pool, uint64_t owner)
{
	uint32_t nr = s2_frame_shared_index(owner);
	struct s2_pool_region *region;
	bool locked;

	if (s2_frame_is_shared(owner))
		return has_lock(&s2_pool_shared_at(&pool->shared, nr)->page);
	region = s2_pool_region_get(pool, owner);
	if (!region)
		return true;
	locked = has_lock(s2_pool_page_at(region, owner));
	s2_pool_region_put(region);
	return locked;
}

bool s2_pool_lock_victim(struct s2_pool *pool, uint32_t frame, uint64_t hva,
			 struct s2_pool_victim *victim)
{
	struct s2_pool_region *region = s2_pool_region_get(pool, hva);

	if (!region)
		return false;
	*victim = (struct s2_pool_victim){
		.region = region,
		.page = s2_pool_page_at(region, hva),
		.frame = frame,
	};
	if (s2_pool_page_trylock(victim->page, &victim->word)) {
		if (s2_pool_has_frame(victim->word, frame))
			return true;
		s2_pool_page_unlock(victim->page, victim->word);
	}
	s2_pool_region_put(region);
	return false;
}

void s2_pool_unlock_victim(struct s2_pool_victim *victim)
{
	s2_pool_page_unlock(victim->page, victim->word);
	s2_pool_region_put(victim->region);
}

unsigned s2_pool_evict_victims(struct s2_pool *pool, struct s2_pool_victim victims[], unsigned n,
			       void *copies)
{
	unsigned freed = 0;

	s2_pool_swap_out_many(pool, victims, n, copies);
	for (unsigned i = 0; i < n; i++) {
		if (victims[i].out) {
			s2_pool_give_frame(pool, victims[i].region, victims[i].frame);
			s2_pool_page_unlock(victims[i].page, victims[i].word);
			freed++;
		}
		s2_pool_region_put(victims[i].region);
	}
	return freed;
}
