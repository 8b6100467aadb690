/* SPDX-License-Identifier: MIT */
/*
 * Merging under guests that write: two VMs whose pages have one of a few contents each, so
 * that many are equal at any time, a scanner, a reclaimer, advice that comes and goes, and
 * clones that do. Each page belongs to one thread, which knows what must be in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool/pool.h"
#include "pool/pool_vm.h"
#include "sanitized.h"

#define FRAMES 64u
#define PAGES 128u
#define VMS 2u
#define VCPUS 4u /* two of each VM */
#define OTHERS 5u
#define FEW 4u
#define COLOURS (FEW + PAGES)
#define STEPS (WITH_THREAD_SANITIZER || WITH_ADDRESS_SANITIZER ? 1500u : 6000u)
#define WORDS (S2_PAGE_SIZE / sizeof(uint64_t))

struct guest {
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	uint64_t hva;
};

struct stress {
	struct pool_vm p;
	struct guest guests[VMS];
	_Atomic bool stop;
	_Atomic unsigned wrong;
	_Atomic unsigned long errors; /* that accesses may have */
};

struct worker {
	struct stress *stress;
	struct guest *guest;
	struct s2_vcpu *vcpu;
	unsigned nr;
	uint64_t random;
	uint64_t colour[PAGES]; /* of the pages that are its own */
	pthread_t thread;
};

static bool may_happen(struct stress *stress, int ret)
{
	if (ret == -EIO || ret == -EBADMSG || ret == -ENOMEM)
		atomic_fetch_add(&stress->errors, 1);
	else if (ret)
		atomic_fetch_add(&stress->wrong, 1);
	return !ret;
}

static uint64_t word_of(uint64_t colour, uint64_t i)
{
	return colour ? colour << 32 | i : 0;
}

static void paint(uint64_t *page, uint64_t colour)
{
	for (uint64_t i = 0; i < WORDS; i++)
		page[i] = word_of(colour, i);
}

static void assert_painted(struct stress *stress, const uint64_t *page, uint64_t colour)
{
	for (uint64_t i = 0; i < WORDS; i++) {
		if (page[i] == word_of(colour, i))
			continue;
		atomic_fetch_add(&stress->wrong, 1);
		return;
	}
}

static void check_page(struct worker *w, uint64_t gfn, bool host)
{
	uint64_t page[WORDS], at = gfn << S2_PAGE_SHIFT;
	int ret = host ? s2_pool_read(w->stress->p.pool, w->guest->hva + at, page, sizeof(page)) :
			 s2_vcpu_read(w->vcpu, at, page, sizeof(page));

	if (may_happen(w->stress, ret))
		assert_painted(w->stress, page, w->colour[gfn]);
}

static void paint_page(struct worker *w, uint64_t gfn, uint64_t colour, bool host)
{
	uint64_t page[WORDS], at = gfn << S2_PAGE_SHIFT;
	int ret;

	paint(page, colour);
	ret = host ? s2_pool_write(w->stress->p.pool, w->guest->hva + at, page, sizeof(page)) :
		     s2_vcpu_write(w->vcpu, at, page, sizeof(page));
	if (may_happen(w->stress, ret))
		w->colour[gfn] = colour;
}

/* One of a few, or one that its twin may have and nobody else. */
static uint64_t choose_colour(uint64_t random, uint64_t gfn)
{
	return random & 1 ? (random >> 1) % FEW : FEW + gfn;
}

/* One word is something else for a moment, as a page of zeroes that is a lock. */
static void touch_page(struct worker *w, uint64_t gfn, uint64_t i)
{
	uint64_t at = (gfn << S2_PAGE_SHIFT) + i * 8, value = UINT64_MAX;

	if (!may_happen(w->stress, s2_vcpu_write(w->vcpu, at, &value, sizeof(value))))
		return;
	value = word_of(w->colour[gfn], i);
	while (!may_happen(w->stress, s2_vcpu_write(w->vcpu, at, &value, sizeof(value))))
		;
}

static void step(struct worker *w)
{
	uint64_t random = test_random(&w->random), per_vm = VCPUS / VMS;
	uint64_t gfn = random % (PAGES / per_vm) * per_vm + w->nr % per_vm;
	struct stress *s = w->stress;

	switch (random >> 32 & 15) {
	case 0:
		if (may_happen(s, s2_pool_discard(s->p.pool, w->guest->hva + (gfn << S2_PAGE_SHIFT),
						  S2_PAGE_SIZE)))
			w->colour[gfn] = 0;
		break;
	case 1:
		paint_page(w, gfn, choose_colour(random >> 40, gfn), true);
		break;
	case 2:
		check_page(w, gfn, true);
		break;
	case 3 ... 4:
		paint_page(w, gfn, choose_colour(random >> 40, gfn), false);
		break;
	case 5 ... 7:
		touch_page(w, gfn, (random >> 40) % WORDS);
		break;
	default:
		check_page(w, gfn, false);
		break;
	}
}

