/* SPDX-License-Identifier: MIT */
/*
 * Everything at once: vCPUs and the host using a region four times the pool's size, an
 * ager, a reclaimer, discards, other regions that come and go, and a tier that fails
 * or damages one call in thirty. Each page belongs to one thread, which knows what
 * must be in it; an access may fail, but never shows anything else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "pool/pool_vm.h"
#include "sanitized.h"

#define FRAMES 64u
#define PAGES (4 * FRAMES)
#define VCPUS 4u
#define OTHERS 4u
#define STEPS (WITH_THREAD_SANITIZER || WITH_ADDRESS_SANITIZER ? 1500u : 2500u)

struct stress {
	struct pool_vm p;
	_Atomic bool stop;
	_Atomic unsigned wrong;
	_Atomic uint64_t mapped; /* a region that may be unmapped at any time */
	bool fails;                   /* the tier does, now and then */
	_Atomic unsigned long errors; /* that accesses may have */
};

struct worker {
	struct stress *stress;
	struct s2_vcpu *vcpu;
	unsigned nr;
	uint64_t random;
	uint64_t generation[PAGES]; /* of the pages that are its own */
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

static void check_page(struct worker *w, uint64_t gfn, bool host)
{
	uint64_t page[S2_PAGE_SIZE / sizeof(uint64_t)];
	int ret = host ? s2_pool_read(w->stress->p.pool, hva_of(&w->stress->p, gfn), page,
				      sizeof(page)) :
			 s2_vcpu_read(w->vcpu, gfn << S2_PAGE_SHIFT, page, sizeof(page));

	if (may_happen(w->stress, ret) && !page_is(page, gfn, w->generation[gfn]))
		atomic_fetch_add(&w->stress->wrong, 1);
}

static void step(struct worker *w)
{
	uint64_t random = test_random(&w->random);
	uint64_t gfn = random % (PAGES / VCPUS) * VCPUS + w->nr;
	struct pool_vm *p = &w->stress->p;
	uint64_t next = w->generation[gfn] % 1000 + 1;

	switch (random >> 32 & 15) {
	case 0:
		if (may_happen(w->stress, s2_pool_discard(p->pool, hva_of(p, gfn), S2_PAGE_SIZE)))
			w->generation[gfn] = 0;
		break;
	case 1:
		if (may_happen(w->stress, host_fill(p, gfn, next)))
			w->generation[gfn] = next;
		break;
	case 2:
		check_page(w, gfn, true);
		break;
	case 3 ... 8:
		if (may_happen(w->stress, guest_fill(w->vcpu, gfn, next)))
			w->generation[gfn] = next;
		break;
	default:
		check_page(w, gfn, false);
		break;
	}
}

static void *run_vcpu(void *arg)
{
	struct worker *w = arg;

	/*
	 * With rseq an invalidation interrupts every core. And where vCPUs come one after the other,
	 * on a busy machine, each has all the frames it needs, and nothing fails at first.
	 */
	for (unsigned i = test_vcpu_config() ? 9 * STEPS / 10 : 0;
	     i < STEPS || (w->stress->fails && !atomic_load(&w->stress->errors)); i++)
		step(w);
	return NULL;
}

static void *run_ager(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		if (s2_pool_age(w->stress->p.pool))
			atomic_fetch_add(&w->stress->wrong, 1);
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
				    random >> 32 & 3) < 0)
			atomic_fetch_add(&w->stress->wrong, 1);
		sched_yield();
	}
	return NULL;
}

/* A region of its own, of which no more than three pages may be resident. */
static void *run_mapper(void *arg)
{
	struct worker *w = arg;
	const struct s2_memcg_config config = { .limit = 3 * S2_PAGE_SIZE };
	struct s2_pool *pool = w->stress->p.pool;
	struct s2_memcg *memcg;

	if (s2_memcg_create(pool, &config, &memcg)) {
		atomic_fetch_add(&w->stress->wrong, 1);
		return NULL;
	}
	while (!atomic_load(&w->stress->stop)) {
		uint64_t hva, value;
		unsigned wrote = 0;

		if (!may_happen(w->stress, s2_pool_map(pool, memcg, 8 * S2_PAGE_SIZE, &hva)))
			continue;
		atomic_store(&w->stress->mapped, hva);
		for (unsigned i = 0; i < 8; i++)
			wrote |= may_happen(w->stress, s2_pool_write(pool, hva + i * S2_PAGE_SIZE,
								     &hva, sizeof(hva))) << i;
		for (unsigned i = 0; i < 8; i++)
			if (may_happen(w->stress, s2_pool_read(pool, hva + i * S2_PAGE_SIZE, &value,
							       sizeof(value))) &&
			    value != (wrote >> i & 1 ? hva : 0))
				atomic_fetch_add(&w->stress->wrong, 1);
		if (s2_pool_unmap(pool, hva))
			atomic_fetch_add(&w->stress->wrong, 1);
	}
	if (s2_memcg_destroy(memcg))
		atomic_fetch_add(&w->stress->wrong, 1);
	return NULL;
}

