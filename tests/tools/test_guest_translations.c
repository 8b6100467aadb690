/* SPDX-License-Identifier: MIT */
/*
 * A guest with more code than there is room for its translations: tests/guests/code.c. What memory
 * that takes is what a process of its own takes for one guest.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest.h"
#include "guest_unicorn.h"
#include "sanitized.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY (UINT64_C(64) << 20)

/* Unlimited, the guest's translations take twice as much and more. */
#define SAVED_KB 10240

struct outcome {
	struct guest_result result;
	long peak_kb;
};

static int run(uint64_t code, char *rounds, struct outcome *outcome)
{
	char *argv[] = { getenv("S2_GUEST_CODE"), rounds, NULL };
	struct guest_config config = {
		.root = -1,
		.program = argv[0],
		.argv = argv,
		.stdio = { -1, -1, -1 },
		.limits = { .code = code, .seconds = 200 },
	};
	struct rusage usage;

	if (guest_memory_plain(MEMORY, &config.memory) || guest_run(&config, &outcome->result) ||
	    getrusage(RUSAGE_SELF, &usage))
		return 1;
	outcome->peak_kb = usage.ru_maxrss;
	return 0;
}

static struct outcome run_alone(uint64_t code, char *rounds)
{
	struct outcome *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct outcome outcome;
	int status = 1;
	pid_t child;

	assert_ptr_not_equal(shared, MAP_FAILED);
	child = fork();
	if (!child)
		_exit(run(code, rounds, shared));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	outcome = *shared;
	munmap(shared, sizeof(*shared));
	assert_string_equal(outcome.result.reason, "");
	assert_int_equal(outcome.result.status, 0);
	return outcome;
}

static void skip_if_there_is_no_limit(void)
{
	if (guest_unicorn_is_known())
		return;
	print_message("# this Unicorn is not version 2.0.1: translations have no limit\n");
	skip();
}

static void test_code_that_does_not_fit_is_translated_again(void **state)
{
	struct outcome outcome;

	skip_if_there_is_no_limit();
	outcome = run_alone(GUEST_LEAST_CODE, "2");
	assert_true(outcome.result.translations_dropped > 10);
}

static void test_code_that_fits_is_translated_once(void **state)
{
	assert_int_equal(run_alone(GUEST_MOST_CODE, "2").result.translations_dropped, 0);
	assert_int_equal(run_alone(0, "2").result.translations_dropped, 0);
}

static void test_the_limit_bounds_the_hosts_memory(void **state)
{
	long once, often, unlimited;

	skip_if_there_is_no_limit();
	if (WITH_ADDRESS_SANITIZER) {
		print_message("# what is freed stays in AddressSanitizer's quarantine\n");
		skip();
	}
	once = run_alone(GUEST_LEAST_CODE, "1").peak_kb;
	often = run_alone(GUEST_LEAST_CODE, "10").peak_kb;
	unlimited = run_alone(GUEST_MOST_CODE, "1").peak_kb;
	print_message("# KiB: %ld, ten times as long %ld, unlimited %ld\n", once, often, unlimited);
	assert_true(once + SAVED_KB < unlimited);
	assert_true(often + SAVED_KB < unlimited);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_code_that_does_not_fit_is_translated_again),
		cmocka_unit_test(test_code_that_fits_is_translated_once),
		cmocka_unit_test(test_the_limit_bounds_the_hosts_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
