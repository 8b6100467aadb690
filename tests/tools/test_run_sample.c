/* SPDX-License-Identifier: MIT */
/*
 * The series of samples: evenly spread and bounded, however long a run takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../tools/run_sample.h"

static const char *const names[] = { "1 a", "2 b" };

/* One for each second. */
static struct run_samples *series(unsigned int seconds)
{
	struct run_samples *samples;

	assert_int_equal(run_samples_create(2, names, &samples), 0);
	for (unsigned int i = 0; i < seconds; i++) {
		samples->latest.seconds = i;
		samples->latest.guests[1].faults = i;
		assert_int_equal(run_samples_add(samples), 0);
	}
	return samples;
}

static void test_all_are_kept_while_there_is_room(void **state)
{
	struct run_samples *samples = series(RUN_MAX_SAMPLES);

	(void)state;
	assert_int_equal(samples->nr, RUN_MAX_SAMPLES);
	for (unsigned int i = 0; i < samples->nr; i++)
		assert_int_equal((unsigned int)samples->sample[i].seconds, i);
	run_samples_destroy(samples);
}

static void test_a_long_run_has_no_more_of_them(void **state)
{
	const unsigned int lengths[] = { RUN_MAX_SAMPLES + 1, 5 * RUN_MAX_SAMPLES, 100000 };

	(void)state;
	for (size_t n = 0; n < sizeof(lengths) / sizeof(lengths[0]); n++) {
		struct run_samples *samples = series(lengths[n]);
		unsigned int stride = samples->stride;

		assert_in_range(samples->nr, RUN_MAX_SAMPLES / 2, RUN_MAX_SAMPLES);
		for (unsigned int i = 0; i < samples->nr; i++) {
			assert_int_equal((unsigned int)samples->sample[i].seconds, i * stride);
			assert_int_equal(samples->sample[i].guests[1].faults, i * stride);
		}
		run_samples_destroy(samples);
	}
}

static void test_each_has_guests_of_its_own(void **state)
{
	struct run_samples *samples = series(2);

	(void)state;
	samples->latest.guests[1].faults = 99;
	assert_int_equal(samples->sample[0].guests[1].faults, 0);
	assert_int_equal(samples->sample[1].guests[1].faults, 1);
	run_samples_destroy(samples);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_kept_while_there_is_room),
		cmocka_unit_test(test_a_long_run_has_no_more_of_them),
		cmocka_unit_test(test_each_has_guests_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
