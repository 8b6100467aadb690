/* SPDX-License-Identifier: MIT */
/*
 * What a guest does with names, and what it learns of the files behind them, is what Linux would
 * have done and said.
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
#include <sys/stat.h>
#include <unistd.h>

/* Where x86-64's struct stat has what is looked at here. */
#define STAT_SIZE 144
#define STAT_INO 8
#define STAT_NLINK 16
#define STAT_MODE 24
#define STAT_LENGTH 48
#define STAT_MTIME 88

static uint64_t number_at(struct calling_guest *caller, uint64_t gpa, size_t size)
{
	uint64_t number = 0;

	guest_get(caller, gpa, &number, size);
	return number;
}

static int64_t make(struct calling_guest *caller, const char *path)
{
	return CALL(caller, mkdir, guest_text(caller, path), 0755);
}

static int64_t move(struct calling_guest *caller, const char *from, const char *to)
{
	uint64_t a = guest_text(caller, from), b = guest_text(caller, to);

	return CALL(caller, rename, a, b);
}

static void test_open_says_what_is_wrong(void **state)
{
	struct calling_guest *caller = *state;
	char name[NAME_MAX + 2], path[PATH_MAX + 1];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(path, '/', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(guest_open(caller, "", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "none", 0), -ENOENT);
	assert_int_equal(guest_open(caller, "file/x", 0), -ENOTDIR);
	assert_int_equal(guest_open(caller, "file/", 0), -ENOTDIR);
	assert_int_equal(guest_open(caller, "file", GUEST_O_DIRECTORY), -ENOTDIR);
	assert_int_equal(guest_open(caller, "dir", GUEST_O_WRONLY), -EISDIR);
	assert_int_equal(guest_open(caller, "dir", GUEST_O_CREAT), -EISDIR);
	assert_int_equal(guest_open(caller, "new/", GUEST_O_CREAT), -EISDIR);
	assert_int_equal(guest_open(caller, "file", GUEST_O_CREAT | GUEST_O_EXCL), -EEXIST);
	assert_int_equal(guest_open(caller, "file", GUEST_O_ACCMODE), -EINVAL);
	assert_int_equal(guest_open(caller, "dir",
				    GUEST_O_TMPFILE | GUEST_O_DIRECTORY | GUEST_O_RDWR),
			 -EOPNOTSUPP);
	assert_int_equal(guest_open(caller, name, 0), -ENAMETOOLONG);
	assert_int_equal(make(caller, name), -ENAMETOOLONG);
	assert_int_equal(guest_open(caller, path, 0), -ENAMETOOLONG);
}

static void test_a_link_is_not_opened_if_it_shall_not_be_followed(void **state)
{
	struct calling_guest *caller = *state;

	assert_return_code(symlinkat("file", caller->top, "root/link"), errno);
	assert_int_equal(guest_open(caller, "link", GUEST_O_NOFOLLOW), -ELOOP);
	assert_int_equal(guest_open(caller, "link", GUEST_O_CREAT | GUEST_O_EXCL), -EEXIST);
	assert_guest_file(caller, "link", INSIDE);
}

static void test_links_in_a_ring_are_an_error(void **state)
{
	struct calling_guest *caller = *state;

	assert_return_code(symlinkat("b", caller->top, "root/a"), errno);
	assert_return_code(symlinkat("a", caller->top, "root/b"), errno);
	assert_int_equal(guest_open(caller, "a", 0), -ELOOP);
	assert_int_equal(guest_open(caller, "a", GUEST_O_CREAT | GUEST_O_WRONLY), -ELOOP);
}

static void test_a_file_is_truncated_when_opened_so(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(guest_open(caller, "file", GUEST_O_WRONLY | GUEST_O_TRUNC), 0);
	assert_guest_file(caller, "file", "");
	assert_int_equal(CALL(caller, creat, guest_text(caller, "dir/file"), 0644), 1);
	assert_guest_file(caller, "dir/file", "");
}

static void test_the_umask_is_the_guests(void **state)
{
	struct calling_guest *caller = *state;
	struct stat st;

	assert_int_equal(CALL(caller, umask, 0677), 022);
	assert_int_equal(CALL(caller, umask, 0777177), 0677);
	assert_int_equal(CALL(caller, open, guest_text(caller, "new"),
			      GUEST_O_CREAT | GUEST_O_WRONLY, 0777),
			 0);
	assert_int_equal(fstatat(caller->top, "root/new", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_stat_is_laid_out_as_x86_64_has_it(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t file = guest_text(caller, "file"), to = guest_space(caller, STAT_SIZE + 8);
	struct stat st;

	assert_int_equal(fstatat(caller->top, "root/file", &st, 0), 0);
	assert_int_equal(CALL(caller, stat, file, to), 0);
	assert_true(number_at(caller, to + STAT_INO, 8) == st.st_ino);
	assert_true(number_at(caller, to + STAT_NLINK, 8) == 1);
	assert_true(number_at(caller, to + STAT_MODE, 4) == st.st_mode);
	assert_true(number_at(caller, to + STAT_LENGTH, 8) == strlen(INSIDE));
	assert_true(number_at(caller, to + STAT_MTIME, 8) == (uint64_t)st.st_mtim.tv_sec);
	assert_true(number_at(caller, to + STAT_SIZE, 8) == 0);
}

static void test_every_stat_tells_the_same(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t file = guest_text(caller, "file"), empty = guest_text(caller, "");
	uint64_t to[5];
	char first[STAT_SIZE], other[STAT_SIZE];

	for (unsigned int i = 0; i < 5; i++)
		to[i] = guest_space(caller, STAT_SIZE);
	assert_int_equal(guest_open(caller, "file", GUEST_O_PATH), 0);
	assert_int_equal(CALL(caller, stat, file, to[0]), 0);
	assert_int_equal(CALL(caller, lstat, file, to[1]), 0);
	assert_int_equal(CALL(caller, fstat, 0, to[2]), 0);
	assert_int_equal(CALL(caller, newfstatat, GUEST_CWD, file, to[3], 0), 0);
	assert_int_equal(CALL(caller, newfstatat, 0, empty, to[4], GUEST_AT_EMPTY_PATH), 0);
	guest_get(caller, to[0], first, STAT_SIZE);
	for (unsigned int i = 1; i < 5; i++) {
		guest_get(caller, to[i], other, STAT_SIZE);
		assert_memory_equal(first, other, STAT_SIZE);
	}
}

static void test_statx_tells_what_the_host_is_told(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t file = guest_text(caller, "file"), to = guest_space(caller, sizeof(struct statx));
	struct statx host, guest;

	assert_int_equal(statx(caller->top, "root/file", 0, STATX_BASIC_STATS, &host), 0);
	assert_int_equal(CALL(caller, statx, GUEST_CWD, file, 0, STATX_BASIC_STATS, to), 0);
	guest_get(caller, to, &guest, sizeof(guest));
	assert_memory_equal(&host, &guest, sizeof(host));
	assert_int_equal(CALL(caller, statx, GUEST_CWD, file, 0x10000, 0, to), -EINVAL);
}

static void test_a_link_has_a_stat_of_its_own(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t link = guest_text(caller, "link"), to = guest_space(caller, STAT_SIZE);

	assert_return_code(symlinkat("nowhere", caller->top, "root/link"), errno);
	assert_int_equal(CALL(caller, stat, link, to), -ENOENT);
	assert_int_equal(CALL(caller, lstat, link, to), 0);
	assert_true(S_ISLNK(number_at(caller, to + STAT_MODE, 4)));
	assert_int_equal(CALL(caller, newfstatat, GUEST_CWD, link, to, GUEST_AT_SYMLINK_NOFOLLOW),
			 0);
	assert_int_equal(CALL(caller, newfstatat, GUEST_CWD, link, to, 0x10000), -EINVAL);
}

static void test_a_link_says_where_it_leads(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t link = guest_text(caller, "link"), to = guest_space(caller, 16);
	char text[16] = "";

	assert_return_code(symlinkat("nowhere", caller->top, "root/link"), errno);
	assert_int_equal(CALL(caller, readlink, link, to, 16), 7);
	guest_get(caller, to, text, 7);
	assert_string_equal(text, "nowhere");
	assert_int_equal(CALL(caller, readlink, link, to, 3), 3);
	assert_int_equal(CALL(caller, readlink, link, to, 0), -EINVAL);
	assert_int_equal(CALL(caller, readlink, guest_text(caller, "file"), to, 16), -EINVAL);
}

static void test_access_is_what_the_host_has(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t file = guest_text(caller, "file");

	assert_int_equal(CALL(caller, access, file, F_OK), 0);
	assert_int_equal(CALL(caller, access, file, R_OK | W_OK), 0);
	assert_int_equal(CALL(caller, access, file, X_OK), -EACCES);
	assert_int_equal(CALL(caller, access, file, 8), -EINVAL);
	assert_int_equal(CALL(caller, faccessat, GUEST_CWD, file, R_OK), 0);
	assert_int_equal(CALL(caller, faccessat2, GUEST_CWD, file, R_OK, GUEST_AT_EACCESS), 0);
	assert_int_equal(CALL(caller, faccessat2, GUEST_CWD, file, R_OK, 1), -EINVAL);
}

static void test_paths_that_end_in_no_name_are_neither_made_nor_removed(void **state)
{
	struct calling_guest *caller = *state;
	const char *nameless[] = { "/", "//", ".", "..", "dir/.", "dir/..", "dir/../", "/.." };

	for (unsigned int i = 0; i < sizeof(nameless) / sizeof(nameless[0]); i++) {
		uint64_t path = guest_text(caller, nameless[i]), file = guest_text(caller, "file");

		assert_int_equal(CALL(caller, mkdir, path, 0755), -EEXIST);
		assert_int_equal(CALL(caller, rmdir, path), -EINVAL);
		assert_int_equal(CALL(caller, unlink, path), -EISDIR);
		assert_int_equal(CALL(caller, rename, path, file), -EBUSY);
		assert_int_equal(CALL(caller, rename, file, path), -EBUSY);
		assert_int_equal(CALL(caller, link, file, path), -EEXIST);
		assert_int_equal(CALL(caller, symlink, file, path), -EEXIST);
	}
	assert_true(host_has(caller, "root/dir/file"));
}

static void test_a_slash_behind_a_name_is_for_directories(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(make(caller, "made//"), 0);
	assert_int_equal(CALL(caller, unlink, guest_text(caller, "file/")), -ENOTDIR);
	assert_int_equal(move(caller, "file/", "x"), -ENOTDIR);
	assert_int_equal(move(caller, "file", "x/"), -ENOTDIR);
	assert_int_equal(move(caller, "made/", "x/"), 0);
	assert_int_equal(CALL(caller, symlink, guest_text(caller, "a"), guest_text(caller, "b/")),
			 -ENOENT);
	assert_int_equal(CALL(caller, link, guest_text(caller, "file"), guest_text(caller, "b/")),
			 -ENOENT);
	assert_int_equal(CALL(caller, rmdir, guest_text(caller, "x/")), 0);
	assert_false(host_has(caller, "root/x"));
}

static void test_names_are_made_and_removed(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t dir = (uint64_t)guest_open(caller, "dir", GUEST_O_DIRECTORY);

	assert_int_equal(CALL(caller, mkdirat, dir, guest_text(caller, "a"), 0755), 0);
	assert_int_equal(CALL(caller, unlinkat, dir, guest_text(caller, "a"), 0), -EISDIR);
	assert_int_equal(CALL(caller, unlinkat, dir, guest_text(caller, "a"), GUEST_AT_REMOVEDIR),
			 0);
	assert_int_equal(CALL(caller, unlinkat, dir, guest_text(caller, "file"),
			      GUEST_AT_REMOVEDIR),
			 -ENOTDIR);
	assert_int_equal(CALL(caller, unlinkat, dir, guest_text(caller, "file"), 1), -EINVAL);
	assert_int_equal(CALL(caller, rmdir, guest_text(caller, "dir")), -ENOTEMPTY);
	assert_int_equal(CALL(caller, unlinkat, dir, guest_text(caller, "file"), 0), 0);
	assert_int_equal(CALL(caller, rmdir, guest_text(caller, "dir")), 0);
	assert_false(host_has(caller, "root/dir"));
}

static void test_names_move(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t a = guest_text(caller, "a"), b = guest_text(caller, "dir/b"), dir;

	assert_int_equal(move(caller, "file", "a"), 0);
	assert_int_equal(CALL(caller, renameat, GUEST_CWD, a, GUEST_CWD, b), 0);
	assert_guest_file(caller, "dir/b", INSIDE);
	assert_int_equal(move(caller, "dir", "dir/x"), -EINVAL);
	dir = (uint64_t)guest_open(caller, "dir", GUEST_O_DIRECTORY);
	assert_int_equal(CALL(caller, renameat2, dir, guest_text(caller, "b"), dir,
			      guest_text(caller, "file"), 1),
			 -EEXIST);
	/* RENAME_WHITEOUT makes a device. */
	assert_int_equal(CALL(caller, renameat2, GUEST_CWD, b, GUEST_CWD, a, 4), -EINVAL);
}

static void test_a_link_is_another_name(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t file = guest_text(caller, "file"), soft = guest_text(caller, "soft");
	struct stat st;

	assert_int_equal(CALL(caller, symlink, file, soft), 0);
	assert_int_equal(CALL(caller, link, soft, guest_text(caller, "again")), 0);
	assert_int_equal(fstatat(caller->top, "root/again", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(CALL(caller, linkat, GUEST_CWD, soft, GUEST_CWD,
			      guest_text(caller, "hard"), GUEST_AT_SYMLINK_FOLLOW),
			 0);
	assert_int_equal(fstatat(caller->top, "root/hard", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(CALL(caller, link, file, soft), -EEXIST);
}

static void test_times_are_set(void **state)
{
	struct calling_guest *caller = *state;
	const int64_t times[4] = { 1000, 1, 2000, 2 }, wrong[4] = { 0, 1000000000, 0, 0 };
	uint64_t to = guest_put(caller, times, sizeof(times)), file = guest_text(caller, "file");
	struct stat st;

	assert_int_equal(CALL(caller, utimensat, GUEST_CWD, file, to, 0), 0);
	assert_int_equal(fstatat(caller->top, "root/file", &st, 0), 0);
	assert_int_equal(st.st_atim.tv_sec, 1000);
	assert_int_equal(st.st_mtim.tv_nsec, 2);
	assert_int_equal(guest_open(caller, "dir/file", 0), 0);
	assert_int_equal(CALL(caller, utimensat, 0, 0, to, 0), 0);
	assert_int_equal(fstatat(caller->top, "root/dir/file", &st, 0), 0);
	assert_int_equal(st.st_mtim.tv_sec, 2000);
	to = guest_put(caller, wrong, sizeof(wrong));
	assert_int_equal(CALL(caller, utimensat, GUEST_CWD, file, to, 0), -EINVAL);
	assert_int_equal(CALL(caller, utimensat, GUEST_CWD, file, 0, 0x10), -EINVAL);
}

static void test_a_directory_lists_its_names(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 4096);
	unsigned char entries[4096];
	unsigned int seen = 0;
	int64_t len;

	assert_int_equal(guest_open(caller, "/", GUEST_O_DIRECTORY), 0);
	len = CALL(caller, getdents64, 0, to, 4096);
	assert_true(len > 0 && len < 4096);
	guest_get(caller, to, entries, (size_t)len);
	for (int64_t at = 0; at < len; at += entries[at + 16]) {
		const char *name = (const char *)entries + at + 19;

		seen += !strcmp(name, "file") || !strcmp(name, "dir") || !strcmp(name, ".") ||
			!strcmp(name, "..");
		assert_true(entries[at + 16] != 0);
	}
	assert_int_equal(seen, 4);
	assert_int_equal(CALL(caller, getdents64, 0, to, 4096), 0);
}

static void test_entries_that_do_not_fit_are_an_error_that_loses_nothing(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 4096);

	assert_int_equal(guest_open(caller, "/", GUEST_O_DIRECTORY), 0);
	assert_int_equal(guest_open(caller, "file", 0), 1);
	assert_int_equal(CALL(caller, getdents64, 0, to, 0), -EINVAL);
	assert_int_equal(CALL(caller, getdents64, 0, to, 8), -EINVAL);
	assert_int_equal(CALL(caller, getdents64, 0, GUEST_ROOM_END - 8, 4096), -EFAULT);
	assert_int_equal(CALL(caller, getdents64, 1, to, 4096), -ENOTDIR);
	assert_true(CALL(caller, getdents64, 0, to, 4096) >= 4 * 24);
}

static void test_the_working_directory_has_a_name(void **state)
{
	struct calling_guest *caller = *state;
	uint64_t to = guest_space(caller, 64);
	char name[64] = "";

	assert_int_equal(CALL(caller, getcwd, to, 64), 2);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "dir/../dir/.")), 0);
	assert_int_equal(CALL(caller, getcwd, to, 64), sizeof("/dir"));
	guest_get(caller, to, name, sizeof("/dir"));
	assert_string_equal(name, "/dir");
	assert_int_equal(CALL(caller, getcwd, to, 4), -ERANGE);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "/")), 0);
	assert_int_equal(CALL(caller, getcwd, to, 2), 2);
	assert_int_equal(CALL(caller, chdir, guest_text(caller, "file")), -ENOTDIR);
}

