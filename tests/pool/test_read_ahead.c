/* SPDX-License-Identifier: MIT */
/* Read-ahead: whom it serves, whom it leaves alone, and what it does not take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "pool/pool_vm.h"

#define FRAMES 256u
#define PAGES 128u

static void swap_out_all(struct pool_vm *p)
{
	s2_pool_reclaim(p->pool, UINT64_MAX, 0);
	assert_int_equal(pool_stats(p).resident, 0);
}

static void begin(struct pool_vm *p, unsigned frames, unsigned read_ahead, uint64_t limit)
{
	const struct s2_pool_config config = {
		.size = frames * S2_PAGE_SIZE,
		.read_ahead = read_ahead,
	};
	const struct s2_memcg_config memcg = { .limit = limit * S2_PAGE_SIZE };

	pool_vm_begin_config(p, &config, PAGES, &memcg, 2);
	guest_fill_pages(p->vcpu, 0, PAGES, 1);
	swap_out_all(p);
}

/* How many came because somebody asked for them. */
static uint64_t asked_for(struct pool_vm *p)
{
	return pool_stats(p).swap_ins - pool_stats(p).read_ahead;
}

static void test_page_after_page_is_read_ahead(void **state)
{
	struct pool_vm p;

	begin(&p, FRAMES, 0, 0);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	assert_int_equal(pool_stats(&p).swap_ins, PAGES);
	assert_true(asked_for(&p) <= 2);
	assert_int_equal(pool_stats(&p).read_ahead_used, pool_stats(&p).read_ahead);
	assert_int_equal(memcg_stats(p.memcg).read_ahead, pool_stats(&p).read_ahead);
	pool_vm_end(&p);
}

static void test_from_the_middle_on(void **state)
{
	struct pool_vm p;

	begin(&p, FRAMES, 0, 0);
	for (uint64_t gfn = PAGES / 2; gfn < PAGES; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	assert_true(asked_for(&p) <= 2);
	assert_int_equal(pool_stats(&p).swap_ins, PAGES / 2);
	pool_vm_end(&p);
}

static void test_the_hosts_reads_are_read_ahead(void **state)
{
	struct pool_vm p;

	begin(&p, FRAMES, 0, 0);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_host_has(&p, gfn, 1);
	assert_true(asked_for(&p) <= 2);
	pool_vm_end(&p);
}

static void test_pages_here_and_there_are_not(void **state)
{
	struct pool_vm p;

	begin(&p, FRAMES, 0, 0);
	for (uint64_t i = 1; i < PAGES; i++)
		assert_guest_has(p.vcpu, i * 37 % PAGES, 1);
	assert_int_equal(pool_stats(&p).read_ahead, 0);
	pool_vm_end(&p);
}

static void test_it_can_be_turned_off(void **state)
{
	struct pool_vm p;

	begin(&p, FRAMES, 1, 0);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	assert_int_equal(pool_stats(&p).read_ahead, 0);
	pool_vm_end(&p);
}

static void test_no_more_at_once_than_the_config_says(void **state)
{
	for (unsigned most = 2; most <= S2_POOL_BATCH; most *= 2) {
		uint64_t before = 0;
		struct pool_vm p;

		begin(&p, FRAMES, most, 0);
		for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
			assert_guest_has(p.vcpu, gfn, 1);
			assert_true(pool_stats(&p).read_ahead - before <= most);
			before = pool_stats(&p).read_ahead;
		}
		assert_true(before > 0);
		pool_vm_end(&p);
	}
}

static void test_what_nobody_asks_for_is_not_counted_as_used(void **state)
{
	struct pool_vm p;

	begin(&p, FRAMES, 0, 0);
	assert_guest_has(p.vcpu, 0, 1);
	assert_true(pool_stats(&p).read_ahead > 0);
	assert_int_equal(pool_stats(&p).read_ahead_used, 0);
	swap_out_all(&p);
	assert_int_equal(pool_stats(&p).read_ahead_used, 0);
	assert_guest_has(p.vcpu, 1, 1);
	assert_int_equal(pool_stats(&p).read_ahead_used, 0);
	pool_vm_end(&p);
}

