/* SPDX-License-Identifier: MIT */
/* The pool's thread: what it frees ahead of need, and that it rests when there is nothing to be had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "pool/pool_vm.h"

#define FRAMES 64u
#define LOW 16u
#define HIGH 32u

static void begin(struct pool_vm *p, enum s2_gate gate, uint64_t pages, unsigned tiers)
{
	const struct s2_pool_config config = {
		.size = FRAMES * S2_PAGE_SIZE,
		.gate = gate,
		.low_watermark = LOW * S2_PAGE_SIZE,
		.high_watermark = HIGH * S2_PAGE_SIZE,
	};

	pool_vm_begin_config(p, &config, pages, NULL, tiers);
}

static void await_free(struct pool_vm *p, uint64_t frames)
{
	while (pool_stats(p).free_frames < frames)
		sched_yield();
}

/* One page more than leaves as many free as the low watermark: no fault finds none. */
static void frames_come_free(enum s2_gate gate)
{
	struct pool_vm p;

	begin(&p, gate, 256, 1);
	for (uint64_t gfn = 0; gfn < 256; gfn++) {
		guest_fill_pages(p.vcpu, gfn, gfn + 1, 1);
		await_free(&p, LOW);
	}
	assert_int_equal(pool_stats(&p).direct_reclaims, 0);
	assert_true(pool_stats(&p).background_reclaims > 0);
	for (uint64_t gfn = 0; gfn < 256; gfn++) {
		assert_guest_has(p.vcpu, gfn, 1);
		await_free(&p, LOW);
	}
	assert_int_equal(pool_stats(&p).direct_reclaims, 0);
	pool_vm_end(&p);
}

static void test_frames_come_free_range(void **state)
{
	frames_come_free(S2_GATE_RANGE);
}

static void test_frames_come_free_always(void **state)
{
	frames_come_free(S2_GATE_ALWAYS);
}

static void test_frames_come_free_rwsem(void **state)
{
	frames_come_free(S2_GATE_RWSEM);
}

static void test_frames_come_free_count(void **state)
{
	frames_come_free(S2_GATE_COUNT);
}

static void test_above_the_low_watermark_nothing_happens(void **state)
{
	struct pool_vm p;

	begin(&p, S2_GATE_RANGE, FRAMES, 1);
	guest_fill_pages(p.vcpu, 0, FRAMES - LOW, 1);
	for (unsigned i = 0; i < 1000; i++)
		sched_yield();
	assert_int_equal(pool_stats(&p).background_reclaims, 0);
	assert_int_equal(pool_stats(&p).free_frames, LOW);
	pool_vm_end(&p);
}

static void test_it_stops_at_the_high_watermark(void **state)
{
	struct pool_vm p;

	begin(&p, S2_GATE_RANGE, FRAMES, 1);
	guest_fill_pages(p.vcpu, 0, FRAMES - LOW + 1, 1);
	await_free(&p, HIGH);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(pool_stats(&p).free_frames, HIGH);
		sched_yield();
	}
	pool_vm_end(&p);
}

static void test_shared_frames_come_free(void **state)
{
	struct pool_vm p;
	uint64_t clone;

	begin(&p, S2_GATE_RANGE, FRAMES, 1);
	guest_fill_pages(p.vcpu, 0, FRAMES - LOW, 1);
	assert_int_equal(s2_pool_clone(p.pool, NULL, p.hva, &clone), 0);
	guest_fill_pages(p.vcpu, FRAMES - LOW, FRAMES - LOW + 1, 1);
	await_free(&p, HIGH);
	assert_int_equal(pool_stats(&p).free_frames, HIGH);
	for (uint64_t gfn = 0; gfn < FRAMES - LOW + 1; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	pool_vm_end(&p);
}

/* Each frame that is taken makes it try again, a few times; it does not go on by itself. */
static void it_rests(unsigned tiers)
{
	const uint64_t tries = 8 * FRAMES * FRAMES;
	struct pool_vm p;

	begin(&p, S2_GATE_RANGE, FRAMES, tiers);
	for (unsigned i = 0; i < tiers; i++)
		atomic_store(&p.tiers[i].store_error, -EIO);
	guest_fill_pages(p.vcpu, 0, FRAMES, 1);
	for (unsigned i = 0; i < 20000; i++) {
		assert_true(pool_stats(&p).tier_errors < tries);
		sched_yield();
	}
	assert_int_equal(pool_stats(&p).background_reclaims, 0);
	/* When there is room it begins again, with the next one. */
	for (unsigned i = 0; i < tiers; i++)
		atomic_store(&p.tiers[i].store_error, 0);
	if (tiers) {
		assert_int_equal(s2_pool_discard(p.pool, p.hva, S2_PAGE_SIZE), 0);
		guest_fill_pages(p.vcpu, 0, 1, 1);
		await_free(&p, HIGH);
	}
	for (uint64_t gfn = 0; gfn < FRAMES; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	pool_vm_end(&p);
}

static void test_it_rests_when_all_tiers_refuse(void **state)
{
	it_rests(2);
}

/* However often it is woken. */
static void test_it_asks_a_full_tier_once(void **state)
{
	struct pool_vm p;

	begin(&p, S2_GATE_RANGE, FRAMES, 1);
	p.tiers[0].capacity = 0;
	guest_fill_pages(p.vcpu, 0, FRAMES - LOW + 1, 1);
	while (!atomic_load(&p.tiers[0].stores))
		sched_yield();
	guest_fill_pages(p.vcpu, FRAMES - LOW + 1, FRAMES, 1);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(s2_pool_discard(p.pool, p.hva, S2_PAGE_SIZE), 0);
		guest_fill_pages(p.vcpu, 0, 1, 1);
	}
	assert_int_equal(atomic_load(&p.tiers[0].stores), 1);
	pool_vm_end(&p);
}

static void test_it_rests_without_tier(void **state)
{
	it_rests(0);
}

struct busy {
	_Atomic bool storing;
};

static void tell(void *arg)
{
	struct busy *busy = arg;

	atomic_store(&busy->storing, true);
}

static void test_it_ends_while_it_is_at_work(void **state)
{
	for (unsigned i = 0; i < 20; i++) {
		struct busy busy = { false };
		struct pool_vm p;

		begin(&p, S2_GATE_RANGE, FRAMES, 1);
		p.tiers[0].meanwhile = tell;
		p.tiers[0].arg = &busy;
		guest_fill_pages(p.vcpu, 0, FRAMES - LOW + 1, 1);
		while (!atomic_load(&busy.storing))
			sched_yield();
		pool_vm_end(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames_come_free_range),
		cmocka_unit_test(test_frames_come_free_always),
		cmocka_unit_test(test_frames_come_free_rwsem),
		cmocka_unit_test(test_frames_come_free_count),
		cmocka_unit_test(test_above_the_low_watermark_nothing_happens),
		cmocka_unit_test(test_it_stops_at_the_high_watermark),
		cmocka_unit_test(test_shared_frames_come_free),
		cmocka_unit_test(test_it_rests_when_all_tiers_refuse),
		cmocka_unit_test(test_it_asks_a_full_tier_once),
		cmocka_unit_test(test_it_rests_without_tier),
		cmocka_unit_test(test_it_ends_while_it_is_at_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
