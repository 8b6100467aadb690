/* SPDX-License-Identifier: MIT */
/*
 * What a kernel does to guests' memory behind their backs, each thread one thing: taking it
 * away, merging what is equal, moving it about; and the weather for the tiers.
 */
#include "torture_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>


/* Of the mover: pages that are on the move are in nobody else's hands. */
#define LONGEST_REST_NS 30000000u

static struct torture_pool_guest *any_guest(struct torture_worker *w)
{
	return &w->torture->pool->guests[pick(w, w->torture->pool->nr_guests)];
}

/* Of what returns bytes, frames or blocks, or an error. */
static void check_count(struct torture_worker *w, const char *what, int64_t ret)
{
	if (ret < 0 && !(ret == -ENOMEM && w->torture->options.tier_faults))
		torture_violation(w, TORTURE_BAD_ERROR, "%s failed with %" PRId64, what, -ret);
}

static void set_limit(struct torture_worker *w)
{
	struct torture_pool_guest *guest = any_guest(w);
	uint64_t pages = percent(w, 40) ? 0 : POOL_WINDOW_PAGES + pick(w, guest->nr_pages);

	watch_now(&w->watch, WATCH_LIMIT, 0, 0);
	check_count(w, "setting a limit",
		    s2_memcg_set_limit(guest->memcg, pages * S2_PAGE_SIZE));
	count(w, TORTURE_LIMITS_SET, 1);
}

static void reclaim(struct torture_worker *w)
{
	unsigned int kind = pick(w, 10);
	uint64_t bytes = pick(w, 256) * S2_PAGE_SIZE;

	if (kind < 3) {
		watch_now(&w->watch, WATCH_AGE, 0, 0);
		check_count(w, "aging", s2_pool_age(w->torture->pool->pool));
	} else if (kind < 6) {
		watch_now(&w->watch, WATCH_RECLAIM, 0, 0);
		check_count(w, "reclaim", s2_pool_reclaim(w->torture->pool->pool, bytes,
							  pick(w, S2_POOL_AGES)));
	} else if (kind < 8) {
		watch_now(&w->watch, WATCH_RECLAIM, 0, 0);
		check_count(w, "reclaim", s2_memcg_reclaim(any_guest(w)->memcg, bytes,
							   pick(w, S2_POOL_AGES)));
	} else {
		set_limit(w);
	}
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
}

void torture_pool_reclaimer(struct torture_worker *w)
{
	while (!stopped(w->torture)) {
		reclaim(w);
		torture_pause(w);
	}
}

/* Mostly that pages may be merged, since a few that may not are enough. */
static void advise(struct torture_worker *w)
{
	struct torture_pool_guest *guest = any_guest(w);
	unsigned int first = pick(w, guest->nr_pages);
	unsigned int nr = 1 + pick(w, guest->nr_pages - first);
	uint64_t hva = torture_pool_hva(guest, first);
	bool merge = percent(w, 70);

	if (!merge && nr > POOL_CHUNK_PAGES / 8)
		nr = POOL_CHUNK_PAGES / 8;
	watch_now(&w->watch, WATCH_ADVISE, hva, hva + nr * S2_PAGE_SIZE);
	torture_pool_answered(w, guest, "advice",
			      s2_pool_advise(w->torture->pool->pool, hva, nr * S2_PAGE_SIZE,
					     merge ? S2_POOL_MERGE : S2_POOL_DO_NOT_MERGE),
			      0);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
}

void torture_pool_merger(struct torture_worker *w)
{
	while (!stopped(w->torture)) {
		if (percent(w, 5))
			advise(w);
		watch_now(&w->watch, WATCH_MERGE, 0, 0);
		check_count(w, "merging",
			    s2_pool_merge(w->torture->pool->pool, 64 + pick(w, 2048)));
		watch_now(&w->watch, WATCH_NOTHING, 0, 0);
		torture_pause(w);
	}
}

static void compact(struct torture_worker *w)
{
	watch_now(&w->watch, WATCH_COMPACT, 0, 0);
	check_count(w, "compaction", s2_pool_compact(w->torture->pool->pool));
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
}

/* That others have pages in their hands, or no block can be had, is nobody's fault. */
static void collapse(struct torture_worker *w, const struct torture_pool_guest *guest,
		     unsigned int chunk)
{
	uint64_t hva = torture_pool_hva(guest, chunk * POOL_CHUNK_PAGES);
	uint64_t size = POOL_CHUNK_PAGES * S2_PAGE_SIZE;
	int error;

	watch_now(&w->watch, WATCH_COLLAPSE, hva, hva + size);
	error = s2_pool_collapse(w->torture->pool->pool, hva, size);
	watch_now(&w->watch, WATCH_NOTHING, 0, 0);
	if (error != -ENOMEM)
		torture_pool_answered(w, guest, "collapse", error, -EAGAIN);
}

/*
 * While guests use all of their memory no 2 MiB of it ever are in frames at once. So for a while
 * they use no more than one chunk, and what is not used makes room for a free block.
 */
static void collapse_narrowed(struct torture_worker *w)
{
	struct torture_pool *pool = w->torture->pool;
	struct torture_pool_guest *guest = any_guest(w);
	unsigned int chunk = pick(w, guest->nr_pages / POOL_CHUNK_PAGES);

	__atomic_store_n(&pool->narrow, 1 + chunk, __ATOMIC_RELAXED);
	for (unsigned int i = pick(w, 16); i && !stopped(w->torture); i--) {
		watch_now(&w->watch, WATCH_RECLAIM, 0, 0);
		check_count(w, "reclaim",
			    s2_pool_reclaim(pool->pool, pick(w, 1024) * S2_PAGE_SIZE, 1));
		compact(w);
		collapse(w, guest, chunk);
		torture_pause(w);
	}
	__atomic_store_n(&pool->narrow, 0, __ATOMIC_RELAXED);
}

void torture_pool_mover(struct torture_worker *w)
{
	bool chunks = w->torture->pool->guests[0].nr_pages >= POOL_CHUNK_PAGES;

	while (!stopped(w->torture)) {
		const struct timespec nap = { .tv_nsec = pick(w, LONGEST_REST_NS) };

		if (chunks && percent(w, 6))
			collapse_narrowed(w);
		else
			compact(w);
		nanosleep(&nap, NULL);
	}
}

/* For how long at most. */
static const unsigned int longest_ns[] = {
	[WEATHER_FINE] = 200000000,
	[WEATHER_FLAKY] = 100000000,
	[WEATHER_SLOW] = 50000000,
	[WEATHER_FULL] = 600000000,
};

static enum torture_weather next_weather(struct torture_worker *w)
{
	unsigned int chance = pick(w, 100);

	return chance < 30 ? WEATHER_FINE :
	       chance < 75 ? WEATHER_FLAKY :
	       chance < 88 ? WEATHER_SLOW :
			     WEATHER_FULL;
}

void torture_pool_weather(struct torture_worker *w)
{
	uint64_t *now = &w->torture->pool->weather.now;

	while (!stopped(w->torture)) {
		enum torture_weather next = next_weather(w);
		const struct timespec nap = {
			.tv_nsec = pick(w, longest_ns[next]),
		};

		__atomic_store_n(now, next, __ATOMIC_RELAXED);
		nanosleep(&nap, NULL);
		watch_progress(&w->watch);
	}
	__atomic_store_n(now, WEATHER_FINE, __ATOMIC_RELAXED);
}
