/* SPDX-License-Identifier: MIT */
/* The status line: what it says, and that it fits whatever terminal there is, or is not there. */
#include "made_up_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/run_status.h"

#include <fcntl.h>
#include <unistd.h>

static void test_it_says_how_far_guests_are(void **state)
{
	struct made_up_run run;
	char text[256];

	make_up_run(&run, 30);
	run.result.samples->gate = S2_GATE_COUNT;
	assert_string_equal(run_status_text(run.result.samples, 200, text, sizeof(text)),
			    "2.9 s, count, 1 of 2 guests ended, 11% of 1M used, 348K swapped, "
			    "2k/s faults, 10k/s invalidations, 75% elided, 60k system calls");
	forget_run(&run);
}

static void test_it_fits_every_width(void **state)
{
	struct made_up_run run;
	char text[256];

	make_up_run(&run, 30);
	for (unsigned int width = 0; width < 300; width++) {
		memset(text, 'x', sizeof(text));
		run_status_text(run.result.samples, width, text, sizeof(text));
		assert_true(strlen(text) + 1 <= width || !*text);
	}
	forget_run(&run);
}

static void test_parts_are_whole_or_not_there(void **state)
{
	struct made_up_run run;
	char text[256];

	make_up_run(&run, 30);
	assert_string_equal(run_status_text(run.result.samples, 40, text, sizeof(text)),
			    "2.9 s, range, 1 of 2 guests ended");
	assert_string_equal(run_status_text(run.result.samples, 33, text, sizeof(text)),
			    "2.9 s, range");
	forget_run(&run);
}

static void test_it_fits_the_buffer(void **state)
{
	struct made_up_run run;
	char text[16];

	make_up_run(&run, 30);
	assert_string_equal(run_status_text(run.result.samples, 200, text, sizeof(text)),
			    "2.9 s, range");
	forget_run(&run);
}

static void test_plain_memory_has_no_pool(void **state)
{
	struct made_up_run run;
	char text[256];

	make_up_run(&run, 30);
	run.result.samples->latest.has_pool = false;
	assert_string_equal(run_status_text(run.result.samples, 200, text, sizeof(text)),
			    "2.9 s, 1 of 2 guests ended, 60k system calls");
	forget_run(&run);
}

static void test_there_is_none_without_a_terminal(void **state)
{
	int before = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
	struct run_view *view;

	assert_true(before >= 0 && null >= 0);
	dup2(null, STDERR_FILENO);
	view = run_status_create();
	dup2(before, STDERR_FILENO);
	close(before);
	close(null);
	assert_null(view);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_says_how_far_guests_are),
		cmocka_unit_test(test_it_fits_every_width),
		cmocka_unit_test(test_parts_are_whole_or_not_there),
		cmocka_unit_test(test_it_fits_the_buffer),
		cmocka_unit_test(test_plain_memory_has_no_pool),
		cmocka_unit_test(test_there_is_none_without_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