/* Has everything happened that the test is about? */
static bool enough(struct stress *stress)
{
	struct s2_pool_stats stats;

	s2_pool_get_stats(stress->p.pool, &stats);
	return stats.merged && stats.zero && stats.cow_breaks && stats.swap_ins &&
	       (!stress->p.tiers[0].one_in || atomic_load(&stress->errors));
}

static void *run_vcpu(void *arg)
{
	struct worker *w = arg;

	/* With rseq an invalidation interrupts every core. */
	for (unsigned i = test_vcpu_config() ? 9 * STEPS / 10 : 0;
	     i < STEPS || !enough(w->stress); i++)
		step(w);
	return NULL;
}

static void *run_scanner(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		int64_t ret = s2_pool_merge(w->stress->p.pool, test_random(&w->random) % (2 * PAGES));

		if (ret < 0)
			may_happen(w->stress, (int)ret);
		sched_yield();
	}
	return NULL;
}

static void *run_reclaimer(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		uint64_t random = test_random(&w->random);

		if (s2_pool_reclaim(w->stress->p.pool, random % 8 * S2_PAGE_SIZE,
				    random >> 32 & 3) < 0 ||
		    ((random >> 40 & 7) == 0 && s2_pool_age(w->stress->p.pool)))
			atomic_fetch_add(&w->stress->wrong, 1);
		sched_yield();
	}
	return NULL;
}

static void *run_adviser(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		uint64_t random = test_random(&w->random), first = random % PAGES;
		uint64_t n = (random >> 16) % (PAGES - first) + 1;
		uint64_t hva = w->stress->guests[random >> 32 & 1].hva + (first << S2_PAGE_SHIFT);

		may_happen(w->stress,
			   s2_pool_advise(w->stress->p.pool, hva,
					  (random >> 40 & 3) ? n * S2_PAGE_SIZE : S2_PAGE_SIZE,
					  (random >> 40 & 3) ? S2_POOL_MERGE : S2_POOL_DO_NOT_MERGE));
		sched_yield();
	}
	return NULL;
}

/* Of a guest that writes meanwhile each word is as it was at some moment. */
static void check_clone(struct worker *w, uint64_t hva, uint64_t colour)
{
	uint64_t page[WORDS];

	if (!may_happen(w->stress, s2_pool_read(w->stress->p.pool, hva, page, sizeof(page))))
		return;
	if (colour) {
		assert_painted(w->stress, page, colour);
		return;
	}
	for (uint64_t i = 0; i < WORDS; i++)
		if (page[i] && page[i] != UINT64_MAX &&
		    (page[i] >> 32 >= COLOURS || (uint32_t)page[i] != i))
			atomic_fetch_add(&w->stress->wrong, 1);
}

static void use_clone(struct worker *w, uint64_t clone)
{
	uint64_t colours[PAGES] = { 0 }, page[WORDS];

	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t random = test_random(&w->random), gfn = random % PAGES;
		uint64_t hva = clone + (gfn << S2_PAGE_SHIFT);
		uint64_t colour = (random >> 32) % (FEW - 1) + 1;

		check_clone(w, hva, colours[gfn]);
		paint(page, colour);
		if ((random >> 40 & 1) &&
		    may_happen(w->stress, s2_pool_write(w->stress->p.pool, hva, page, sizeof(page))))
			colours[gfn] = colour;
	}
}

static void *run_cloner(void *arg)
{
	struct worker *w = arg;
	struct s2_pool *pool = w->stress->p.pool;

	while (!atomic_load(&w->stress->stop)) {
		struct guest *guest = &w->stress->guests[test_random(&w->random) % VMS];
		uint64_t clone;

		if (!may_happen(w->stress, s2_pool_clone(pool, guest->memcg, guest->hva, &clone)))
			continue;
		use_clone(w, clone);
		if (s2_pool_unmap(pool, clone))
			atomic_fetch_add(&w->stress->wrong, 1);
	}
	return NULL;
}

static void begin_guests(struct stress *s)
{
	struct guest *g = s->guests;

	g[0] = (struct guest){ .memcg = s->p.memcg, .vm = s->p.vm, .hva = s->p.hva };
	assert_int_equal(s2_memcg_create(s->p.pool, NULL, &g[1].memcg), 0);
	assert_int_equal(s2_pool_map(s->p.pool, g[1].memcg, PAGES * S2_PAGE_SIZE, &g[1].hva), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(s->p.pool), NULL, &g[1].vm), 0);
	assert_int_equal(map_region(g[1].vm, 0, 0, PAGES, g[1].hva), 0);
	for (unsigned i = 0; i < VMS; i++)
		assert_int_equal(s2_pool_advise(s->p.pool, g[i].hva, PAGES * S2_PAGE_SIZE,
						S2_POOL_MERGE),
				 0);
}

