/* SPDX-License-Identifier: MIT */
/*
 * Batches to a tier that has no operations for them, or has some that do not keep to the
 * rules: each page has its own answer, and none is believed that cannot be right.
 */
#include "pool/tier.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* Keeps nothing but the slots it has given out, and refuses what begins with an R. */
struct stub {
	struct s2_pool_tier tier;
	uint64_t first;
	unsigned room; /* 0: no end of it */
	unsigned stored, refused, dropped, batches;
	uint64_t last_dropped;
};

static int stub_store(struct s2_pool_tier *tier, const void *page, uint64_t *slot)
{
	struct stub *stub = (struct stub *)tier;

	if (*(const char *)page == 'R')
		return -E2BIG;
	if (stub->room && stub->stored == stub->room) {
		stub->refused++;
		return -ENOSPC;
	}
	*slot = stub->first + stub->stored++;
	return 0;
}

static int stub_load(struct s2_pool_tier *tier, uint64_t slot, void *page)
{
	struct stub *stub = (struct stub *)tier;

	if (slot < stub->first || slot >= stub->first + stub->stored)
		return -EINVAL;
	memset(page, (int)slot, S2_PAGE_SIZE);
	return 0;
}

static void stub_drop(struct s2_pool_tier *tier, uint64_t slot)
{
	struct stub *stub = (struct stub *)tier;

	stub->dropped++;
	stub->last_dropped = slot;
}

static const struct s2_pool_tier_ops one_by_one = {
	.store = stub_store,
	.load = stub_load,
	.drop = stub_drop,
};

/* All but the last page; about that it says nothing. */
static void stub_store_many(struct s2_pool_tier *tier, unsigned n, const void *const pages[],
			    uint64_t slots[], int results[])
{
	((struct stub *)tier)->batches++;
	for (unsigned i = 0; i + 1 < n; i++)
		results[i] = stub_store(tier, pages[i], &slots[i]);
}

static void stub_load_many(struct s2_pool_tier *tier, unsigned n, const uint64_t slots[],
			   void *const pages[], int results[])
{
	((struct stub *)tier)->batches++;
	for (unsigned i = 0; i + 1 < n; i++)
		results[i] = stub_load(tier, slots[i], pages[i]);
}

static const struct s2_pool_tier_ops forgetful = {
	.store = stub_store,
	.load = stub_load,
	.drop = stub_drop,
	.store_many = stub_store_many,
	.load_many = stub_load_many,
};

static char page[S2_PAGE_SIZE], refused[S2_PAGE_SIZE] = "R", loaded[4][S2_PAGE_SIZE];
static const void *const pages[4] = { page, refused, page, page };
static void *const to[4] = { loaded[0], loaded[1], loaded[2], loaded[3] };

static void test_one_by_one_where_there_is_no_other_way(void **state)
{
	struct stub stub = { .tier = { &one_by_one }, .first = 7 };
	uint64_t slots[4];
	int results[4];

	s2_pool_tier_store_many(&stub.tier, 4, pages, slots, results);
	assert_int_equal(stub.stored, 3);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], -E2BIG);
	assert_int_equal(slots[0], 7);
	assert_int_equal(slots[2], 8);
	assert_int_equal(slots[3], 9);

	slots[1] = 70;
	s2_pool_tier_load_many(&stub.tier, 4, slots, to, results);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], -EINVAL);
	assert_int_equal(results[3], 0);
	assert_int_equal(loaded[3][S2_PAGE_SIZE - 1], 9);
}

static void test_who_is_full_is_not_asked_for_the_rest(void **state)
{
	struct stub stub = { .tier = { &one_by_one }, .room = 1 };
	const void *const same[4] = { page, page, page, page };
	uint64_t slots[4];
	int results[4];

	s2_pool_tier_store_many(&stub.tier, 4, same, slots, results);
	assert_int_equal(results[0], 0);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(results[i], -ENOSPC);
	assert_int_equal(stub.refused, 1);
}

static void test_a_tiers_own_way_is_taken(void **state)
{
	struct stub stub = { .tier = { &forgetful } };
	uint64_t slots[4];
	int results[4];

	s2_pool_tier_store_many(&stub.tier, 4, pages, slots, results);
	s2_pool_tier_load_many(&stub.tier, 4, slots, to, results);
	assert_int_equal(stub.batches, 2);
}

static void test_what_a_tier_says_nothing_about_has_failed(void **state)
{
	struct stub stub = { .tier = { &forgetful } };
	uint64_t slots[4];
	int results[4] = { 0 };

	s2_pool_tier_store_many(&stub.tier, 4, pages, slots, results);
	assert_int_equal(results[2], 0);
	assert_int_equal(results[3], -EIO);
	memset(results, 0, sizeof(results));
	s2_pool_tier_load_many(&stub.tier, 4, slots, to, results);
	assert_int_equal(results[2], 0);
	assert_int_equal(results[3], -EIO);
}

static void test_a_slot_that_is_too_large_is_given_back(void **state)
{
	struct stub stub = { .tier = { &one_by_one },
			     .first = (UINT64_C(1) << S2_POOL_SLOT_BITS) - 1 };
	uint64_t slots[4];
	int results[4];

	s2_pool_tier_store_many(&stub.tier, 3, pages, slots, results);
	assert_int_equal(results[0], 0);
	assert_int_equal(results[1], -E2BIG);
	assert_int_equal(results[2], -EIO);
	assert_int_equal(stub.dropped, 1);
	assert_int_equal(stub.last_dropped, UINT64_C(1) << S2_POOL_SLOT_BITS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_by_one_where_there_is_no_other_way),
		cmocka_unit_test(test_who_is_full_is_not_asked_for_the_rest),
		cmocka_unit_test(test_a_tiers_own_way_is_taken),
		cmocka_unit_test(test_what_a_tier_says_nothing_about_has_failed),
		cmocka_unit_test(test_a_slot_that_is_too_large_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
