/* SPDX-License-Identifier: MIT */
/* The tables of the scanner for equal pages, by themselves: what is found, and what forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pool/merge_table.h"
#include "pool/pool.h"

#define DIGEST UINT64_C(0x123456789abcdef0)
#define MANY 100u /* more than a chain may have */

static struct s2_pool *pool;
static struct s2_merge_table table;

static int begin(void **state)
{
	const struct s2_pool_config config = { .size = 1 << 16 };

	assert_int_equal(s2_pool_create(&config, &pool), 0);
	assert_int_equal(s2_merge_table_init(pool, &table), 0);
	return 0;
}

static int end(void **state)
{
	s2_merge_table_free(pool, &table);
	s2_pool_destroy(pool);
	return 0;
}

static uint32_t add(uint64_t digest)
{
	uint32_t nr;

	assert_int_equal(s2_pool_shared_new(pool, &nr), 0);
	s2_merge_table_add(pool, &table, nr, digest);
	s2_pool_page_unlock(&s2_pool_shared_at(&pool->shared, nr)->page, S2_POOL_ABSENT);
	return nr;
}

static void drop(uint32_t nr)
{
	s2_pool_shared_page_lock(&s2_pool_shared_at(&pool->shared, nr)->page);
	s2_merge_table_remove(pool, &table, nr);
	s2_pool_shared_free(pool, nr);
}

static void assert_found(uint64_t digest, unsigned n, const uint32_t nrs[])
{
	uint32_t found[S2_MERGE_FOUND];

	assert_int_equal(s2_merge_table_find(pool, &table, digest, found), n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(found[i], nrs[i]);
}

static void test_the_newest_is_found_first(void **state)
{
	uint32_t nrs[3] = { 0 };

	assert_found(DIGEST, 0, NULL);
	for (unsigned i = 3; i-- > 0;)
		nrs[i] = add(DIGEST);
	assert_found(DIGEST, 3, nrs);
	drop(nrs[1]);
	assert_found(DIGEST, 2, (uint32_t[]){ nrs[0], nrs[2] });
	drop(nrs[0]);
	assert_found(DIGEST, 1, &nrs[2]);
	drop(nrs[2]);
	assert_found(DIGEST, 0, NULL);
}

static void test_of_one_bucket_those_of_the_digest_are_found(void **state)
{
	uint32_t one = add(DIGEST), other = add(DIGEST + table.nr_buckets);

	assert_found(DIGEST, 1, &one);
	assert_found(DIGEST + table.nr_buckets, 1, &other);
	assert_found(DIGEST + 2 * table.nr_buckets, 0, NULL);
	drop(one);
	assert_found(DIGEST + table.nr_buckets, 1, &other);
	drop(other);
}

static void test_of_many_the_oldest_are_forgotten(void **state)
{
	uint32_t nrs[MANY];

	for (unsigned i = 0; i < MANY; i++)
		nrs[i] = add(DIGEST);
	for (unsigned i = MANY; i-- > MANY / 4;)
		drop(nrs[i]);
	assert_found(DIGEST, 0, NULL);
	for (unsigned i = 0; i < MANY / 4; i++)
		drop(nrs[i]);
}

static void test_the_last_candidate_of_a_digest_is_found(void **state)
{
	assert_int_equal(s2_merge_candidate_exchange(&table, DIGEST, 1), S2_POOL_NO_PAGE);
	assert_int_equal(s2_merge_candidate_exchange(&table, ~DIGEST, 2), S2_POOL_NO_PAGE);
	assert_int_equal(s2_merge_candidate_exchange(&table, DIGEST, 3), 1);
	assert_int_equal(s2_merge_candidate_exchange(&table, DIGEST, 4), 3);
	s2_merge_candidates_forget(&table);
	assert_int_equal(s2_merge_candidate_exchange(&table, DIGEST, 5), S2_POOL_NO_PAGE);
}

/* All for the same place, and more than the table has. */
static void test_of_many_candidates_some_are_forgotten(void **state)
{
	uint64_t n = 2 * table.nr_candidates, found = 0;

	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(s2_merge_candidate_exchange(&table, i << 32, (uint32_t)i),
				 S2_POOL_NO_PAGE);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t before = s2_merge_candidate_exchange(&table, i << 32, (uint32_t)i);

		assert_true(before == i || before == S2_POOL_NO_PAGE);
		found += before == i;
	}
	assert_true(found > 0 && found < n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_newest_is_found_first, begin, end),
		cmocka_unit_test_setup_teardown(test_of_one_bucket_those_of_the_digest_are_found,
						begin, end),
		cmocka_unit_test_setup_teardown(test_of_many_the_oldest_are_forgotten, begin, end),
		cmocka_unit_test_setup_teardown(test_the_last_candidate_of_a_digest_is_found, begin,
						end),
		cmocka_unit_test_setup_teardown(test_of_many_candidates_some_are_forgotten, begin,
						end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
