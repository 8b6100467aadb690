/* SPDX-License-Identifier: MIT */
/*
 * The queue of a guest's pending signals: its order is compared with Linux's by test_guest_signals;
 * here is what the host's limits would be in the way of.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest_pending.h"

#include <signal.h>
#include <stdlib.h>

#define QUEUED 40

static int create(void **state)
{
	*state = calloc(1, sizeof(struct guest_pending));
	return *state ? 0 : -1;
}

static int destroy(void **state)
{
	free(*state);
	return 0;
}

static int add(struct guest_pending *pending, int signal, bool to_thread)
{
	const struct guest_siginfo info = { .signal = signal };

	return guest_pending_add(pending, &info, to_thread);
}

static void fill(struct guest_pending *pending)
{
	for (unsigned int i = 0; i < GUEST_QUEUED_SIGNALS; i++)
		assert_int_equal(add(pending, QUEUED, i % 2), 0);
}

static void test_a_full_queue_is_an_error(void **state)
{
	fill(*state);
	assert_int_equal(add(*state, QUEUED, false), -EAGAIN);
	assert_int_equal(add(*state, GUEST_SIGNALS, true), -EAGAIN);
}

static void test_a_full_queue_has_room_for_one_of_each_of_the_others(void **state)
{
	fill(*state);
	for (int signal = 1; signal < GUEST_FIRST_QUEUED; signal++) {
		assert_int_equal(add(*state, signal, false), 0);
		assert_int_equal(add(*state, signal, true), 0);
		assert_int_equal(add(*state, signal, true), 0);
	}
	assert_int_equal(guest_pending_set(*state),
			 (guest_signal_bit(GUEST_FIRST_QUEUED) - 1) | guest_signal_bit(QUEUED));
}

static void test_what_is_taken_makes_room(void **state)
{
	struct guest_siginfo info;

	fill(*state);
	assert_true(guest_pending_take(*state, guest_signal_bit(QUEUED), &info));
	assert_int_equal(info.signal, QUEUED);
	assert_int_equal(add(*state, QUEUED, false), 0);
	guest_pending_discard(*state, guest_signal_bit(QUEUED));
	assert_int_equal(guest_pending_set(*state), 0);
	fill(*state);
}

static void test_what_is_not_asked_for_stays(void **state)
{
	struct guest_siginfo info;

	add(*state, SIGTERM, false);
	add(*state, SIGUSR1, false);
	assert_false(guest_pending_take(*state, guest_signal_bit(SIGHUP), &info));
	guest_pending_discard(*state, guest_signal_bit(SIGTERM));
	assert_true(guest_pending_take(*state, UINT64_MAX, &info));
	assert_int_equal(info.signal, SIGUSR1);
	assert_false(guest_pending_take(*state, UINT64_MAX, &info));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_full_queue_is_an_error),
		TEST(test_a_full_queue_has_room_for_one_of_each_of_the_others),
		TEST(test_what_is_taken_makes_room),
		TEST(test_what_is_not_asked_for_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
