/* SPDX-License-Identifier: MIT */
/*
 * That a guest gets nothing outside of its root, whatever paths, links and descriptors it tries,
 * and whatever the host moves meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "calling_guest.h"

#include "guest_descriptors.h"
#include "guest_files.h"
#include "guest_paths.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 20000

/* A link in the root, made by the host, that leads to the directory above. */
static void link_out(const struct calling_guest *caller, const char *name, const char *target)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "root/%s", name);
	assert_return_code(symlinkat(target, caller->top, path), errno);
}

static void test_dot_dot_ends_at_the_root(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(guest_open(caller, "../secret", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "/../secret", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "dir/../../secret", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "//..//../..//secret", 0), -ENOENT);
	assert_guest_file(caller, "../../file", INSIDE);
}

static void test_dot_dot_leads_up_from_the_working_directory(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir")), 0);
	assert_guest_file(caller, "../file", INSIDE);
	assert_int_equal(guest_open(caller, "../../secret", 0), -ENOENT);
	assert_guest_file(caller, "../../../dir/file", INSIDE);
}

static void test_absolute_paths_begin_at_the_root(void **state)
{
	struct calling_guest *caller = *state;
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/secret", caller->path);
	assert_int_equal(guest_open(caller, path, 0), -ENOENT);
	assert_guest_file(caller, "/dir/file", INSIDE);
}

static void test_absolute_links_begin_at_the_root(void **state)
{
	struct calling_guest *caller = *state;
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/secret", caller->path);
	link_out(caller, "leak", path);
	link_out(caller, "fine", "/dir/file");
	assert_int_equal(guest_open(caller, "leak", 0), -ENOENT);
	assert_guest_file(caller, "fine", INSIDE);
}

static void test_relative_links_end_at_the_root(void **state)
{
	struct calling_guest *caller = *state;

	link_out(caller, "leak", "../secret");
	link_out(caller, "dir/leak", "../../secret");
	assert_int_equal(guest_open(caller, "leak", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "dir/leak", 0), -ENOENT);
}

static void test_links_in_the_middle_end_at_the_root(void **state)
{
	struct calling_guest *caller = *state;

	link_out(caller, "up", "..");
	link_out(caller, "top", caller->path);
	assert_int_equal(guest_open(caller, "up/secret", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "up/../up/./secret", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "top/secret", 0), -ENOENT);
	assert_guest_file(caller, "up/file", INSIDE);
}

/* A link of the guest's own making is no better. */
static void test_links_made_by_the_guest_stay_inside(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(CALL(caller, symlink, guest_text(caller, "../secret"),
			      guest_text(caller, "leak")),
			 0);
	assert_int_equal(guest_open(caller, "leak", 0), -ENOENT);
}

static void test_every_call_stays_inside(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t out = guest_text(caller, "up/secret"), leak = guest_text(caller, "leak");
	uint64_t file = guest_text(caller, "file"), to = guest_space(caller, 256);

	link_out(caller, "up", "..");
	link_out(caller, "leak", "../secret");
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t path = i ? leak : out;

		assert_int_equal(CALL(caller, stat, path, to), -ENOENT);
		assert_int_equal(CALL(caller, statx, GUEST_CWD, path, 0, 0xfff, to), -ENOENT);
		assert_int_equal(CALL(caller, statfs, path, to), -ENOENT);
		assert_int_equal(CALL(caller, access, path, 0), -ENOENT);
		assert_int_equal(CALL(caller, truncate, path, 0), -ENOENT);
		assert_int_equal(CALL(caller, chmod, path, 0777), -ENOENT);
		assert_int_equal(CALL(caller, chown, path, 0, 0), -ENOENT);
		assert_int_equal(CALL(caller, utimensat, GUEST_CWD, path, 0, 0), -ENOENT);
		assert_int_equal(CALL(caller, chdir, path), -ENOENT);
		assert_int_equal(CALL(caller, linkat, GUEST_CWD, path, GUEST_CWD, file,
				      GUEST_AT_SYMLINK_FOLLOW),
				 -ENOENT);
	}
	assert_int_equal(CALL(caller, unlink, out), -ENOENT);
	assert_int_equal(CALL(caller, rename, out, file), -ENOENT);
	assert_outside_untouched(caller);
}

