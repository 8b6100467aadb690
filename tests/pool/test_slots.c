/* SPDX-License-Identifier: MIT */
/* Slots, one and in runs, beside an array of flags that knows which are taken. */
#include "pool/slots.h"
#include "small_vm.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define COUNT 1000

static struct s2_slots slots;
static bool taken[COUNT];

static void expect_taken(uint64_t first, unsigned n)
{
	assert_true(n <= COUNT && first <= COUNT - n);
	for (unsigned i = 0; i < n; i++) {
		assert_false(taken[first + i]);
		taken[first + i] = true;
	}
}

static unsigned nr_taken(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < COUNT; i++)
		n += taken[i];
	return n;
}

static void take_one(void)
{
	uint64_t slot;
	int ret = s2_slots_take(&slots, &slot);

	assert_int_equal(ret, nr_taken() == COUNT ? -ENOSPC : 0);
	if (!ret)
		expect_taken(slot, 1);
}

static bool take_run(unsigned n)
{
	uint64_t first;

	if (!s2_slots_take_run(&slots, n, &first))
		return false;
	expect_taken(first, n);
	return true;
}

static void give_back(uint64_t *seed)
{
	static const int errors[] = { 0, 0, 0, -ENOSPC, -EIO };
	uint64_t first = test_random(seed) % COUNT;
	unsigned n = (unsigned)(test_random(seed) % 100);

	/* As of a batch that could not be written: the last first. */
	for (uint64_t slot = first + n < COUNT ? first + n : COUNT; slot-- > first;) {
		s2_slots_give_back(&slots, slot, errors[test_random(seed) % 5]);
		taken[slot] = false;
	}
}

static void test_as_an_array_of_flags(void **state)
{
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 20000; i++) {
		unsigned what = (unsigned)(test_random(&seed) % 8);

		if (what < 2)
			take_run(1 + (unsigned)(test_random(&seed) % S2_SLOTS_RUN));
		else if (what < 7)
			take_one();
		else
			give_back(&seed);
		if (i % 100 == 0)
			for (uint64_t slot = 0; slot < COUNT; slot++)
				assert_int_equal(s2_slots_taken(&slots, slot), taken[slot]);
	}
}

static void test_runs_of_every_length_until_there_are_none(void **state)
{
	for (unsigned n = 1; n <= S2_SLOTS_RUN; n++) {
		unsigned runs = 0;

		while (take_run(n))
			runs++;
		assert_int_equal(runs, COUNT / n);
		for (unsigned i = COUNT; i-- > 0;)
			s2_slots_give_back(&slots, i, -ENOSPC);
		memset(taken, 0, sizeof(taken));
	}
}

static void test_a_run_that_is_left_is_found(void **state)
{
	uint64_t slot;

	while (!s2_slots_take(&slots, &slot))
		expect_taken(slot, 1);
	for (unsigned first = 0; first < COUNT - 64; first += 37) {
		unsigned n = 64 - first % 64;

		for (unsigned i = 0; i < n; i++)
			s2_slots_give_back(&slots, first + i, 0);
		assert_true(s2_slots_take_run(&slots, n, &slot));
		assert_int_equal(slot, first);
		assert_false(s2_slots_take_run(&slots, 1, &slot));
	}
}

static void test_all_that_is_left_is_had_one_by_one(void **state)
{
	uint64_t slot;

	while (!s2_slots_take(&slots, &slot))
		expect_taken(slot, 1);
	for (unsigned i = 0; i < COUNT; i += 2) {
		s2_slots_give_back(&slots, i, 0);
		taken[i] = false;
	}
	assert_false(take_run(2));
	for (unsigned i = 0; i < COUNT; i += 2)
		take_one();
	assert_int_equal(nr_taken(), COUNT);
	take_one();
}

static void test_numbers_of_nobodys_are_not_taken(void **state)
{
	assert_false(s2_slots_taken(&slots, 0));
	assert_false(s2_slots_taken(&slots, COUNT));
	assert_false(s2_slots_taken(&slots, UINT64_MAX));
	s2_slots_give_back(&slots, UINT64_MAX, 0);
	s2_slots_give_back(&slots, 0, -EIO);
	assert_int_equal(slots.nr_taken, 0);
}

static int begin_test(void **state)
{
	memset(taken, 0, sizeof(taken));
	return s2_slots_init(&slots, COUNT);
}

static int end_test(void **state)
{
	s2_slots_destroy(&slots);
	return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin_test, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_as_an_array_of_flags),
		TEST(test_runs_of_every_length_until_there_are_none),
		TEST(test_a_run_that_is_left_is_found),
		TEST(test_all_that_is_left_is_had_one_by_one),
		TEST(test_numbers_of_nobodys_are_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
