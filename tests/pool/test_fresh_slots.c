/* SPDX-License-Identifier: MIT */
/* Slot numbers that are never given out twice, against a model that remembers them all. */
#include "pool/fresh_slots.h"
#include "small_vm.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LIMIT 100

static uint64_t take_one(struct s2_fresh_slots *slots)
{
	uint64_t number = UINT64_MAX;

	assert_int_equal(s2_fresh_slots_take(slots, 1, &number), 1);
	return number;
}

static void free_dropped(struct s2_fresh_slots *slots)
{
	uint64_t numbers[7];
	unsigned n;

	while ((n = s2_fresh_slots_dequeue(slots, 7, numbers)))
		for (unsigned i = 0; i < n; i++)
			s2_fresh_slots_free(slots, numbers[i]);
}

/* Several times around the table, with some that stay. */
static void test_no_number_is_given_out_twice(void **state)
{
	struct s2_fresh_slots slots = { 0 };
	uint64_t last = 0, kept[10];

	assert_int_equal(s2_fresh_slots_init(&slots, LIMIT), 0);
	for (unsigned i = 0; i < 10; i++)
		kept[i] = last = take_one(&slots);
	while (last < 3 * slots.entries) {
		uint64_t number = take_one(&slots);

		assert_true(number > last);
		last = number;
		assert_int_equal(s2_fresh_slots_drop(&slots, number), 1);
		free_dropped(&slots);
	}
	for (unsigned i = 0; i < 10; i++)
		assert_true(s2_fresh_slots_taken(&slots, kept[i]));
	assert_false(s2_fresh_slots_taken(&slots, kept[0] + slots.entries));
	s2_fresh_slots_destroy(&slots);
}

static void test_there_is_no_room_before_it_is_freed(void **state)
{
	struct s2_fresh_slots slots = { 0 };
	uint64_t numbers[LIMIT + 1];

	assert_int_equal(s2_fresh_slots_init(&slots, LIMIT), 0);
	assert_int_equal(s2_fresh_slots_take(&slots, LIMIT + 1, numbers), LIMIT);
	assert_int_equal(s2_fresh_slots_drop(&slots, numbers[5]), 1);
	assert_false(s2_fresh_slots_taken(&slots, numbers[5]));
	assert_int_equal(s2_fresh_slots_take(&slots, 1, numbers + 5), 0);
	free_dropped(&slots);
	assert_int_equal(s2_fresh_slots_take(&slots, 2, numbers + 5), 1);
	s2_fresh_slots_destroy(&slots);
}

static void test_what_was_not_taken_is_not_dropped(void **state)
{
	struct s2_fresh_slots slots = { 0 };
	uint64_t number;

	assert_int_equal(s2_fresh_slots_init(&slots, LIMIT), 0);
	number = take_one(&slots);
	assert_int_equal(s2_fresh_slots_drop(&slots, number + 1), 0);
	assert_int_equal(s2_fresh_slots_drop(&slots, number + slots.entries), 0);
	assert_int_equal(s2_fresh_slots_drop(&slots, UINT64_MAX), 0);
	assert_int_equal(s2_fresh_slots_drop(&slots, number), 1);
	assert_int_equal(s2_fresh_slots_drop(&slots, number), 0);
	s2_fresh_slots_destroy(&slots);
}

static void test_the_queue_is_one(void **state)
{
	struct s2_fresh_slots slots = { 0 };
	uint64_t numbers[LIMIT], out[LIMIT];

	assert_int_equal(s2_fresh_slots_init(&slots, LIMIT), 0);
	assert_int_equal(s2_fresh_slots_take(&slots, LIMIT, numbers), LIMIT);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(s2_fresh_slots_drop(&slots, numbers[i * 7]), i + 1);
	assert_int_equal(s2_fresh_slots_dequeue(&slots, 4, out), 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(out[i], numbers[i * 7]);
	s2_fresh_slots_requeue(&slots, out[0]);
	assert_int_equal(s2_fresh_slots_dequeue(&slots, LIMIT, out), 7);
	assert_int_equal(out[0], numbers[4 * 7]);
	assert_int_equal(out[6], numbers[0]);
	assert_int_equal(s2_fresh_slots_dequeue(&slots, LIMIT, out), 0);
	s2_fresh_slots_destroy(&slots);
}

static void test_all_can_be_dropped_at_once(void **state)
{
	struct s2_fresh_slots slots = { 0 };
	uint64_t numbers[LIMIT];

	assert_int_equal(s2_fresh_slots_init(&slots, LIMIT), 0);
	slots.next = 5 * slots.entries - 50;
	assert_int_equal(s2_fresh_slots_take(&slots, LIMIT, numbers), LIMIT);
	s2_fresh_slots_drop(&slots, numbers[50]);
	s2_fresh_slots_drop_all(&slots);
	assert_int_equal(slots.dropped, LIMIT);
	free_dropped(&slots);
	assert_int_equal(slots.taken, 0);
	s2_fresh_slots_destroy(&slots);
}

static void test_there_is_an_end(void **state)
{
	struct s2_fresh_slots slots = { 0 };
	uint64_t numbers[LIMIT];

	assert_int_equal(s2_fresh_slots_init(&slots, LIMIT), 0);
	slots.next = (UINT64_C(1) << 48) - 3;
	assert_int_equal(s2_fresh_slots_take(&slots, LIMIT, numbers), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(s2_fresh_slots_taken(&slots, numbers[i]));
		assert_int_equal(s2_fresh_slots_drop(&slots, numbers[i]), i + 1);
	}
	assert_int_equal(s2_fresh_slots_dequeue(&slots, 1, numbers), 1);
	assert_int_equal(numbers[0], (UINT64_C(1) << 48) - 3);
	s2_fresh_slots_destroy(&slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_number_is_given_out_twice),
		cmocka_unit_test(test_there_is_no_room_before_it_is_freed),
		cmocka_unit_test(test_what_was_not_taken_is_not_dropped),
		cmocka_unit_test(test_the_queue_is_one),
		cmocka_unit_test(test_all_can_be_dropped_at_once),
		cmocka_unit_test(test_there_is_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
