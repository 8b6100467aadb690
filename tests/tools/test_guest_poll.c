/* SPDX-License-Identifier: MIT */
/*
 * That a guest learns which of its descriptors are ready, and that waiting for them ends when one
 * is, when its time is over, or when the guest has to end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "calling_guest.h"

#include "guest_descriptors.h"
#include "guest_files.h"

#include <poll.h>
#include <unistd.h>

struct guest_pollfd {
	int32_t fd;
	int16_t events;
	int16_t revents;
};

struct guest_time {
	int64_t seconds;
	int64_t fraction;
};

struct sets {
	uint64_t in, out, except;
};

/* Two descriptors of a pipe with nothing in it, and a file. */
struct open_things {
	int32_t reads, writes, file;
};

static struct open_things open_things(struct calling_guest *caller)
{
	uint64_t to = guest_space(caller, 8);
	struct open_things things;

	assert_int_equal(CALL(caller, pipe, to), 0);
	guest_get(caller, to, &things, 8);
	things.file = (int32_t)guest_open(caller, "file", 0);
	assert_true(things.file >= 0);
	return things;
}

static void fill(struct calling_guest *caller, struct open_things things)
{
	assert_int_equal(CALL(caller, write, (uint64_t)things.writes, guest_text(caller, "x"), 1),
			 1);
}

static int64_t poll_guest(struct calling_guest *caller, struct guest_pollfd *fds, uint64_t n,
			  int timeout)
{
	uint64_t at = guest_put(caller, fds, n * sizeof(*fds));
	int64_t ready = CALL(caller, poll, at, n, (uint64_t)timeout);

	guest_get(caller, at, fds, n * sizeof(*fds));
	return ready;
}

static int64_t select_guest(struct calling_guest *caller, uint64_t n, struct sets *sets,
			    struct guest_time time)
{
	uint64_t at = guest_put(caller, sets, sizeof(*sets));
	uint64_t until = guest_put(caller, &time, sizeof(time));
	int64_t ready = CALL(caller, select, n, at, at + 8, at + 16, until);

	guest_get(caller, at, sets, sizeof(*sets));
	return ready;
}

static uint64_t bit(int32_t fd)
{
	return UINT64_C(1) << fd;
}

static void test_poll_tells_what_is_ready(void **state)
{
	struct calling_guest *caller = *state;
	struct open_things things = open_things(caller);
	struct guest_pollfd fds[] = { { things.reads, POLLIN, 0 },
				      { things.writes, POLLOUT, 0 },
				      { things.file, POLLIN | POLLOUT, 0 } };

	assert_int_equal(poll_guest(caller, fds, 3, -1), 2);
	assert_int_equal(fds[0].revents, 0);
	assert_int_equal(fds[1].revents, POLLOUT);
	assert_int_equal(fds[2].revents, POLLIN | POLLOUT);
	fill(caller, things);
	assert_int_equal(poll_guest(caller, fds, 1, -1), 1);
	assert_int_equal(fds[0].revents, POLLIN);
}

static void test_poll_leaves_out_what_is_negative(void **state)
{
	struct calling_guest *caller = *state;
	struct guest_pollfd fds[] = { { -1, POLLIN, 77 }, { INT32_MIN, POLLIN, 77 } };

	assert_int_equal(poll_guest(caller, fds, 2, 0), 0);
	assert_int_equal(fds[0].revents, 0);
	assert_int_equal(fds[1].revents, 0);
}

/* The numbers are open in this process. */
static void test_poll_names_what_is_no_descriptor(void **state)
{
	struct calling_guest *caller = *state;
	struct open_things things = open_things(caller);
	struct guest_pollfd fds[] = { { caller->top, POLLIN, 0 },
				      { things.reads, POLLIN, 0 },
				      { INT32_MAX, POLLIN, 0 } };

	CALL(caller, close, (uint64_t)caller->top);
	assert_int_equal(poll_guest(caller, fds, 3, -1), 2);
	assert_int_equal(fds[0].revents, POLLNVAL);
	assert_int_equal(fds[1].revents, 0);
	assert_int_equal(fds[2].revents, POLLNVAL);
}

static void test_poll_takes_no_more_than_may_be_open(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t at = guest_space(caller, (GUEST_DEFAULT_FILES + 1) * sizeof(struct guest_pollfd));

	assert_int_equal(CALL(caller, poll, at, GUEST_DEFAULT_FILES + 1, 0), -EINVAL);
	assert_int_equal(CALL(caller, poll, at, UINT32_MAX, 0), -EINVAL);
}

