/* SPDX-License-Identifier: MIT */
/*
 * Torture on a pool: guests whose memory is larger than the frames there are, and everything
 * that is done to such memory at once, while tiers fail.
 *
 * Each VM that stays has a region twice as large as the pool, most of it written to before the
 * threads begin, and a memcg. Until the time is up,
 *  - vCPU threads (torture_pool_vcpu.c) read and write pages, whole and by words, discard them,
 *    and access them as the host would; some have no vCPU but plain pointers into a window
 *    (torture_pool_plain.c);
 *  - a reclaimer ages pages, takes them away, and changes limits; the pool's own thread
 *    reclaims as well;
 *  - a merger has equal pages share one frame, a mover compacts and collapses
 *    (torture_pool_kernel.c);
 *  - visitors (torture_pool_visitor.c) are clones of the others, with a VM of their own, or
 *    guests that begin empty; most of them may be killed when there is no memory left;
 *  - updaters have windows of memory come and go, and turn dirty logs on and off
 *    (torture_pool_slots.c);
 *  - unrelated and related invalidations come from outside (torture_pool_churn.c);
 *  - the weather changes: tiers are whole, flaky, slow or full (torture_pool_tier.h).
 * No thread has an invalidation open while it calls the pool.
 *
 * What counts as a violation. Each page has one owner that writes to it, and what it writes
 * tells whose page of which generation it is (torture_pool_page.h); whoever looks knows which
 * generations it may see (torture_pool_check.c).
 *  lost       Zeroes or an older generation; or, when all is over and the weather is fine, a
 *             page that cannot be read.
 *  mixed_up   What belongs to another page or guest, or what a clone's original has written
 *             since.
 *  damaged    What nobody has written.
 *  use_after_delete  As in torture.c, of windows.
 *  bad_error  An error that may not be: any but -EIO, -EBADMSG and -ENOMEM; these as well if
 *             tiers never fail; -EFAULT if the guest was not killed.
 *  bad_count  When all guests are gone, a frame or a slot of a tier is still in use.
 */
#include "torture_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define VISITORS 2u

static unsigned int guest_pages(const struct torture_options *o)
{
	uint64_t pages = 2 * o->pool_size / S2_PAGE_SIZE;

	return pages < POOL_PAGES ? (unsigned int)pages : POOL_PAGES;
}

/* For all guests there may be at once, a visitor's clone's clone included. */
static uint64_t most_bytes(const struct torture_options *o)
{
	return (uint64_t)(o->vms + 2 * VISITORS) * guest_pages(o) * S2_PAGE_SIZE;
}

static int add_tier(struct torture *torture, int error, struct s2_pool_tier *inner)
{
	struct torture_pool *pool = torture->pool;

	if (error)
		return error;
	torture_pool_tier_init(&pool->tiers[pool->nr_tiers], inner, &pool->weather,
			       torture->options.seed + pool->nr_tiers);
	pool->nr_tiers++;
	return 0;
}

/* So small that it is full most of the time. A build may do without the compressor. */
static int add_memory_tier(struct torture *torture, enum s2_pool_codec codec)
{
	struct s2_pool_tier *inner = NULL;
	int error = s2_pool_tier_memory(codec, most_bytes(&torture->options) / 16, &inner);

	return error == -ENOTSUP ? 0 : add_tier(torture, error, inner);
}

/*
 * Room for everything. The file has no name from the beginning, so that it goes with us however
 * we go.
 */
static int add_file_tier(struct torture *torture)
{
	const char *directory = getenv("TMPDIR");
	struct s2_pool_tier *inner = NULL;
	char path[4096];
	int fd, error;

	snprintf(path, sizeof(path), "%s/stage2-torture-XXXXXX",
		 directory && *directory ? directory : P_tmpdir);
	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	error = s2_pool_tier_file(path, 2 * most_bytes(&torture->options), &inner);
	unlink(path);
	close(fd);
	return add_tier(torture, error, inner);
}

