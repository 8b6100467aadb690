/* SPDX-License-Identifier: MIT */
/*
 * Bytes from and to a guest's descriptors: all of them arrive, wrong pointers and lengths are
 * errors that lose nothing, a guest that waits can be ended, and none writes more than it may.
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

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* More than the buffer through which it goes, and no multiple of it. */
#define LONG (3 * GUEST_BOUNCE + 4321)

struct piece {
	uint64_t gpa;
	uint64_t len;
};

static unsigned char letter(size_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

static uint64_t put_letters(struct calling_guest *caller, size_t len)
{
	uint64_t gpa = guest_space(caller, len);
	unsigned char *at = (unsigned char *)caller->guest.memory->base + gpa;

	for (size_t i = 0; i < len; i++)
		at[i] = letter(i);
	return gpa;
}

static void assert_letters(const struct calling_guest *caller, uint64_t gpa, size_t from,
			   size_t len)
{
	const unsigned char *at = (unsigned char *)caller->guest.memory->base + gpa;

	for (size_t i = 0; i < len; i++)
		if (at[i] != letter(from + i))
			fail_msg("byte %zu is wrong", i);
}

/* A pipe's ends, and nothing in it. */
static void make_pipe(struct calling_guest *caller, uint64_t flags, uint64_t ends[2])
{
	uint64_t to = guest_space(caller, 8);
	int32_t made[2];

	assert_int_equal(CALL(caller, pipe2, to, flags), 0);
	guest_get(caller, to, made, sizeof(made));
	ends[0] = (uint64_t)made[0];
	ends[1] = (uint64_t)made[1];
}

static void test_a_long_write_comes_back(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = put_letters(caller, LONG), to = guest_space(caller, LONG);

	assert_int_equal(guest_open(caller, "new", GUEST_O_CREAT | GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, write, 0, from, LONG), LONG);
	assert_int_equal(CALL(caller, lseek, 0, 0, SEEK_SET), 0);
	assert_int_equal(CALL(caller, read, 0, to, LONG + 100), LONG);
	assert_letters(caller, to, 0, LONG);
	assert_int_equal(CALL(caller, read, 0, to, LONG), 0);
}

static void test_reads_at_a_position_do_not_move_it(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = put_letters(caller, LONG), to = guest_space(caller, LONG);

	assert_int_equal(guest_open(caller, "new", GUEST_O_CREAT | GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, pwrite64, 0, from, LONG, 0), LONG);
	assert_int_equal(CALL(caller, pread64, 0, to, LONG, 1000), LONG - 1000);
	assert_letters(caller, to, 1000, LONG - 1000);
	assert_int_equal(CALL(caller, lseek, 0, 0, SEEK_CUR), 0);
	assert_int_equal(CALL(caller, pread64, 0, to, 8, (uint64_t)-1), -EINVAL);
	assert_int_equal(CALL(caller, pwrite64, 0, to, 8, INT64_MIN), -EINVAL);
}

static void test_pieces_are_one_transfer(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = put_letters(caller, LONG), to = guest_space(caller, LONG);
	const struct piece out[] = {
		{ from, 10 }, { 0, 0 }, { from + 10, LONG - 11 }, { from + LONG - 1, 1 }, { 0, 0 }
	};
	const struct piece in[] = { { to, 0 }, { to, LONG - 5 }, { to + LONG - 5, 5 } };
	uint64_t outs = guest_put(caller, out, sizeof(out)),
		 ins = guest_put(caller, in, sizeof(in));

	assert_int_equal(guest_open(caller, "new", GUEST_O_CREAT | GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, writev, 0, outs, 5), LONG);
	assert_int_equal(CALL(caller, preadv, 0, ins, 3, 0), LONG);
	assert_letters(caller, to, 0, LONG);
	assert_int_equal(CALL(caller, lseek, 0, 0, SEEK_SET), 0);
	assert_int_equal(CALL(caller, readv, 0, ins, 3), LONG);
	assert_int_equal(CALL(caller, pwritev, 0, outs, 5, 3), LONG);
	assert_int_equal(CALL(caller, pread64, 0, to, LONG, 3), LONG);
	assert_letters(caller, to, 0, LONG);
}

static void test_a_wrong_pointer_is_an_error(void **state)
{
	struct calling_guest *caller = *state;
	const uint64_t wrong[] = { 0,
				   1,
				   GUEST_ROOM_START - 1,
				   GUEST_ROOM_END,
				   GUEST_ROOM_SIZE,
				   UINT64_MAX,
				   UINT64_MAX - 7,
				   INT64_MAX };

	assert_int_equal(guest_open(caller, "file", GUEST_O_RDWR), 0);
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(CALL(caller, read, 0, wrong[i], 3), -EFAULT);
		assert_int_equal(CALL(caller, write, 0, wrong[i], 3), -EFAULT);
		assert_int_equal(CALL(caller, readv, 0, wrong[i], 1), -EFAULT);
		assert_int_equal(CALL(caller, fstat, 0, wrong[i]), -EFAULT);
		assert_int_equal(CALL(caller, open, wrong[i], 0, 0), -EFAULT);
		assert_int_equal(CALL(caller, pipe, wrong[i]), -EFAULT);
		assert_int_equal(CALL(caller, getcwd, wrong[i], 64), -EFAULT);
		assert_int_equal(CALL(caller, poll, wrong[i], 1, 0), -EFAULT);
		if (wrong[i])
			assert_int_equal(CALL(caller, sendfile, 0, 0, wrong[i], 8), -EFAULT);
	}
	assert_int_equal(CALL(caller, lseek, 0, 0, SEEK_CUR), 0);
}

