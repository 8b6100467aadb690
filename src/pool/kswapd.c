/* SPDX-License-Identifier: MIT */
/*
 * The pool's thread: when fewer frames are free than the low watermark it takes pages
 * away until there are as many as the high one, so that faults find frames. It takes them in batches,
 * which tiers that have a round trip to make are glad of. The clock of ages is not its
 * business: it goes around as direct reclaim does.
 */
#include "pool/evict.h"

#include "base/alloc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

/*
 * @low, @high: frames.
 * @wake:       changes when it has something to do; it sleeps on it.
 * @copies:     where pages are stored from, a batch of them.
 */
struct s2_pool_kswapd {
	struct s2_pool *pool;
	uint64_t low;
	uint64_t high;
	_Atomic uint32_t wake;
	_Atomic bool awake;
	_Atomic bool stop;
	_Atomic uint64_t reclaims;
	void *copies;
	pthread_t thread;
};

/* Each fault that takes a frame asks: first for a count that is cheap, and never too high. */
static bool few_left(struct s2_pool_kswapd *kswapd)
{
	struct s2_pool_frames *frames = &kswapd->pool->frames;

	return s2_pool_frames_nr_free_uncached(frames) < kswapd->low &&
	       s2_pool_frames_nr_free(frames) < kswapd->low;
}

static bool stopping(struct s2_pool_kswapd *kswapd)
{
	return atomic_load_explicit(&kswapd->stop, memory_order_seq_cst);
}

/* How many are missing for the high watermark, as far as one batch goes. */
static unsigned missing(struct s2_pool_kswapd *kswapd)
{
	uint64_t left = s2_pool_frames_nr_free(&kswapd->pool->frames);
	uint64_t want = left < kswapd->high ? kswapd->high - left : 0;

	return want < S2_POOL_BATCH ? (unsigned)want : S2_POOL_BATCH;
}

/*
 * Until there are enough, or there is nothing to be had: then who needs a frame tries himself.
 * False in that case.
 */
static bool balance(struct s2_pool_kswapd *kswapd)
{
	unsigned idle = 0, want;

	while ((want = missing(kswapd)) && idle < S2_POOL_MERCIFUL_ROUNDS && !stopping(kswapd)) {
		unsigned freed = s2_pool_evict_batch(kswapd->pool, want, kswapd->copies);

		atomic_fetch_add_explicit(&kswapd->reclaims, freed, memory_order_relaxed);
		idle = freed ? 0 : idle + 1;
	}
	return idle < S2_POOL_MERCIFUL_ROUNDS;
}

/*
 *	CPU 0 (thread)				CPU 1 (who took a frame)
 *	--------------				------------------------
 *	awake = false				frames in use up
 *	<full barrier>				<full barrier>
 *	few left?				awake?
 *
 * Either CPU 0 sees that few are left and goes on, or CPU 1 sees that it sleeps. If it has found
 * nothing it sleeps all the same, until the next frame is taken.
 */
static void *run(void *arg)
{
	struct s2_pool_kswapd *kswapd = arg;
	bool found = true;

	while (!stopping(kswapd)) {
		uint32_t wake = atomic_load_explicit(&kswapd->wake, memory_order_seq_cst);

		atomic_store_explicit(&kswapd->awake, false, memory_order_seq_cst);
		atomic_thread_fence(memory_order_seq_cst);
		if (!(found && few_left(kswapd)) && !stopping(kswapd))
			s2_futex_wait(&kswapd->wake, wake);
		atomic_store_explicit(&kswapd->awake, true, memory_order_relaxed);
		found = balance(kswapd);
	}
	return NULL;
}

static void wake(struct s2_pool_kswapd *kswapd)
{
	atomic_fetch_add_explicit(&kswapd->wake, 1, memory_order_seq_cst);
	s2_futex_wake(&kswapd->wake, 1);
}

void s2_pool_wake_kswapd(struct s2_pool *pool)
{
	struct s2_pool_kswapd *kswapd = pool->kswapd;

	if (!kswapd || !few_left(kswapd))
		return;
	/* Full, as drawn above. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_exchange_explicit(&kswapd->awake, true, memory_order_seq_cst))
		wake(kswapd);
}

/* Signals are for the program's own threads. */
static int start(struct s2_pool_kswapd *kswapd)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&kswapd->thread, NULL, run, kswapd);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -ret;
}

int s2_pool_start_kswapd(struct s2_pool *pool, const struct s2_pool_config *config)
{
	const struct s2_allocator *a = &pool->allocator;
	struct s2_pool_kswapd *kswapd;
	int ret = -ENOMEM;

	if (!config->low_watermark)
		return 0;
	kswapd = s2_zalloc(a, sizeof(*kswapd), 64);
	if (!kswapd)
		return -ENOMEM;
	kswapd->pool = pool;
	kswapd->low = config->low_watermark >> S2_PAGE_SHIFT;
	kswapd->high = config->high_watermark >> S2_PAGE_SHIFT;
	kswapd->copies = s2_zalloc(a, S2_POOL_BATCH * S2_PAGE_SIZE, 64);
	if (kswapd->copies)
		ret = start(kswapd);
	if (!ret) {
		pool->kswapd = kswapd;
		return 0;
	}
	s2_free(a, kswapd->copies);
	s2_free(a, kswapd);
	return ret;
}

void s2_pool_stop_kswapd(struct s2_pool *pool)
{
	struct s2_pool_kswapd *kswapd = pool->kswapd;

	if (!kswapd)
		return;
	atomic_store_explicit(&kswapd->stop, true, memory_order_seq_cst);
	wake(kswapd);
	pthread_join(kswapd->thread, NULL);
	pool->kswapd = NULL;
	s2_free(&pool->allocator, kswapd->copies);
	s2_free(&pool->allocator, kswapd);
}

uint64_t s2_pool_kswapd_reclaims(struct s2_pool *pool)
{
	return pool->kswapd ? atomic_load_explicit(&pool->kswapd->reclaims, memory_order_relaxed) : 0;
}
