/* SPDX-License-Identifier: MIT */
/*
 * What a guest has not mapped, or has protected, ends it when it is accessed, on either kind of
 * memory: tests/guests/protection.c.
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
#include "guest_cpu.h"
#include "guest_memory_window.h"
#include "guest_unicorn.h"

#include <signal.h>
#include <stdlib.h>

#define MEMORY (UINT64_C(64) << 20)
#define POOL (UINT64_C(96) << 20)

/* cmocka puts its own in the place of the handler that guests have, of which there is one. */
static struct sigaction guests_handler;

static void run_on(struct guest_memory *memory, const char *name, struct guest_result *result)
{
	char *argv[] = { getenv("S2_GUEST_PROTECTION"), (char *)name, NULL };
	const struct guest_config config = {
		.memory = memory,
		.root = -1,
		.program = argv[0],
		.argv = argv,
		.stdio = { -1, -1, -1 },
		.limits = { .seconds = 100 },
	};
	struct sigaction cmockas_handler;

	assert_int_equal(sigaction(SIGSEGV, &guests_handler, &cmockas_handler), 0);
	assert_int_equal(guest_run(&config, result), 0);
	assert_int_equal(sigaction(SIGSEGV, &cmockas_handler, NULL), 0);
	memory->ops->destroy(memory);
}

static void run_on_plain(const char *name, struct guest_result *result)
{
	struct guest_memory *memory;

	assert_int_equal(guest_memory_plain(MEMORY, &memory), 0);
	run_on(memory, name, result);
}

static void run_on_window(const char *name, struct guest_result *result)
{
	const struct s2_pool_config config = { .size = POOL };
	struct guest_memory_window *window;
	struct s2_pool *pool;

	assert_int_equal(s2_pool_create(&config, &pool), 0);
	assert_int_equal(guest_memory_window_create(pool, MEMORY, &window), 0);
	run_on(&window->memory, name, result);
	s2_pool_destroy(pool);
}

static void skip_if_nothing_is_checked(void)
{
	if (guest_unicorn_is_known())
		return;
	print_message("# this Unicorn is not version 2.0.1: guests access all of their memory\n");
	skip();
}

static void assert_ended(const struct guest_result *result, const char *reason)
{
	if (!strstr(result->reason, reason))
		fail_msg("\"%s\" instead of \"%s\"", result->reason, reason);
	assert_int_equal(result->status, 128 + SIGSEGV);
}

static void assert_killed(const char *name, const char *reason)
{
	struct guest_result result;

	skip_if_nothing_is_checked();
	run_on_plain(name, &result);
	assert_ended(&result, reason);
	run_on_window(name, &result);
	assert_ended(&result, reason);
}

static void assert_works(const char *name)
{
	struct guest_result result;

	run_on_plain(name, &result);
	assert_string_equal(result.reason, "");
	assert_int_equal(result.status, 0);
	run_on_window(name, &result);
	assert_string_equal(result.reason, "");
	assert_int_equal(result.status, 0);
}

#define KILLED(name, reason)                                                                       \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		assert_killed(#name, reason);                                                      \
	}
#define WORKS(name)                                                                                \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		assert_works(#name);                                                               \
	}

KILLED(read_hole, " accessed 0x10000, where it has no memory")
KILLED(write_hole, " accessed 0x2000000, where it has no memory")
KILLED(read_unmapped, " accessed 0x2001000, where it has no memory")
KILLED(read_one_of_many_unmapped, " accessed 0x23e7000, where it has no memory")
KILLED(write_across, " accessed 0x2001000, where it has no memory")
KILLED(write_beyond_break, ", where it has no memory")
KILLED(read_guard, " accessed 0x2000000, which it may not read")
KILLED(write_read_only, " accessed 0x2000000, which it may not write")
KILLED(add_to_read_only, " accessed 0x2000000, which it may not write")
KILLED(write_constant, ", which it may not write")
KILLED(overflow_stack, ", which it may not write")
WORKS(protect_and_allow_again)
WORKS(map_again)
WORKS(calls_keep_to_it)
WORKS(move_keeps_it)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_hole),
		cmocka_unit_test(test_write_hole),
		cmocka_unit_test(test_read_unmapped),
		cmocka_unit_test(test_read_one_of_many_unmapped),
		cmocka_unit_test(test_write_across),
		cmocka_unit_test(test_write_beyond_break),
		cmocka_unit_test(test_read_guard),
		cmocka_unit_test(test_write_read_only),
		cmocka_unit_test(test_add_to_read_only),
		cmocka_unit_test(test_write_constant),
		cmocka_unit_test(test_overflow_stack),
		cmocka_unit_test(test_protect_and_allow_again),
		cmocka_unit_test(test_map_again),
		cmocka_unit_test(test_calls_keep_to_it),
		cmocka_unit_test(test_move_keeps_it),
	};

	signal(SIGSEGV, SIG_DFL);
	if (guest_cpu_handle_signals() || s2_window_handle_signals() ||
	    sigaction(SIGSEGV, NULL, &guests_handler))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