static void test_a_buffer_mapped_in_part_is_used_in_part(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t end = GUEST_ROOM_END;

	assert_int_equal(guest_open(caller, "file", GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, read, 0, end - 2, 6), 2);
	assert_int_equal(CALL(caller, read, 0, end, 4), -EFAULT);
	assert_int_equal(CALL(caller, lseek, 0, 0, SEEK_CUR), 2);
	assert_int_equal(CALL(caller, write, 0, end - 1, UINT64_C(1) << 40), 1);
}

static void test_what_is_in_a_pipe_is_not_lost_to_a_wrong_pointer(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t ends[2], from = put_letters(caller, 100), to = guest_space(caller, 100);

	make_pipe(caller, 0, ends);
	assert_int_equal(CALL(caller, write, ends[1], from, 100), 100);
	assert_int_equal(CALL(caller, read, ends[0], GUEST_ROOM_END, 100), -EFAULT);
	assert_int_equal(CALL(caller, read, ends[0], GUEST_ROOM_END - 10, 100), 10);
	assert_letters(caller, GUEST_ROOM_END - 10, 0, 10);
	assert_int_equal(CALL(caller, read, ends[0], to, 100), 90);
	assert_letters(caller, to, 10, 90);
}

static void test_too_many_pieces_are_an_error(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t pieces = guest_space(caller, 1024 * sizeof(struct piece));

	assert_int_equal(guest_open(caller, "file", GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, readv, 0, pieces, 1024), 0);
	assert_int_equal(CALL(caller, readv, 0, pieces, 1025), -EINVAL);
	assert_int_equal(CALL(caller, writev, 0, pieces, UINT64_MAX), -EINVAL);
	assert_int_equal(CALL(caller, writev, 0, pieces, UINT64_C(1) << 60), -EINVAL);
}

static void test_lengths_that_overflow_are_an_error(void **state)
{
	struct calling_guest *caller = *state;
	const struct piece one[] = { { GUEST_ROOM_START, UINT64_MAX } };
	const struct piece two[] = { { GUEST_ROOM_START, INT64_MAX }, { GUEST_ROOM_START, 1 } };
	uint64_t ones = guest_put(caller, one, sizeof(one)),
		 twos = guest_put(caller, two, sizeof(two));

	assert_int_equal(guest_open(caller, "file", GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, readv, 0, ones, 1), -EINVAL);
	assert_int_equal(CALL(caller, readv, 0, twos, 2), -EINVAL);
	assert_int_equal(CALL(caller, writev, 0, twos, 2), -EINVAL);
	assert_int_equal(CALL(caller, read, 0, GUEST_ROOM_START, UINT64_MAX), -EINVAL);
	assert_int_equal(CALL(caller, write, 0, GUEST_ROOM_START, (uint64_t)INT64_MAX + 1),
			 -EINVAL);
}

static void test_descriptors_are_for_what_they_were_opened_for(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 8);

	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(guest_open(caller, "file", GUEST_O_WRONLY), 1);
	assert_int_equal(guest_open(caller, "dir", 0), 2);
	assert_int_equal(CALL(caller, write, 0, to, 8), -EBADF);
	assert_int_equal(CALL(caller, read, 1, to, 8), -EBADF);
	assert_int_equal(CALL(caller, read, 2, to, 8), -EISDIR);
	assert_int_equal(CALL(caller, sendfile, 0, 0, 0, 8), -EBADF);
}

