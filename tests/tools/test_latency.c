/* SPDX-License-Identifier: MIT */
/*
 * The histogram against what sorting the values would say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/latency.h"

static struct latency latency; /* too large for some stacks, zeroed by each test */

static void reset(void)
{
	memset(&latency, 0, sizeof(latency));
}

static void test_empty_tells_zero(void **state)
{
	(void)state;
	reset();
	assert_int_equal(latency_percentile(&latency, 50), 0);
	assert_int_equal(latency.max, 0);
}

static void test_small_values_are_exact(void **state)
{
	(void)state;
	reset();
	for (uint64_t ns = 1; ns <= 10; ns++)
		latency_add(&latency, ns);
	assert_int_equal(latency_percentile(&latency, 50), 5);
	assert_int_equal(latency_percentile(&latency, 90), 9);
	assert_int_equal(latency_percentile(&latency, 100), 10);
	assert_int_equal(latency_percentile(&latency, 0), 1);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t seed(void)
{
	const char *text = getenv("S2_SEED");
	uint64_t value = text ? strtoull(text, NULL, 0) : 20261122;

	print_message("# S2_SEED=%llu\n", (unsigned long long)value);
	return value;
}

static void test_percentiles_are_right_to_one_part_in_32(void **state)
{
	static uint64_t values[10000];
	uint64_t random = seed() | 1;

	(void)state;
	reset();
	for (size_t i = 0; i < 10000; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		values[i] = random >> (random % 64);
		latency_add(&latency, values[i]);
	}
	qsort(values, 10000, sizeof(values[0]), compare);
	for (unsigned int percent = 1; percent <= 100; percent++) {
		uint64_t exact = values[percent * 100 - 1];
		uint64_t told = latency_percentile(&latency, percent);

		assert_true(told >= exact);
		assert_true(told - exact <= exact / 32);
	}
	assert_int_equal(latency.max, values[9999]);
}

static void test_largest_value_fits(void **state)
{
	(void)state;
	reset();
	latency_add(&latency, UINT64_MAX);
	assert_true(latency_percentile(&latency, 50) == UINT64_MAX);
}

static void test_percentile_never_exceeds_the_largest(void **state)
{
	(void)state;
	reset();
	latency_add(&latency, 1000001);
	assert_int_equal(latency_percentile(&latency, 99), 1000001);
}

static void test_merging_is_adding_all(void **state)
{
	static struct latency all, part;

	(void)state;
	reset();
	memset(&all, 0, sizeof(all));
	memset(&part, 0, sizeof(part));
	for (uint64_t i = 0; i < 1000; i++) {
		latency_add(&all, i * i);
		latency_add(i % 3 ? &latency : &part, i * i);
	}
	latency_merge(&latency, &part);
	assert_memory_equal(&latency, &all, sizeof(all));
}

static void test_json_has_the_three(void **state)
{
	json_t *json;
	json_int_t p50, p99, max;

	(void)state;
	reset();
	for (uint64_t ns = 1; ns <= 100; ns++)
		latency_add(&latency, ns / 4);
	json = latency_json(&latency);
	assert_int_equal(json_object_size(json), 3);
	assert_int_equal(json_unpack(json, "{s:I, s:I, s:I}", "p50", &p50, "p99", &p99, "max",
				     &max),
			 0);
	assert_int_equal(p50, 12);
	assert_int_equal(p99, 24);
	assert_int_equal(max, 25);
	json_decref(json);
}

static void assert_text(uint64_t ns, const char *expected)
{
	char buf[16];

	assert_string_equal(latency_text(ns, buf, sizeof(buf)), expected);
}

static void test_text_chooses_the_unit(void **state)
{
	(void)state;
	assert_text(0, "0 ns");
	assert_text(999, "999 ns");
	assert_text(1240, "1.24 us");
	assert_text(13100000, "13.1 ms");
	assert_text(UINT64_C(2500000000), "2.500 s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_tells_zero),
		cmocka_unit_test(test_small_values_are_exact),
		cmocka_unit_test(test_percentiles_are_right_to_one_part_in_32),
		cmocka_unit_test(test_largest_value_fits),
		cmocka_unit_test(test_percentile_never_exceeds_the_largest),
		cmocka_unit_test(test_merging_is_adding_all),
		cmocka_unit_test(test_json_has_the_three),
		cmocka_unit_test(test_text_chooses_the_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
