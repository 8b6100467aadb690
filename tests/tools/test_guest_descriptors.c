/* SPDX-License-Identifier: MIT */
/*
 * A guest's descriptors are its own: no number reaches one of the host's, there are no more than
 * allowed, and stdio, which is shared with the host, stays as it was.
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
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define F_DUPFD_OF_GUEST 0
#define F_GETFD_OF_GUEST 1
#define F_SETFD_OF_GUEST 2
#define F_GETFL_OF_GUEST 3
#define F_SETFL_OF_GUEST 4
#define F_DUPFD_CLOEXEC_OF_GUEST 1030

/* How many of the host's descriptors are open. */
static unsigned int open_on_the_host(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_the_lowest_free_number_is_taken(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(guest_open(caller, "file", 0), 1);
	assert_int_equal(guest_open(caller, "file", 0), 2);
	assert_int_equal(CALL(caller, close, 1), 0);
	assert_int_equal(guest_open(caller, "file", 0), 1);
	assert_int_equal(guest_open(caller, "file", 0), 3);
}

/* All of these are open in this process, or look like it to a careless cast. */
#define FOREIGN 17

static void foreign_numbers(const struct calling_guest *caller, uint64_t numbers[FOREIGN])
{
	const uint64_t foreign[FOREIGN] = {
		0,
		1,
		2,
		(uint64_t)caller->top,
		(uint64_t)caller->config.root,
		63,
		64,
		65,
		1000,
		INT32_MAX,
		UINT32_MAX,
		(uint64_t)-1,
		(uint64_t)-2,
		(uint64_t)-99,
		INT64_MAX,
		UINT64_C(1) << 32,
		(UINT64_C(1) << 32) + 1,
	};

	memcpy(numbers, foreign, sizeof(foreign));
}

static void test_nothing_is_read_or_written_by_a_number_of_the_hosts(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 256), numbers[FOREIGN];

	foreign_numbers(caller, numbers);
	for (unsigned int i = 0; i < FOREIGN; i++) {
		uint64_t fd = numbers[i];

		assert_int_equal(CALL(caller, read, fd, to, 8), -EBADF);
		assert_int_equal(CALL(caller, readv, fd, to, 0), -EBADF);
		assert_int_equal(CALL(caller, pread64, fd, to, 8, 0), -EBADF);
		assert_int_equal(CALL(caller, write, fd, to, 8), -EBADF);
		assert_int_equal(CALL(caller, pwritev, fd, to, 1, 0), -EBADF);
		assert_int_equal(CALL(caller, sendfile, fd, fd, 0, 8), -EBADF);
		assert_int_equal(CALL(caller, lseek, fd, 0, 0), -EBADF);
		assert_int_equal(CALL(caller, ftruncate, fd, 0), -EBADF);
		assert_int_equal(CALL(caller, fsync, fd), -EBADF);
		assert_int_equal(CALL(caller, fdatasync, fd), -EBADF);
		assert_int_equal(CALL(caller, fadvise64, fd), -EBADF);
		assert_int_equal(CALL(caller, getdents64, fd, to, 256), -EBADF);
		assert_int_equal(guest_files_host_fd(caller->guest.files, fd), -EBADF);
	}
}

static void test_nothing_is_done_with_a_number_of_the_hosts(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 256), path = guest_text(caller, "file");
	uint64_t numbers[FOREIGN];

	foreign_numbers(caller, numbers);
	for (unsigned int i = 0; i < FOREIGN; i++) {
		uint64_t fd = numbers[i];

		assert_int_equal(CALL(caller, close, fd), -EBADF);
		assert_int_equal(CALL(caller, dup, fd), -EBADF);
		assert_int_equal(CALL(caller, dup2, fd, 5), -EBADF);
		assert_int_equal(CALL(caller, dup3, fd, 5, 0), -EBADF);
		assert_int_equal(CALL(caller, fcntl, fd, F_GETFL_OF_GUEST), -EBADF);
		assert_int_equal(CALL(caller, ioctl, fd, 0x5401), -EBADF);
		assert_int_equal(CALL(caller, fstat, fd, to), -EBADF);
		assert_int_equal(CALL(caller, fstatfs, fd, to), -EBADF);
		assert_int_equal(CALL(caller, fchdir, fd), -EBADF);
		assert_int_equal(CALL(caller, fchmod, fd, 0), -EBADF);
		assert_int_equal(CALL(caller, fchown, fd, 0, 0), -EBADF);
		assert_int_equal(CALL(caller, openat, fd, path, 0), -EBADF);
	}
}