/* Uses the mapper's region; what was there goes while it is at work. */
static void *run_intruder(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stress->stop)) {
		uint64_t hva = atomic_load(&w->stress->mapped), value = 0;
		uint64_t page = test_random(&w->random) % 8;
		int ret = s2_pool_read(w->stress->p.pool, hva + page * S2_PAGE_SIZE, &value,
				       sizeof(value));

		if (ret != -EINVAL && ret != -EFAULT)
			may_happen(w->stress, ret);
		if (value && value != hva)
			atomic_fetch_add(&w->stress->wrong, 1);
	}
	return NULL;
}

static void begin_worker(struct worker *w, struct stress *stress, unsigned nr, uint64_t seed,
			 void *(*run)(void *))
{
	w->stress = stress;
	w->nr = nr;
	w->random = seed + nr;
	if (nr < VCPUS)
		assert_int_equal(s2_vcpu_create(stress->p.vm, test_vcpu_config(), &w->vcpu), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
}

static void assert_at_rest(struct stress *stress)
{
	struct s2_pool_stats stats = pool_stats(&stress->p);
	uint64_t by_age = 0;

	for (unsigned i = 0; i < S2_POOL_AGES; i++)
		by_age += stats.by_age[i];
	assert_int_equal(stats.resident + stats.free_frames, stats.frames);
	assert_int_equal(stats.resident, by_age);
	assert_int_equal(stats.swapped, faulty_tier_used(&stress->p.tiers[0]));
	assert_int_equal(stats.swapped, stats.tier_pages[0]);
}

/* @one_in: of the tier's calls fails; if none does, no access may. */
static void stress(enum s2_gate gate, uint64_t limit, unsigned one_in)
{
	void *(*const runs[])(void *) = { run_ager, run_reclaimer, run_mapper, run_intruder };
	uint64_t seed = test_seed();
	struct stress *s = calloc(1, sizeof(*s));
	struct worker *workers = calloc(VCPUS + OTHERS, sizeof(*workers));

	assert_non_null(s);
	assert_non_null(workers);
	pool_vm_begin(&s->p, gate, FRAMES, PAGES, limit, 1);
	atomic_store(&s->p.tiers[0].random, seed);
	atomic_store(&s->p.tiers[0].one_in, one_in);
	s->fails = one_in;
	for (unsigned i = 0; i < VCPUS + OTHERS; i++)
		begin_worker(&workers[i], s, i, seed, i < VCPUS ? run_vcpu : runs[i - VCPUS]);
	for (unsigned i = 0; i < VCPUS + OTHERS; i++) {
		if (i == VCPUS)
			atomic_store(&s->stop, true);
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
	}
	assert_int_equal(s->wrong, 0);
	assert_int_equal(s->errors > 0, one_in > 0);
	assert_at_rest(s);
	atomic_store(&s->p.tiers[0].one_in, 0);
	for (unsigned i = 0; i < VCPUS; i++) {
		for (uint64_t gfn = i; gfn < PAGES; gfn += VCPUS)
			assert_guest_has(workers[i].vcpu, gfn, workers[i].generation[gfn]);
		assert_int_equal(s2_vcpu_destroy(workers[i].vcpu), 0);
	}
	assert_at_rest(s);
	pool_vm_end(&s->p);
	free(workers);
	free(s);
}

static void test_stress(void **state)
{
	stress(S2_GATE_RANGE, 0, 30);
}

static void test_stress_with_limit(void **state)
{
	stress(S2_GATE_RANGE, FRAMES / 2, 30);
}

static void test_stress_rwsem(void **state)
{
	stress(S2_GATE_RWSEM, 0, 30);
}

static void test_stress_without_faults(void **state)
{
	stress(S2_GATE_RANGE, 0, 0);
	stress(S2_GATE_RANGE, VCPUS, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stress),
		cmocka_unit_test(test_stress_with_limit),
		cmocka_unit_test(test_stress_rwsem),
		cmocka_unit_test(test_stress_without_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