static int create_pool(struct torture *torture)
{
	const struct torture_options *o = &torture->options;
	struct torture_pool *pool = torture->pool;
	struct s2_pool_config config = {
		.size = o->pool_size,
		.gate = o->gate,
		.huge_pages = o->seed % 2,
		.low_watermark = o->pool_size / 32,
		.high_watermark = o->pool_size / 16,
	};
	int error;

	for (unsigned int i = 0; i < pool->nr_tiers; i++)
		config.tiers[i] = &pool->tiers[i].tier;
	error = s2_pool_create(&config, &pool->pool);
	if (error)
		return error;
	torture->mm = s2_pool_mm(pool->pool);
	return 0;
}

static int create_guests(struct torture *torture)
{
	const struct torture_options *o = &torture->options;
	struct torture_pool *pool = torture->pool;
	int error = 0;

	pool->guests = calloc(o->vms, sizeof(*pool->guests));
	if (!pool->guests)
		return -ENOMEM;
	pool->nr_guests = o->vms;
	for (unsigned int i = 0; !error && i < o->vms; i++) {
		struct torture_worker *w = &torture->workers[0];

		w->guest = &pool->guests[i];
		w->guest->index = i;
		w->guest->owners = o->vcpus ? o->vcpus : 1;
		error = torture_pool_create_guest(w, w->guest, guest_pages(o), 0);
		if (!error)
			torture_pool_fill_guest(w);
	}
	return error;
}

static void add_workers(struct torture *torture)
{
	const struct torture_options *o = &torture->options;

	for (unsigned int i = 0; i < o->vms * o->vcpus; i++)
		torture_add_worker(torture, "vcpu", i, torture_pool_vcpu)->guest =
			&torture->pool->guests[i / o->vcpus];
	for (unsigned int i = 0; i < o->unrelated; i++)
		torture_add_worker(torture, "unrelated", i, torture_pool_unrelated)
			->watch.invalidates = true;
	for (unsigned int i = 0; i < o->related; i++)
		torture_add_worker(torture, "related", i, torture_pool_related)
			->watch.invalidates = true;
	for (unsigned int i = 0; i < o->updaters; i++)
		torture_add_worker(torture, "updater", i, torture_pool_updater);
	torture_add_worker(torture, "reclaimer", 0, torture_pool_reclaimer);
	torture_add_worker(torture, "merger", 0, torture_pool_merger);
	torture_add_worker(torture, "mover", 0, torture_pool_mover);
	for (unsigned int i = 0; i < VISITORS; i++)
		torture_add_worker(torture, "visitor", i, torture_pool_visitor);
	if (o->tier_faults)
		torture_add_worker(torture, "weather", 0, torture_pool_weather);
}

static int pool_create(struct torture *torture)
{
	const struct torture_options *o = &torture->options;
	int error = torture_alloc_workers(torture, 5 + VISITORS + o->vms * o->vcpus +
							   o->unrelated + o->related +
							   o->updaters);

	torture->pool = calloc(1, sizeof(*torture->pool));
	if (error || !torture->pool)
		return -ENOMEM;
	torture->pool->weather.percent = o->tier_faults;
	error = torture_plain_begin_signals();
	torture->pool->signals = !error;
	if (!error)
		error = add_memory_tier(torture, S2_POOL_LZ4);
	if (!error)
		error = add_memory_tier(torture, S2_POOL_ZSTD);
	if (!error)
		error = add_file_tier(torture);
	if (!error)
		error = create_pool(torture);
	if (!error)
		error = create_guests(torture);
	if (!error)
		add_workers(torture);
	return error;
}

/*
 * The pool's own thread may still have a frame in its hands; a frame that is lost does not come
 * back.
 */
static void get_final_stats(struct torture_pool *pool, struct s2_pool_stats *stats)
{
	const struct timespec nap = { .tv_nsec = 10000000 };

	for (unsigned int i = 0; i < 200; i++) {
		s2_pool_get_stats(pool->pool, stats);
		if (stats->free_frames == stats->frames)
			return;
		nanosleep(&nap, NULL);
	}
}