static void test_what_is_made_is_made_inside(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t file = guest_text(caller, "file");
	int64_t fd;

	link_out(caller, "up", "..");
	link_out(caller, "dangling", "../new");
	fd = guest_open(caller, "up/opened", GUEST_O_CREAT | GUEST_O_WRONLY);
	assert_true(fd >= 0);
	fd = guest_open(caller, "dangling", GUEST_O_CREAT | GUEST_O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(CALL(caller, mkdir, guest_text(caller, "up/../made"), 0755), 0);
	assert_int_equal(CALL(caller, link, file, guest_text(caller, "../linked")), 0);
	assert_int_equal(CALL(caller, symlink, file, guest_text(caller, "/../up/soft")), 0);
	assert_int_equal(CALL(caller, rename, file, guest_text(caller, "up/moved")), 0);
	assert_true(host_has(caller, "root/opened"));
	assert_true(host_has(caller, "root/new"));
	assert_true(host_has(caller, "root/made"));
	assert_true(host_has(caller, "root/linked"));
	assert_true(host_has(caller, "root/soft"));
	assert_true(host_has(caller, "root/moved"));
	assert_outside_untouched(caller);
}

static void test_a_link_is_removed_and_not_what_it_leads_to(void **state)
{
	struct calling_guest *caller = *state;

	link_out(caller, "leak", "../secret");
	assert_int_equal(CALL(caller, unlink, guest_text(caller, "leak")), 0);
	assert_false(host_has(caller, "root/leak"));
	assert_outside_untouched(caller);
}

static void test_a_working_directory_moved_out_has_nothing(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 256);

	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir")), 0);
	assert_return_code(renameat(caller->top, "root/dir", caller->top, "dir"), errno);
	assert_int_equal(guest_open(caller, "file", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "../secret", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "new", GUEST_O_CREAT), -ENOENT);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "..")), -ENOENT);
	assert_int_equal(CALL(caller, getcwd, to, 256), -ENOENT);
	assert_guest_file(caller, "/file", INSIDE);
}

/* Its name begins as the root's does, but it is beside it. */
static void test_a_directory_with_a_name_like_the_roots_is_outside(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir")), 0);
	assert_return_code(renameat(caller->top, "root/dir", caller->top, "root2"), errno);
	assert_int_equal(guest_open(caller, "file", 0), -ENOENT);
}

static void test_a_working_directory_renamed_inside_keeps_working(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 256);
	char name[16] = "";

	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir")), 0);
	assert_return_code(renameat(caller->top, "root/dir", caller->top, "root/other"), errno);
	assert_guest_file(caller, "file", INSIDE);
	assert_guest_file(caller, "../file", INSIDE);
	assert_int_equal(CALL(caller, getcwd, to, 256), sizeof("/other"));
	guest_get(caller, to, name, sizeof("/other"));
	assert_string_equal(name, "/other");
}

static void test_a_root_that_is_moved_stays_the_root(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir")), 0);
	assert_return_code(renameat(caller->top, "root", caller->top, "moved"), errno);
	assert_guest_file(caller, "file", INSIDE);
	assert_guest_file(caller, "../../file", INSIDE);
	assert_int_equal(guest_open(caller, "../../secret", 0), -ENOENT);
}

static void test_a_removed_working_directory_has_nothing(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 256);

	assert_int_equal(CALL(caller, mkdir, guest_text(caller, "gone"), 0755), 0);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "gone")), 0);
	assert_int_equal(CALL(caller, rmdir, guest_text(caller, "/gone")), 0);
	assert_int_equal(CALL(caller, mkdir, guest_text(caller, "/gone (deleted)"), 0755), 0);
	assert_int_equal(guest_open(caller, "..", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "new", GUEST_O_CREAT), -ENOENT);
	assert_int_equal(CALL(caller, getcwd, to, 256), -ENOENT);
}