static void test_a_pipe_gives_what_it_has(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t ends[2], from = put_letters(caller, 100), to = guest_space(caller, 100);
	const struct piece in[] = { { to, 50 }, { to + 50, 50 } };

	make_pipe(caller, 0, ends);
	assert_int_equal(CALL(caller, write, ends[1], from, 60), 60);
	assert_int_equal(CALL(caller, readv, ends[0], guest_put(caller, in, sizeof(in)), 2), 60);
	assert_letters(caller, to, 0, 60);
	assert_int_equal(CALL(caller, pread64, ends[0], to, 1, 0), -ESPIPE);
	assert_int_equal(CALL(caller, lseek, ends[0], 0, SEEK_CUR), -ESPIPE);
	assert_int_equal(CALL(caller, close, ends[1]), 0);
	assert_int_equal(CALL(caller, read, ends[0], to, 100), 0);
}

static void test_a_pipe_that_does_not_wait_says_so(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t ends[2], from = put_letters(caller, LONG), to = guest_space(caller, 8);

	make_pipe(caller, GUEST_O_NONBLOCK, ends);
	assert_int_equal(CALL(caller, read, ends[0], to, 8), -EAGAIN);
	assert_int_equal(CALL(caller, write, ends[1], from, LONG), 65536);
	assert_int_equal(CALL(caller, write, ends[1], from, LONG), -EAGAIN);
}

static void *stop_soon(void *arg)
{
	struct calling_guest *caller = arg;
	const struct timespec soon = { .tv_nsec = 20000000 };

	nanosleep(&soon, NULL);
	atomic_store(&caller->stop, true);
	return NULL;
}

static pthread_t start_stopping(struct calling_guest *caller)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stop_soon, caller), 0);
	return thread;
}

static void test_a_guest_that_waits_to_read_can_be_stopped(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t ends[2], to = guest_space(caller, 8);
	pthread_t thread;

	make_pipe(caller, 0, ends);
	thread = start_stopping(caller);
	assert_int_equal(CALL(caller, read, ends[0], to, 8), -EINTR);
	pthread_join(thread, NULL);
	assert_true(caller->guest.ended);
}

static void test_a_guest_that_waits_to_write_can_be_stopped(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = put_letters(caller, LONG);
	pthread_t thread;
	int fds[2];

	assert_return_code(pipe(fds), errno);
	caller->config.stdio[1] = fds[1];
	calling_guest_restart(caller);
	thread = start_stopping(caller);
	assert_int_equal(CALL(caller, write, 1, from, LONG), 65536);
	pthread_join(thread, NULL);
	assert_true(caller->guest.ended);
	close(fds[0]);
	close(fds[1]);
}

static void test_a_guest_past_its_time_does_not_wait(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t ends[2], to = guest_space(caller, 8);

	make_pipe(caller, 0, ends);
	caller->guest.deadline_ns = 1;
	assert_int_equal(CALL(caller, read, ends[0], to, 8), -EINTR);
	assert_int_equal(caller->result.status, 128 + SIGKILL);
}

/* The signal is the guest's; were it the host's, this test would be gone. */
static void test_a_pipe_without_reader_ends_the_guest_alone(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t ends[2], from = put_letters(caller, 8);

	make_pipe(caller, 0, ends);
	assert_int_equal(CALL(caller, close, ends[0]), 0);
	assert_int_equal(CALL(caller, write, ends[1], from, 8), -EPIPE);
	assert_true(caller->guest.ended);
	assert_int_equal(caller->result.status, 128 + SIGPIPE);
}

static void test_output_ends_at_its_limit(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = put_letters(caller, 2000);
	int fd = openat(caller->top, "root/out", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct stat st;

	caller->config.stdio[1] = fd;
	caller->config.limits.output = 1500;
	calling_guest_restart(caller);
	assert_int_equal(CALL(caller, write, 1, from, 1000), 1000);
	assert_false(caller->guest.ended);
	assert_int_equal(CALL(caller, write, 1, from, 1000), 500);
	assert_true(caller->guest.ended);
	assert_int_equal(caller->result.status, 128 + SIGXFSZ);
	assert_string_equal(caller->result.reason, "it wrote more than the 1500 bytes allowed");
	assert_int_equal(CALL(caller, write, 1, from, 1), -EFBIG);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 1500);
	close(fd);
}

static void test_names_are_output_as_well(void **state)
{
	struct calling_guest *caller = *state;

	caller->config.limits.output = 10000;
	calling_guest_restart(caller);
	assert_int_equal(guest_open(caller, "a", GUEST_O_CREAT | GUEST_O_WRONLY), 0);
	assert_int_equal(CALL(caller, mkdir, guest_text(caller, "b"), 0755), 0);
	assert_int_equal(CALL(caller, symlink, guest_text(caller, "a"), guest_text(caller, "c")),
			 -EFBIG);
	assert_true(caller->guest.ended);
	assert_false(host_has(caller, "root/c"));
}