static void test_a_directory_that_is_no_descriptor_does_not_matter_to_absolute_paths(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(CALL(caller, openat, 77, guest_text(caller, "/file"), 0), 0);
}

static void test_no_more_than_allowed_are_open(void **state)
{
	struct calling_guest *caller = *state;
	unsigned int before;

	caller->config.limits.files = 5;
	calling_guest_restart(caller);
	for (int i = 0; i < 5; i++)
		assert_int_equal(guest_open(caller, "file", 0), i);
	before = open_on_the_host();
	assert_int_equal(guest_open(caller, "file", 0), -EMFILE);
	assert_int_equal(CALL(caller, dup, 0), -EMFILE);
	assert_int_equal(CALL(caller, pipe2, guest_space(caller, 8), 0), -EMFILE);
	assert_int_equal(open_on_the_host(), before);
}

static void test_half_a_pipe_is_none(void **state)
{
	struct calling_guest *caller = *state;
	unsigned int before;

	caller->config.limits.files = 3;
	calling_guest_restart(caller);
	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(guest_open(caller, "file", 0), 1);
	before = open_on_the_host();
	assert_int_equal(CALL(caller, pipe, guest_space(caller, 8)), -EMFILE);
	assert_int_equal(open_on_the_host(), before);
	assert_int_equal(guest_open(caller, "file", 0), 2);
}

static void test_a_pipe_that_cannot_be_told_is_none(void **state)
{
	struct calling_guest *caller = *state;
	unsigned int before = open_on_the_host();

	assert_int_equal(CALL(caller, pipe, GUEST_ROOM_END), -EFAULT);
	assert_int_equal(open_on_the_host(), before);
	assert_int_equal(guest_open(caller, "file", 0), 0);
}

static void test_a_duplicate_shares_the_position(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 8);

	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(CALL(caller, dup, 0), 1);
	assert_int_equal(CALL(caller, read, 0, to, 2), 2);
	assert_int_equal(CALL(caller, close, 0), 0);
	assert_int_equal(CALL(caller, lseek, 1, 0, SEEK_CUR), 2);
}

static void test_a_duplicate_replaces_what_was_there(void **state)
{
	struct calling_guest *caller = *state;
	unsigned int before;

	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(guest_open(caller, "dir/file", 0), 1);
	before = open_on_the_host();
	assert_int_equal(CALL(caller, dup2, 0, 1), 1);
	assert_int_equal(open_on_the_host(), before - 1);
	assert_int_equal(CALL(caller, dup2, 0, 40), 40);
	assert_int_equal(CALL(caller, dup3, 0, 41, GUEST_O_CLOEXEC), 41);
	assert_int_equal(CALL(caller, fcntl, 41, F_GETFD_OF_GUEST), 1);
}

static void test_a_duplicate_onto_itself_changes_nothing(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 8);

	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(CALL(caller, dup2, 0, 0), 0);
	assert_int_equal(CALL(caller, dup3, 0, 0, 0), -EINVAL);
	assert_int_equal(CALL(caller, read, 0, to, 2), 2);
}

static void test_a_duplicate_has_a_number_that_is_allowed(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(CALL(caller, dup2, 0, GUEST_DEFAULT_FILES), -EBADF);
	assert_int_equal(CALL(caller, dup2, 0, UINT32_MAX), -EBADF);
	assert_int_equal(CALL(caller, fcntl, 0, F_DUPFD_OF_GUEST, GUEST_DEFAULT_FILES), -EINVAL);
	assert_int_equal(CALL(caller, fcntl, 0, F_DUPFD_OF_GUEST, (uint64_t)-1), -EINVAL);
	assert_int_equal(CALL(caller, fcntl, 0, F_DUPFD_OF_GUEST, 10), 10);
	assert_int_equal(CALL(caller, fcntl, 0, F_DUPFD_CLOEXEC_OF_GUEST, 10), 11);
	assert_int_equal(CALL(caller, fcntl, 11, F_GETFD_OF_GUEST), 1);
}

static void test_close_on_exec_belongs_to_the_number(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(guest_open(caller, "file", GUEST_O_CLOEXEC), 0);
	assert_int_equal(CALL(caller, dup, 0), 1);
	assert_int_equal(CALL(caller, fcntl, 0, F_GETFD_OF_GUEST), 1);
	assert_int_equal(CALL(caller, fcntl, 1, F_GETFD_OF_GUEST), 0);
	assert_int_equal(CALL(caller, fcntl, 1, F_SETFD_OF_GUEST, 1), 0);
	assert_int_equal(CALL(caller, fcntl, 1, F_GETFD_OF_GUEST), 1);
}