static void test_a_directory_descriptor_moved_out_has_nothing(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t dir = (uint64_t)guest_open(caller, "dir", GUEST_O_DIRECTORY);

	assert_int_equal(CALL(caller, openat, dir, guest_text(caller, "../../secret"), 0), -ENOENT);
	assert_return_code(renameat(caller->top, "root/dir", caller->top, "dir"), errno);
	assert_int_equal(CALL(caller, openat, dir, guest_text(caller, "file"), 0), -ENOENT);
	assert_int_equal(CALL(caller, openat, dir, guest_text(caller, "../secret"), 0), -ENOENT);
	assert_int_equal(CALL(caller, mkdirat, dir, guest_text(caller, "new"), 0755), -ENOENT);
	assert_int_equal(CALL(caller, fchdir, dir), 0);
	assert_int_equal(guest_open(caller, "file", 0), -ENOENT);
}

static void test_a_path_descriptor_leads_nowhere_else(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 16), empty = guest_text(caller, ""), fd;

	link_out(caller, "leak", "../secret");
	fd = (uint64_t)guest_open(caller, "leak", GUEST_O_PATH | GUEST_O_NOFOLLOW);
	assert_true((int64_t)fd >= 0);
	assert_int_equal(CALL(caller, read, fd, to, 16), -EBADF);
	assert_int_equal(CALL(caller, openat, fd, guest_text(caller, "x"), 0), -ENOTDIR);
	assert_int_equal(CALL(caller, openat, fd, empty, 0), -ENOENT);
	assert_int_equal(CALL(caller, fchmod, fd, 0777), -EBADF);
	fd = (uint64_t)guest_open(caller, "/", GUEST_O_PATH);
	assert_int_equal(CALL(caller, openat, fd, guest_text(caller, "../secret"), 0), -ENOENT);
	assert_outside_untouched(caller);
}

static void test_a_directory_that_is_stdin_is_no_place_to_begin(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 64);

	caller->config.stdio[0] = caller->top;
	calling_guest_restart(caller);
	assert_int_equal(CALL(caller, openat, 0, guest_text(caller, "secret"), 0), -ENOTDIR);
	assert_int_equal(CALL(caller, fchdir, 0), -ENOTDIR);
	assert_int_equal(CALL(caller, getdents64, 0, to, 64), -ENOTDIR);
	assert_int_equal(CALL(caller, unlinkat, 0, guest_text(caller, "secret"), 0), -ENOTDIR);
	assert_outside_untouched(caller);
}

/* Even where the host's /proc is below the root. */
static void test_proc_is_not_there(void **state)
{
	struct calling_guest *caller = *state;
	int root = caller->config.root;

	caller->config.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	calling_guest_restart(caller);
	assert_int_equal(guest_open(caller, "/proc/self/mem", GUEST_O_RDWR), -EXDEV);
	assert_int_equal(guest_open(caller, "/proc/self/fd/0", 0), -EXDEV);
	assert_int_equal(guest_open(caller, "/proc/self/cwd", GUEST_O_PATH), -EXDEV);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "/proc")), -EXDEV);
	close(caller->config.root);
	caller->config.root = root;
}

static void test_proc_is_no_root(void **state)
{
	struct calling_guest *caller = *state;
	struct guest_config config = caller->config;
	struct guest_files *files;

	config.root = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_return_code(config.root, errno);
	assert_int_equal(guest_files_create(&config, &files), -EPERM);
	close(config.root);
}

static void test_a_fifo_is_not_waited_for(void **state)
{
	struct calling_guest *caller = *state;

	assert_return_code(mkfifoat(caller->top, "root/fifo", 0666), errno);
	assert_int_equal(guest_open(caller, "fifo", 0), -EACCES);
	assert_int_equal(guest_open(caller, "fifo", GUEST_O_WRONLY), -EACCES);
	assert_int_equal(guest_open(caller, "fifo", GUEST_O_CREAT | GUEST_O_RDWR), -EACCES);
	assert_int_equal(CALL(caller, truncate, guest_text(caller, "fifo"), 0), -EINVAL);
}

