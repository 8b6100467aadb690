/* SPDX-License-Identifier: MIT */
/*
 * When nothing can be reclaimed: one memcg loses all it has, so that the others can go on. Its
 * memory is taken by invalidations that may not block, as the kernel's OOM reaper does:
 * whoever is out of memory holds locks, and must not wait for the victim's vCPUs. What
 * cannot be had now is tried again, a few times.
 */
#include "pool/pool.h"

#include "base/mutant.h"

#include <sched.h>

#define ATTEMPTS 10

/* Takes pages away from vCPUs, if none of them has to be waited for. */
static bool take_away(struct s2_pool *pool, uint64_t start, uint64_t end)
{
	struct s2_invalidation inv;

	if (S2_MUTANT(REAP_STAYS_MAPPED))
		return true;
	if (s2_invalidate_range_start(pool->mm, &inv, start, end, S2_NONBLOCK))
		return false;
	s2_invalidate_range_end(pool->mm, &inv);
	return true;
}

/* Its share; true if it was the last one, and there was a frame to it. */
static bool reap_shared(struct s2_pool *pool, struct s2_pool_region *region,
			struct s2_pool_page *page, uint64_t *word)
{
	uint64_t hva = s2_pool_page_hva(region, page), held;
	uint32_t nr = (uint32_t)s2_pool_payload(*word);
	struct s2_pool_shared *shared = s2_pool_shared_at(&pool->shared, nr);
	bool frees;

	if (!s2_pool_page_trylock(&shared->page, &held))
		return false;
	if (!take_away(pool, hva, hva + S2_PAGE_SIZE)) {
		s2_pool_page_unlock(&shared->page, held);
		return false;
	}
	frees = shared->sharers == 1 && s2_pool_state(held) == S2_POOL_RESIDENT;
	s2_pool_shared_leave(pool, nr, held, page);
	S2_POOL_COUNT(pool, region->memcg, shared, -1);
	*word = s2_pool_become(*word, S2_POOL_ABSENT);
	return frees;
}

/*
 * True if a frame came free. The page stays locked over the invalidation, so that a fault which
 * comes after it waits, and finds its memcg killed.
 */
static bool reap_page(struct s2_pool *pool, struct s2_pool_region *region,
		      struct s2_pool_page *page, uint64_t *word)
{
	uint64_t hva = s2_pool_page_hva(region, page);
	uint32_t frame = (uint32_t)s2_pool_payload(*word);

	if (s2_pool_state(*word) == S2_POOL_SHARED)
		return reap_shared(pool, region, page, word);
	if (s2_pool_state(*word) != S2_POOL_RESIDENT)
		return false;
	s2_pool_split(pool, region, page);
	if (!take_away(pool, hva, hva + S2_PAGE_SIZE))
		return false;
	s2_pool_give_frame(pool, region, frame);
	*word = s2_pool_become(*word, S2_POOL_ABSENT);
	return true;
}

static uint64_t reap_region(struct s2_pool *pool, struct s2_pool_region *region)
{
	uint64_t reaped = 0;

	/* All at once, also what gives no memory: zeroes, and what has to stay now. It does not come back. */
	take_away(pool, region->hva, s2_pool_region_end(region));
	for (uint64_t i = 0; i < region->npages; i++) {
		uint64_t word;

		if (!s2_pool_page_trylock(&region->pages[i], &word))
			continue;
		reaped += reap_page(pool, region, &region->pages[i], &word);
		s2_pool_page_unlock(&region->pages[i], word);
	}
	return reaped;
}

static uint64_t reap(struct s2_memcg *memcg)
{
	struct s2_pool_region *region;
	uint64_t reaped = 0;

	for (unsigned i = 0; (region = s2_pool_memcg_region(memcg, i)); i++) {
		reaped += reap_region(memcg->pool, region);
		s2_pool_region_put(region);
	}
	return reaped;
}

/* Who takes a memcg from the list frees it only after having had oom_lock. */
static struct s2_memcg *next_memcg(struct s2_pool *pool, struct s2_memcg *memcg)
{
	S2_ASSERT_HELD_WRITE(&pool->oom_lock);
	return atomic_load_explicit(memcg ? &memcg->next : &pool->memcgs, memory_order_acquire);
}

/* What a victim of before had in use then. */
static uint64_t reap_killed(struct s2_pool *pool)
{
	uint64_t reaped = 0;

	for (struct s2_memcg *memcg = NULL; (memcg = next_memcg(pool, memcg));)
		if (atomic_load_explicit(&memcg->killed, memory_order_relaxed))
			reaped += reap(memcg);
	return reaped;
}

static bool has_memory(struct s2_memcg *memcg)
{
	return atomic_load_explicit(&memcg->counts.resident, memory_order_relaxed) ||
	       atomic_load_explicit(&memcg->counts.shared, memory_order_relaxed);
}

/* The highest priority of those that have anything to give. */
static struct s2_memcg *choose_victim(struct s2_pool *pool)
{
	struct s2_memcg *victim = NULL;

	for (struct s2_memcg *memcg = NULL; (memcg = next_memcg(pool, memcg));)
		if (memcg->oom_priority > (victim ? victim->oom_priority : 0) &&
		    !atomic_load_explicit(&memcg->killed, memory_order_relaxed) &&
		    has_memory(memcg))
			victim = memcg;
	return victim;
}

/* Nothing more is given to it; what it has is taken. */
static uint64_t kill(struct s2_pool *pool, struct s2_memcg *victim)
{
	uint64_t reaped = 0;

	atomic_store_explicit(&victim->killed, true, memory_order_relaxed);
	atomic_fetch_add_explicit(&pool->oom_kills, 1, memory_order_relaxed);
	for (unsigned i = 0; i < ATTEMPTS && has_memory(victim); i++) {
		reaped += reap(victim);
		sched_yield();
	}
	return reaped;
}

bool s2_pool_out_of_memory(struct s2_pool *pool)
{
	struct s2_memcg *victim;
	bool room;

	s2_mutex_lock(&pool->oom_lock);
	/* Another thread may have done it while we waited. */
	room = s2_pool_frames_nr_free(&pool->frames) || reap_killed(pool);
	while (!room && (victim = choose_victim(pool))) {
		room = kill(pool, victim);
		/* What its vCPUs could not be made to give up will come yet. */
		if (has_memory(victim))
			break;
	}
	s2_mutex_unlock(&pool->oom_lock);
	return room;
}