static void test_poll_ends_after_its_time(void **state)
{
	struct calling_guest *caller = *state;
	struct open_things things = open_things(caller);
	struct guest_pollfd fds[] = { { things.reads, POLLIN, 0 } };
	const struct guest_time time = { 0, 1000000 }, wrong = { 0, 1000000000 };
	uint64_t at = guest_put(caller, fds, sizeof(fds));

	assert_int_equal(poll_guest(caller, fds, 1, 0), 0);
	assert_int_equal(poll_guest(caller, fds, 1, 5), 0);
	assert_int_equal(CALL(caller, ppoll, at, 1, guest_put(caller, &time, sizeof(time))), 0);
	assert_int_equal(CALL(caller, ppoll, at, 1, guest_put(caller, &wrong, sizeof(wrong))),
			 -EINVAL);
	assert_int_equal(CALL(caller, ppoll, at, 1, GUEST_ROOM_END), -EFAULT);
}

static void test_poll_ends_with_the_guest(void **state)
{
	struct calling_guest *caller = *state;
	struct open_things things = open_things(caller);
	struct guest_pollfd fds[] = { { things.reads, POLLIN, 0 } };

	atomic_store(&caller->stop, true);
	assert_int_equal(poll_guest(caller, fds, 1, -1), -EINTR);
	assert_true(caller->guest.ended);
}

static void test_select_leaves_what_is_ready(void **state)
{
	struct calling_guest *caller = *state;
	struct open_things things = open_things(caller);
	struct sets sets = { .in = bit(things.reads) | bit(things.file),
			     .out = bit(things.writes),
			     .except = bit(things.reads) };

	assert_int_equal(select_guest(caller, 64, &sets, (struct guest_time){ 0, 0 }), 2);
	assert_true(sets.in == bit(things.file));
	assert_true(sets.out == bit(things.writes));
	assert_true(sets.except == 0);
}

static void test_select_looks_at_as_many_as_it_was_told(void **state)
{
	struct calling_guest *caller = *state;
	struct open_things things = open_things(caller);
	struct sets sets = { .in = bit(things.file) | bit(63) };

	assert_int_equal(select_guest(caller, 1 + (uint64_t)things.file, &sets,
				      (struct guest_time){ 1000, 0 }),
			 1);
	assert_int_equal(select_guest(caller, (uint64_t)-1, &sets, (struct guest_time){ 0, 0 }),
			 -EINVAL);
}

static void test_select_refuses_what_is_no_descriptor(void **state)
{
	struct calling_guest *caller = *state;
	struct sets sets = { .in = bit(caller->top) };

	assert_int_equal(select_guest(caller, 64, &sets, (struct guest_time){ 0, 0 }), -EBADF);
}

static void test_select_refuses_wrong_pointers_and_times(void **state)
{
	struct calling_guest *caller = *state;
	struct sets sets = { 0 };

	assert_int_equal(CALL(caller, select, 64, GUEST_ROOM_END, 0, 0, 0), -EFAULT);
	assert_int_equal(CALL(caller, select, 64, 0, 0, 0, GUEST_ROOM_END), -EFAULT);
	assert_int_equal(select_guest(caller, 0, &sets, (struct guest_time){ -1, 0 }), -EINVAL);
	assert_int_equal(select_guest(caller, 0, &sets, (struct guest_time){ 0, 1000000 }),
			 -EINVAL);
}

static void test_select_without_descriptors_waits_for_its_time(void **state)
{
	struct calling_guest *caller = *state;
	const struct guest_time time = { 0, 1000 };
	uint64_t until = guest_put(caller, &time, sizeof(time));

	assert_int_equal(CALL(caller, select, 0, 0, 0, 0, until), 0);
	assert_int_equal(CALL(caller, pselect6, 0, 0, 0, 0, until), 0);
}

#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, calling_guest_setup, calling_guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_poll_tells_what_is_ready),
		TEST(test_poll_leaves_out_what_is_negative),
		TEST(test_poll_names_what_is_no_descriptor),
		TEST(test_poll_takes_no_more_than_may_be_open),
		TEST(test_poll_ends_after_its_time),
		TEST(test_poll_ends_with_the_guest),
		TEST(test_select_leaves_what_is_ready),
		TEST(test_select_looks_at_as_many_as_it_was_told),
		TEST(test_select_refuses_what_is_no_descriptor),
		TEST(test_select_refuses_wrong_pointers_and_times),
		TEST(test_select_without_descriptors_waits_for_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