/* Where the tier has put a page, which says so itself. */
static uint64_t *stored_page(struct faulty_tier *tier, uint64_t gfn)
{
	for (unsigned slot = 0; slot < FAULTY_TIER_SLOTS; slot++) {
		uint64_t *words = (uint64_t *)(void *)tier->pages[slot];

		if (words[0] == (gfn << 40 | 1 << 16))
			return words;
	}
	return NULL;
}

static void test_an_error_is_for_who_asks(void **state)
{
	uint64_t *stored, value;
	struct pool_vm p;

	begin(&p, FRAMES, 0, 0);
	stored = stored_page(&p.tiers[0], 3);
	assert_non_null(stored);
	stored[7] ^= 1;
	for (uint64_t gfn = 0; gfn < 3; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	assert_guest_has(p.vcpu, 4, 1);
	assert_int_equal(guest_load(p.vcpu, 3, &value), -EBADMSG);
	stored[7] ^= 1;
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	pool_vm_end(&p);
}

/* It takes free frames, and leaves the last ones to those who need them. */
static void test_the_last_frames_are_left(void **state)
{
	struct pool_vm p;
	uint64_t other;

	begin(&p, FRAMES, 0, 0);
	assert_int_equal(s2_pool_map(p.pool, NULL, (FRAMES - 20) * S2_PAGE_SIZE, &other), 0);
	for (uint64_t i = 0; i < FRAMES - 20; i++)
		assert_int_equal(s2_pool_write(p.pool, other + i * S2_PAGE_SIZE, &i, sizeof(i)), 0);
	assert_guest_has(p.vcpu, 0, 1);
	for (uint64_t gfn = 1; pool_stats(&p).free_frames > 16; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	for (uint64_t gfn = PAGES - 20; gfn < PAGES - 10; gfn++) {
		uint64_t before = pool_stats(&p).read_ahead;

		assert_guest_has(p.vcpu, gfn, 1);
		assert_int_equal(pool_stats(&p).read_ahead, before);
	}
	assert_int_equal(pool_stats(&p).direct_reclaims, 0);
	assert_int_equal(s2_pool_unmap(p.pool, other), 0);
	pool_vm_end(&p);
}

static void test_a_limit_is_kept(void **state)
{
	struct pool_vm p;

	begin(&p, FRAMES, 0, 10);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		assert_guest_has(p.vcpu, gfn, 1);
		assert_true(memcg_stats(p.memcg).resident <= 10);
	}
	pool_vm_end(&p);
}

static void test_pages_in_another_tier_end_it(void **state)
{
	const struct s2_pool_config config = { .size = FRAMES * S2_PAGE_SIZE };
	struct pool_vm p;

	pool_vm_begin_config(&p, &config, PAGES, NULL, 2);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		atomic_store(&p.tiers[0].store_error, gfn / 3 % 2 ? -EIO : 0);
		guest_fill_pages(p.vcpu, gfn, gfn + 1, 1);
		assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	}
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	assert_int_equal(pool_stats(&p).swap_ins, PAGES);
	pool_vm_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_after_page_is_read_ahead),
		cmocka_unit_test(test_from_the_middle_on),
		cmocka_unit_test(test_the_hosts_reads_are_read_ahead),
		cmocka_unit_test(test_pages_here_and_there_are_not),
		cmocka_unit_test(test_it_can_be_turned_off),
		cmocka_unit_test(test_no_more_at_once_than_the_config_says),
		cmocka_unit_test(test_what_nobody_asks_for_is_not_counted_as_used),
		cmocka_unit_test(test_an_error_is_for_who_asks),
		cmocka_unit_test(test_the_last_frames_are_left),
		cmocka_unit_test(test_a_limit_is_kept),
		cmocka_unit_test(test_pages_in_another_tier_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