static void test_a_range_is_closed(void **state)
{
	struct calling_guest *caller = *state;

	for (int i = 0; i < 4; i++)
		assert_int_equal(guest_open(caller, "file", 0), i);
	assert_int_equal(CALL(caller, close_range, 2, 1, 0), -EINVAL);
	assert_int_equal(CALL(caller, close_range, 0, 9, 8), -EINVAL);
	assert_int_equal(CALL(caller, close_range, 0, 0, 4), 0);
	assert_int_equal(CALL(caller, fcntl, 0, F_GETFD_OF_GUEST), 1);
	assert_int_equal(CALL(caller, close_range, 1, UINT32_MAX, 0), 0);
	assert_int_equal(CALL(caller, close, 0), 0);
	assert_int_equal(CALL(caller, close, 1), -EBADF);
	assert_int_equal(CALL(caller, close, 3), -EBADF);
}

static void test_the_hosts_descriptors_are_closed_with_the_guest(void **state)
{
	struct calling_guest *caller = *state;
	unsigned int before;

	guest_files_destroy(caller->guest.files);
	before = open_on_the_host();
	assert_int_equal(guest_files_create(&caller->config, &caller->guest.files), 0);
	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(CALL(caller, dup, 0), 1);
	assert_int_equal(CALL(caller, pipe, guest_space(caller, 8)), 0);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir")), 0);
	guest_files_destroy(caller->guest.files);
	caller->guest.files = NULL;
	assert_int_equal(open_on_the_host(), before);
}

/* A program that the host starts at this moment must not inherit them. */
static void test_the_hosts_descriptors_are_closed_on_exec(void **state)
{
	struct calling_guest *caller = *state;
	bool before[1024];

	guest_files_destroy(caller->guest.files);
	for (int fd = 0; fd < 1024; fd++)
		before[fd] = fcntl(fd, F_GETFD) >= 0;
	assert_int_equal(guest_files_create(&caller->config, &caller->guest.files), 0);
	assert_int_equal(guest_open(caller, "file", 0), 0);
	assert_int_equal(guest_open(caller, "new", GUEST_O_CREAT | GUEST_O_WRONLY), 1);
	assert_int_equal(guest_open(caller, "/", GUEST_O_PATH), 2);
	assert_int_equal(CALL(caller, pipe, guest_space(caller, 8)), 0);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir")), 0);
	assert_int_equal(CALL(caller, fchdir, 2), 0);
	for (int fd = 0; fd < 1024; fd++)
		assert_true(before[fd] || fcntl(fd, F_GETFD) < 0 ||
			    fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_a_failed_call_leaves_nothing_open(void **state)
{
	struct calling_guest *caller = *state;
	unsigned int before = open_on_the_host();
	uint64_t file = guest_text(caller, "file"), none = guest_text(caller, "none/x");

	guest_open(caller, "file", GUEST_O_DIRECTORY);
	guest_open(caller, "dir", GUEST_O_WRONLY);
	guest_open(caller, "file", GUEST_O_CREAT | GUEST_O_EXCL);
	CALL(caller, stat, file, GUEST_ROOM_END);
	CALL(caller, readlink, file, GUEST_ROOM_START, 64);
	CALL(caller, mkdir, file, 0755);
	CALL(caller, rename, file, none);
	CALL(caller, link, file, none);
	CALL(caller, link, file, file);
	CALL(caller, chdir, file);
	CALL(caller, truncate, file, UINT64_MAX);
	CALL(caller, utimensat, GUEST_CWD, file, GUEST_ROOM_END, 0);
	assert_int_equal(open_on_the_host(), before);
}

static void test_stdio_that_the_guest_closes_stays_open(void **state)
{
	struct calling_guest *caller = *state;
	int fds[2];

	assert_return_code(pipe(fds), errno);
	caller->config.stdio[1] = fds[1];
	calling_guest_restart(caller);
	assert_int_equal(CALL(caller, close, 1), 0);
	assert_int_equal(CALL(caller, close, 1), -EBADF);
	assert_true(fcntl(fds[1], F_GETFD) >= 0);
	close(fds[0]);
	close(fds[1]);
}

static void test_stdio_that_the_guest_sets_nonblocking_waits_for_others(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 8);
	int fds[2];

	assert_return_code(pipe(fds), errno);
	caller->config.stdio[0] = fds[0];
	calling_guest_restart(caller);
	assert_int_equal(CALL(caller, fcntl, 0, F_SETFL_OF_GUEST, GUEST_O_NONBLOCK), 0);
	assert_int_equal(CALL(caller, fcntl, 0, F_GETFL_OF_GUEST), GUEST_O_NONBLOCK);
	assert_int_equal(CALL(caller, read, 0, to, 8), -EAGAIN);
	assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	close(fds[0]);
	close(fds[1]);
}

static void test_stdio_that_is_closed_is_no_descriptor(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 8);

	assert_int_equal(CALL(caller, write, 1, to, 8), -EBADF);
	assert_int_equal(guest_open(caller, "file", 0), 0);
}