static void end_guests(struct stress *s)
{
	s2_vm_put(s->guests[1].vm);
	assert_int_equal(s2_pool_unmap(s->p.pool, s->guests[1].hva), 0);
	assert_int_equal(s2_memcg_destroy(s->guests[1].memcg), 0);
}

static void begin_worker(struct worker *w, struct stress *stress, unsigned nr, uint64_t seed,
			 void *(*run)(void *))
{
	w->stress = stress;
	w->nr = nr;
	w->guest = &stress->guests[nr * VMS / VCPUS % VMS];
	w->random = seed + nr;
	if (nr < VCPUS)
		assert_int_equal(s2_vcpu_create(w->guest->vm, test_vcpu_config(), &w->vcpu), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
}

static void assert_at_rest(struct stress *s)
{
	struct s2_pool_stats stats = pool_stats(&s->p), other = memcg_stats(s->guests[1].memcg);
	struct s2_pool_stats one = memcg_stats(s->guests[0].memcg);

	assert_int_equal(stats.resident + stats.shared_frames + stats.free_frames, stats.frames);
	assert_int_equal(stats.resident, one.resident + other.resident);
	assert_int_equal(stats.shared, one.shared + other.shared);
	assert_int_equal(stats.merged, one.merged + other.merged);
	assert_int_equal(stats.cow_breaks, one.cow_breaks + other.cow_breaks);
	assert_int_equal(stats.swapped, stats.tier_pages[0]);
	assert_int_equal(stats.swapped, faulty_tier_used(&s->p.tiers[0]));
}

static void assert_pages(struct stress *s, struct worker *workers)
{
	for (unsigned i = 0; i < VCPUS; i++)
		for (uint64_t gfn = i % (VCPUS / VMS); gfn < PAGES; gfn += VCPUS / VMS)
			check_page(&workers[i], gfn, false);
	assert_int_equal(s->wrong, 0);
}

/* @kept_free: frames, by the pool's thread; 0: who needs one sees to it. */
static void stress(enum s2_gate gate, unsigned one_in, unsigned kept_free)
{
	const struct s2_pool_config config = {
		.size = FRAMES * S2_PAGE_SIZE,
		.gate = gate,
		.low_watermark = kept_free / 2 * S2_PAGE_SIZE,
		.high_watermark = kept_free * S2_PAGE_SIZE,
	};
	void *(*const runs[OTHERS])(void *) = { run_scanner, run_scanner, run_reclaimer, run_adviser,
						run_cloner };
	uint64_t seed = test_seed();
	struct stress *s = calloc(1, sizeof(*s));
	struct worker *workers = calloc(VCPUS + OTHERS, sizeof(*workers));

	assert_non_null(s);
	assert_non_null(workers);
	pool_vm_begin_config(&s->p, &config, PAGES, NULL, 1);
	begin_guests(s);
	atomic_store(&s->p.tiers[0].random, seed);
	atomic_store(&s->p.tiers[0].one_in, one_in);
	for (unsigned i = 0; i < VCPUS + OTHERS; i++)
		begin_worker(&workers[i], s, i, seed, i < VCPUS ? run_vcpu : runs[i - VCPUS]);
	for (unsigned i = 0; i < VCPUS + OTHERS; i++) {
		if (i == VCPUS)
			atomic_store(&s->stop, true);
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
	}
	/* It would go on reclaiming, and what is counted would not hold still. */
	s2_pool_stop_kswapd(s->p.pool);
	assert_int_equal(s->wrong, 0);
	assert_int_equal(s->errors > 0, one_in > 0);
	assert_at_rest(s);
	atomic_store(&s->p.tiers[0].one_in, 0);
	assert_pages(s, workers);
	assert_true(s2_pool_merge(s->p.pool, UINT64_MAX) >= 0);
	assert_true(s2_pool_merge(s->p.pool, UINT64_MAX) >= 0);
	assert_pages(s, workers);
	assert_at_rest(s);
	for (unsigned i = 0; i < VCPUS; i++)
		assert_int_equal(s2_vcpu_destroy(workers[i].vcpu), 0);
	end_guests(s);
	pool_vm_end(&s->p);
	free(workers);
	free(s);
}

static void test_stress(void **state)
{
	stress(S2_GATE_RANGE, 0, 0);
}

static void test_stress_with_a_faulty_tier(void **state)
{
	stress(S2_GATE_RANGE, 30, 0);
}

static void test_stress_with_kswapd(void **state)
{
	stress(S2_GATE_RANGE, 0, FRAMES / 4);
	stress(S2_GATE_RANGE, 30, FRAMES / 4);
}

static void test_stress_rwsem(void **state)
{
	stress(S2_GATE_RWSEM, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stress),
		cmocka_unit_test(test_stress_with_a_faulty_tier),
		cmocka_unit_test(test_stress_with_kswapd),
		cmocka_unit_test(test_stress_rwsem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