static void test_no_file_is_made_longer_than_all_output(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t path = guest_text(caller, "file");

	caller->config.limits.output = 10000;
	calling_guest_restart(caller);
	assert_int_equal(guest_open(caller, "file", GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, ftruncate, 0, 10001), -EFBIG);
	assert_int_equal(CALL(caller, truncate, path, 10001), -EFBIG);
	assert_int_equal(CALL(caller, ftruncate, 0, 10000), 0);
	assert_int_equal(CALL(caller, truncate, path, 0), 0);
	assert_int_equal(CALL(caller, truncate, path, (uint64_t)-1), -EINVAL);
}

/* Its end, that is: who reads it reads what is before that, too. */
static void test_nothing_is_written_behind_all_output(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = put_letters(caller, 10);
	int fd = openat(caller->top, "root/out", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	caller->config.stdio[1] = fd;
	caller->config.limits.output = 10000;
	calling_guest_restart(caller);
	assert_int_equal(CALL(caller, pwrite64, 1, from, 10, UINT64_C(1) << 40), -EFBIG);
	assert_int_equal(CALL(caller, lseek, 1, UINT64_C(1) << 40, SEEK_SET), INT64_C(1) << 40);
	assert_int_equal(CALL(caller, write, 1, from, 10), -EFBIG);
	assert_int_equal(CALL(caller, fcntl, 1, F_SETFL, GUEST_O_APPEND), 0);
	assert_int_equal(CALL(caller, write, 1, from, 10), -EFBIG);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	assert_int_equal(CALL(caller, pwrite64, 1, from, 10, 9990), 10);
	close(fd);
}

static void test_a_file_is_sent(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = put_letters(caller, LONG), to = guest_space(caller, LONG);

	assert_int_equal(guest_open(caller, "a", GUEST_O_CREAT | GUEST_O_RDWR), 0);
	assert_int_equal(guest_open(caller, "b", GUEST_O_CREAT | GUEST_O_RDWR), 1);
	assert_int_equal(CALL(caller, write, 0, from, LONG), LONG);
	assert_int_equal(CALL(caller, lseek, 0, 100, SEEK_SET), 100);
	assert_int_equal(CALL(caller, sendfile, 1, 0, 0, UINT64_C(1) << 24), LONG - 100);
	assert_int_equal(CALL(caller, sendfile, 1, 0, 0, UINT64_C(1) << 24), 0);
	assert_int_equal(CALL(caller, pread64, 1, to, LONG, 0), LONG - 100);
	assert_letters(caller, to, 100, LONG - 100);
}

static void test_a_file_is_sent_from_a_position(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t position = 3, at = guest_put(caller, &position, sizeof(position));

	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(guest_open(caller, "b", GUEST_O_CREAT | GUEST_O_RDWR), 1);
	assert_int_equal(CALL(caller, sendfile, 1, 0, at, 2), 2);
	guest_get(caller, at, &position, sizeof(position));
	assert_int_equal(position, 5);
	assert_int_equal(CALL(caller, lseek, 0, 0, SEEK_CUR), 0);
	position = (uint64_t)-1;
	at = guest_put(caller, &position, sizeof(position));
	assert_int_equal(CALL(caller, sendfile, 1, 0, at, 2), -EINVAL);
}

/* As in the kernel, whose callers then read and write. */
static void test_a_pipe_is_not_sent(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t ends[2];

	make_pipe(caller, 0, ends);
	assert_int_equal(CALL(caller, sendfile, ends[1], ends[0], 0, 8), -EINVAL);
}

#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, calling_guest_setup, calling_guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_long_write_comes_back),
		TEST(test_reads_at_a_position_do_not_move_it),
		TEST(test_pieces_are_one_transfer),
		TEST(test_a_wrong_pointer_is_an_error),
		TEST(test_a_buffer_mapped_in_part_is_used_in_part),
		TEST(test_what_is_in_a_pipe_is_not_lost_to_a_wrong_pointer),
		TEST(test_too_many_pieces_are_an_error),
		TEST(test_lengths_that_overflow_are_an_error),
		TEST(test_descriptors_are_for_what_they_were_opened_for),
		TEST(test_a_pipe_gives_what_it_has),
		TEST(test_a_pipe_that_does_not_wait_says_so),
		TEST(test_a_guest_that_waits_to_read_can_be_stopped),
		TEST(test_a_guest_that_waits_to_write_can_be_stopped),
		TEST(test_a_guest_past_its_time_does_not_wait),
		TEST(test_a_pipe_without_reader_ends_the_guest_alone),
		TEST(test_output_ends_at_its_limit),
		TEST(test_names_are_output_as_well),
		TEST(test_no_file_is_made_longer_than_all_output),
		TEST(test_nothing_is_written_behind_all_output),
		TEST(test_a_file_is_sent),
		TEST(test_a_file_is_sent_from_a_position),
		TEST(test_a_pipe_is_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