static void test_a_descriptor_becomes_the_working_directory(void **state)
{
	struct calling_guest *caller = *state;

	assert_int_equal(guest_open(caller, "dir", GUEST_O_PATH), 0);
	assert_int_equal(guest_open(caller, "file", 0), 1);
	assert_int_equal(CALL(caller, fchdir, 1), -ENOTDIR);
	assert_int_equal(CALL(caller, fchdir, 0), 0);
	assert_int_equal(CALL(caller, close, 0), 0);
	assert_guest_file(caller, "../dir/file", INSIDE);
}

#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, calling_guest_setup, calling_guest_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_says_what_is_wrong),
		TEST(test_a_link_is_not_opened_if_it_shall_not_be_followed),
		TEST(test_links_in_a_ring_are_an_error),
		TEST(test_a_file_is_truncated_when_opened_so),
		TEST(test_the_umask_is_the_guests),
		TEST(test_stat_is_laid_out_as_x86_64_has_it),
		TEST(test_every_stat_tells_the_same),
		TEST(test_statx_tells_what_the_host_is_told),
		TEST(test_a_link_has_a_stat_of_its_own),
		TEST(test_a_link_says_where_it_leads),
		TEST(test_access_is_what_the_host_has),
		TEST(test_paths_that_end_in_no_name_are_neither_made_nor_removed),
		TEST(test_a_slash_behind_a_name_is_for_directories),
		TEST(test_names_are_made_and_removed),
		TEST(test_names_move),
		TEST(test_a_link_is_another_name),
		TEST(test_times_are_set),
		TEST(test_a_directory_lists_its_names),
		TEST(test_entries_that_do_not_fit_are_an_error_that_loses_nothing),
		TEST(test_the_working_directory_has_a_name),
		TEST(test_a_descriptor_becomes_the_working_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