static void test_stdio_that_the_host_has_not_is_an_error(void **state)
{
	struct calling_guest *caller = *state;
	struct guest_files *files;
	unsigned int before = open_on_the_host();

	caller->config.stdio[2] = 1023;
	assert_int_equal(guest_files_create(&caller->config, &files), -EBADF);
	assert_int_equal(open_on_the_host(), before);
}

static void test_a_root_that_is_no_directory_is_an_error(void **state)
{
	struct calling_guest *caller = *state;
	struct guest_files *files;
	struct guest_config config = caller->config;

	config.root = openat(caller->top, "secret", O_RDONLY | O_CLOEXEC);
	assert_int_equal(guest_files_create(&config, &files), -ENOTDIR);
	close(config.root);
}

static void test_nothing_is_a_terminal(void **state)
{
	struct calling_guest *caller = *state;

	caller->config.stdio[0] = 0;
	calling_guest_restart(caller);
	assert_int_equal(CALL(caller, ioctl, 0, 0x5401, GUEST_ROOM_START), -ENOTTY);
	/* TIOCSTI would type for whoever started us. */
	assert_int_equal(CALL(caller, ioctl, 0, 0x5412, GUEST_ROOM_START), -ENOTTY);
}

static void test_a_file_appended_to_is_written_at_its_end(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t from = guest_text(caller, "!");

	assert_int_equal(guest_open(caller, "file", GUEST_O_RDWR), 0);
	assert_int_equal(CALL(caller, fcntl, 0, F_SETFL_OF_GUEST, GUEST_O_APPEND), 0);
	assert_int_equal(CALL(caller, fcntl, 0, F_GETFL_OF_GUEST), GUEST_O_RDWR | GUEST_O_APPEND);
	assert_int_equal(CALL(caller, write, 0, from, 1), 1);
	assert_guest_file(caller, "file", INSIDE "!");
}

static void test_only_a_file_that_can_be_read_can_be_mapped(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(guest_open(caller, "file", GUEST_O_WRONLY), 0);
	assert_int_equal(guest_open(caller, "dir", 0), 1);
	assert_int_equal(guest_open(caller, "file", GUEST_O_PATH), 2);
	assert_int_equal(guest_open(caller, "file", 0), 3);
	assert_int_equal(guest_files_host_fd(caller->guest.files, 0), -EACCES);
	assert_int_equal(guest_files_host_fd(caller->guest.files, 1), -ENODEV);
	assert_int_equal(guest_files_host_fd(caller->guest.files, 2), -EBADF);
	assert_true(guest_files_host_fd(caller->guest.files, 3) >= 0);
}

#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, calling_guest_setup, calling_guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_lowest_free_number_is_taken),
		TEST(test_nothing_is_read_or_written_by_a_number_of_the_hosts),
		TEST(test_nothing_is_done_with_a_number_of_the_hosts),
		TEST(test_a_directory_that_is_no_descriptor_does_not_matter_to_absolute_paths),
		TEST(test_no_more_than_allowed_are_open),
		TEST(test_half_a_pipe_is_none),
		TEST(test_a_pipe_that_cannot_be_told_is_none),
		TEST(test_a_duplicate_shares_the_position),
		TEST(test_a_duplicate_replaces_what_was_there),
		TEST(test_a_duplicate_onto_itself_changes_nothing),
		TEST(test_a_duplicate_has_a_number_that_is_allowed),
		TEST(test_close_on_exec_belongs_to_the_number),
		TEST(test_a_range_is_closed),
		TEST(test_the_hosts_descriptors_are_closed_with_the_guest),
		TEST(test_the_hosts_descriptors_are_closed_on_exec),
		TEST(test_a_failed_call_leaves_nothing_open),
		TEST(test_stdio_that_the_guest_closes_stays_open),
		TEST(test_stdio_that_the_guest_sets_nonblocking_waits_for_others),
		TEST(test_stdio_that_is_closed_is_no_descriptor),
		TEST(test_stdio_that_the_host_has_not_is_an_error),
		TEST(test_a_root_that_is_no_directory_is_an_error),
		TEST(test_nothing_is_a_terminal),
		TEST(test_a_file_appended_to_is_written_at_its_end),
		TEST(test_only_a_file_that_can_be_read_can_be_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