static void check_nothing_is_left(struct torture_worker *w)
{
	struct torture_pool *pool = w->torture->pool;
	struct s2_pool_stats stats;

	get_final_stats(pool, &stats);
	if (stats.free_frames != stats.frames || stats.resident || stats.shared ||
	    stats.shared_frames || stats.swapped)
		torture_violation(w, TORTURE_BAD_COUNT,
				  "left of %" PRIu64 " frames: %" PRIu64 " free, resident %" PRIu64
				  ", shared %" PRIu64 " in %" PRIu64 ", swapped %" PRIu64,
				  stats.frames, stats.free_frames, stats.resident, stats.shared,
				  stats.shared_frames, stats.swapped);
	for (unsigned int i = 0; i < pool->nr_tiers; i++)
		if (pool->tiers[i].used || stats.tier_pages[i])
			torture_violation(w, TORTURE_BAD_COUNT,
					  "tier %u: %" PRIu64 " slots left, of %" PRIu64 " pages",
					  i, pool->tiers[i].used, stats.tier_pages[i]);
}

static void pool_check_the_end(struct torture *torture)
{
	struct torture_worker *w = &torture->workers[0];

	for (unsigned int i = 0; i < torture->pool->nr_guests; i++) {
		w->guest = &torture->pool->guests[i];
		torture_pool_final_check(w);
	}
	for (unsigned int i = 0; i < torture->pool->nr_guests; i++)
		torture_pool_destroy_guest(w, &torture->pool->guests[i]);
	check_nothing_is_left(w);
}

static void pool_fill_counts(struct torture *torture, uint64_t counts[TORTURE_NR_COUNTS])
{
	const struct torture_pool_weather *weather = &torture->pool->weather;
	struct s2_pool_stats stats;

	counts[TORTURE_TIER_FAULTS] = __atomic_load_n(&weather->faults, __ATOMIC_RELAXED);
	counts[TORTURE_TIER_FULL] = __atomic_load_n(&weather->full, __ATOMIC_RELAXED);
	counts[TORTURE_TIER_DELAYS] = __atomic_load_n(&weather->delays, __ATOMIC_RELAXED);
	s2_pool_get_stats(torture->pool->pool, &stats);
	counts[TORTURE_TIER_ERRORS] = stats.tier_errors;
	counts[TORTURE_SWAP_OUTS] = stats.swap_outs;
	counts[TORTURE_SWAP_INS] = stats.swap_ins;
	counts[TORTURE_ZERO_PAGES] = stats.zero;
	counts[TORTURE_READ_AHEAD] = stats.read_ahead;
	counts[TORTURE_READ_AHEAD_USED] = stats.read_ahead_used;
	counts[TORTURE_DIRECT_RECLAIMS] = stats.direct_reclaims;
	counts[TORTURE_BACKGROUND_RECLAIMS] = stats.background_reclaims;
	counts[TORTURE_MERGED] = stats.merged;
	counts[TORTURE_COW_BREAKS] = stats.cow_breaks;
	counts[TORTURE_MIGRATED] = stats.migrated;
	counts[TORTURE_COLLAPSED] = stats.collapsed;
	counts[TORTURE_SPLIT] = stats.split;
	counts[TORTURE_OOM_KILLS] = stats.oom_kills;
}

/* The pool takes the tiers over when it is made. */
static void destroy_tiers(struct torture_pool *pool)
{
	for (unsigned int i = 0; !pool->pool && i < pool->nr_tiers; i++)
		pool->tiers[i].tier.ops->destroy(&pool->tiers[i].tier);
}

static void pool_destroy(struct torture *torture)
{
	struct torture_pool *pool = torture->pool;

	if (!pool)
		return;
	for (unsigned int i = 0; pool->guests && i < pool->nr_guests; i++)
		torture_pool_destroy_guest(&torture->workers[0], &pool->guests[i]);
	destroy_tiers(pool);
	s2_pool_destroy(pool->pool);
	if (pool->signals)
		torture_plain_end_signals();
	free(pool->guests);
	free(pool);
}

const struct torture_kind torture_pool_kind = {
	.create = pool_create,
	.check_the_end = pool_check_the_end,
	.fill_counts = pool_fill_counts,
	.destroy = pool_destroy,
};