static void test_a_socket_is_not_opened(void **state)
{
	struct calling_guest *caller = *state;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/root/socket",
		 caller->top);
	assert_return_code(bind(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	assert_int_equal(guest_open(caller, "socket", GUEST_O_RDWR), -EACCES);
	close(fd);
}

static void test_a_device_is_not_opened(void **state)
{
	struct calling_guest *caller = *state;

	if (mknodat(caller->top, "root/zero", S_IFCHR | 0666, makedev(1, 5))) {
		print_message("skipped: making a device takes CAP_MKNOD\n");
		skip();
	}
	assert_int_equal(guest_open(caller, "zero", 0), -EACCES);
	assert_int_equal(guest_open(caller, "zero", GUEST_O_CREAT | GUEST_O_WRONLY), -EACCES);
	assert_int_equal(CALL(caller, chmod, guest_text(caller, "zero"), 0777), -EPERM);
}

static void test_nothing_is_set_user_id(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t path = guest_text(caller, "new");
	struct stat st;
	int64_t fd = CALL(caller, open, path, GUEST_O_CREAT | GUEST_O_WRONLY, 06755);

	assert_true(fd >= 0);
	assert_int_equal(CALL(caller, chmod, path, 06777), 0);
	assert_int_equal(fstatat(caller->top, "root/new", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0777);
	assert_int_equal(CALL(caller, fchmod, (uint64_t)fd, 06711), 0);
	assert_int_equal(fstatat(caller->top, "root/new", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	assert_int_equal(CALL(caller, mkdir, guest_text(caller, "made"), 06755), 0);
	assert_int_equal(fstatat(caller->top, "root/made", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

static void test_no_file_is_given_away(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t path = guest_text(caller, "file");

	assert_int_equal(CALL(caller, chown, path, getuid(), (uint32_t)-1), 0);
	assert_int_equal(CALL(caller, chown, path, getuid() + 1, (uint32_t)-1), -EPERM);
	assert_int_equal(CALL(caller, lchown, path, (uint32_t)-1, getgid() + 1), -EPERM);
}

static void test_the_files_that_are_stdio_keep_their_attributes(void **state)
{
	struct calling_guest *caller = *state;
	int fd = openat(caller->top, "secret", O_RDWR | O_CLOEXEC);

	caller->config.stdio[1] = fd;
	calling_guest_restart(caller);
	assert_int_equal(CALL(caller, fchmod, 1, 0777), -EPERM);
	assert_int_equal(CALL(caller, fchown, 1, 0, 0), -EPERM);
	assert_int_equal(CALL(caller, utimensat, 1, 0, 0, 0), -EPERM);
	assert_int_equal(CALL(caller, ftruncate, 1, 0), -EINVAL);
	assert_int_equal(CALL(caller, linkat, 1, guest_text(caller, ""), GUEST_CWD,
			      guest_text(caller, "x"), GUEST_AT_EMPTY_PATH),
			 -EINVAL);
	assert_outside_untouched(caller);
	close(fd);
}

static void test_without_a_root_no_path_is_there(void **state)
{
	struct calling_guest *caller = *state;
	int root = caller->config.root;
	uint64_t to = guest_space(caller, 256);

	caller->config.root = -1;
	calling_guest_restart(caller);
	assert_int_equal(guest_open(caller, "/", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "new", GUEST_O_CREAT), -ENOENT);
	assert_int_equal(CALL(caller, mkdir, guest_text(caller, "new"), 0755), -ENOENT);
	assert_int_equal(CALL(caller, stat, guest_text(caller, "."), to), -ENOENT);
	caller->config.root = root;
}

/* Swaps two names in the root until it is told to end. */
struct swapper {
	int top;
	const char *a;
	const char *b;
	_Atomic bool end;
	pthread_t thread;
};

static void *swap(void *arg)
{
	struct swapper *swapper = arg;

	while (!atomic_load(&swapper->end))
		renameat2(swapper->top, swapper->a, swapper->top, swapper->b, RENAME_EXCHANGE);
	return NULL;
}

static void start_swapping(struct swapper *swapper)
{
	assert_int_equal(pthread_create(&swapper->thread, NULL, swap, swapper), 0);
}

static void stop_swapping(struct swapper *swapper)
{
	atomic_store(&swapper->end, true);
	pthread_join(swapper->thread, NULL);
}

/* Opens a file again and again, which must be the one inside or none. How often it was that one. */
static unsigned int read_while_swapping(struct calling_guest *caller, struct swapper *swapper,
					const char *path)
{
	unsigned int read = 0;

	start_swapping(swapper);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		int64_t fd = guest_open(caller, path, 0);
		uint64_t to = guest_space(caller, 64);
		char text[64] = "";

		if (fd < 0)
			continue;
		assert_int_equal(CALL(caller, read, (uint64_t)fd, to, 63), strlen(INSIDE));
		guest_get(caller, to, text, strlen(INSIDE));
		assert_string_equal(text, INSIDE);
		assert_int_equal(CALL(caller, close, (uint64_t)fd), 0);
		read++;
	}
	stop_swapping(swapper);
	return read;
}

static void test_a_directory_swapped_with_a_link_out_leads_nowhere(void **state)
{
	struct calling_guest *caller = *state;
	struct swapper swapper = { .top = caller->top, .a = "root/dir", .b = "root/link" };

	host_write(caller, "file", SECRET);
	link_out(caller, "link", "..");
	host_write(caller, "root/file", INSIDE);
	assert_int_not_equal(read_while_swapping(caller, &swapper, "dir/../dir/file"), 0);
}

/* The guest is below what moves, and ".." may then be anywhere. */
static void test_a_directory_swapped_with_one_outside_leads_nowhere(void **state)
{
	struct calling_guest *caller = *state;
	struct swapper swapper = { .top = caller->top, .a = "root/dir", .b = "dir" };

	assert_return_code(mkdirat(caller->top, "dir", 0755), errno);
	assert_return_code(mkdirat(caller->top, "dir/sub", 0755), errno);
	assert_return_code(mkdirat(caller->top, "root/dir/sub", 0755), errno);
	host_write(caller, "file", SECRET);
	read_while_swapping(caller, &swapper, "dir/sub/../../file");
}

static void test_nothing_is_made_or_removed_outside_while_links_are_swapped(void **state)
{
	struct calling_guest *caller = *state;
	struct swapper swapper = { .top = caller->top, .a = "root/dir", .b = "root/link" };

	link_out(caller, "link", caller->path);
	start_swapping(&swapper);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t made = guest_text(caller, "dir/made");
		int64_t fd;

		CALL(caller, mkdir, made, 0755);
		CALL(caller, rmdir, made);
		fd = guest_open(caller, "dir/made", GUEST_O_CREAT | GUEST_O_WRONLY);
		if (fd >= 0)
			CALL(caller, close, (uint64_t)fd);
		CALL(caller, rename, made, guest_text(caller, "dir/../dir/other"));
		CALL(caller, unlink, guest_text(caller, "dir/secret"));
		CALL(caller, chmod, guest_text(caller, "dir/secret"), 0777);
	}
	stop_swapping(&swapper);
	assert_outside_untouched(caller);
}

#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, calling_guest_setup, calling_guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_dot_dot_ends_at_the_root),
		TEST(test_dot_dot_leads_up_from_the_working_directory),
		TEST(test_absolute_paths_begin_at_the_root),
		TEST(test_absolute_links_begin_at_the_root),
		TEST(test_relative_links_end_at_the_root),
		TEST(test_links_in_the_middle_end_at_the_root),
		TEST(test_links_made_by_the_guest_stay_inside),
		TEST(test_every_call_stays_inside),
		TEST(test_what_is_made_is_made_inside),
		TEST(test_a_link_is_removed_and_not_what_it_leads_to),
		TEST(test_a_working_directory_moved_out_has_nothing),
		TEST(test_a_directory_with_a_name_like_the_roots_is_outside),
		TEST(test_a_working_directory_renamed_inside_keeps_working),
		TEST(test_a_root_that_is_moved_stays_the_root),
		TEST(test_a_removed_working_directory_has_nothing),
		TEST(test_a_directory_descriptor_moved_out_has_nothing),
		TEST(test_a_path_descriptor_leads_nowhere_else),
		TEST(test_a_directory_that_is_stdin_is_no_place_to_begin),
		TEST(test_proc_is_not_there),
		TEST(test_proc_is_no_root),
		TEST(test_a_fifo_is_not_waited_for),
		TEST(test_a_socket_is_not_opened),
		TEST(test_a_device_is_not_opened),
		TEST(test_nothing_is_set_user_id),
		TEST(test_no_file_is_given_away),
		TEST(test_the_files_that_are_stdio_keep_their_attributes),
		TEST(test_without_a_root_no_path_is_there),
		TEST(test_a_directory_swapped_with_a_link_out_leads_nowhere),
		TEST(test_a_directory_swapped_with_one_outside_leads_nowhere),
		TEST(test_nothing_is_made_or_removed_outside_while_links_are_swapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
