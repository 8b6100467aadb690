/* SPDX-License-Identifier: MIT */
/*
 * The tier in a file: which paths it takes, and what it makes of a system that writes
 * less than it was asked to, is interrupted, has no more room, or fails.
 */
#include "pool/descriptors.h"
#include "file_faults.h"
#include "pages.h"
#include "tier_path.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stage2/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PAGES 64
#define TIER_SIZE (PAGES * S2_PAGE_SIZE)

static char other_path[96];

static struct s2_pool_tier *tier_begin(void)
{
	struct s2_pool_tier *tier = NULL;

	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, &tier), 0);
	return tier;
}

static int store(struct s2_pool_tier *tier, uint64_t number, uint64_t *slot)
{
	char page[S2_PAGE_SIZE];

	page_make(PAGE_RANDOM, number, page);
	return tier->ops->store(tier, page, slot);
}

static bool holds(struct s2_pool_tier *tier, uint64_t number, uint64_t slot)
{
	char page[S2_PAGE_SIZE];

	memset(page, 0x5a, sizeof(page));
	return !tier->ops->load(tier, slot, page) && page_is(PAGE_RANDOM, number, page);
}

static unsigned fill(struct s2_pool_tier *tier, uint64_t *slots)
{
	unsigned n = 0;

	while (n <= PAGES && !store(tier, n, &slots[n]))
		n++;
	return n;
}

static void test_slots_are_given_out_in_order(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slot;

	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(store(tier, i, &slot), 0);
		assert_int_equal(slot, i);
	}
	tier->ops->destroy(tier);
}

static void test_what_was_dropped_is_used_before_the_file_grows(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[10];

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(store(tier, i, &slots[i]), 0);
	for (unsigned i = 3; i < 6; i++)
		tier->ops->drop(tier, slots[i]);
	for (unsigned i = 3; i < 6; i++) {
		assert_int_equal(store(tier, i, &slots[i]), 0);
		assert_int_equal(slots[i], i);
	}
	tier->ops->destroy(tier);
}

static void test_short_and_interrupted_calls_are_gone_on_with(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slot;

	fault.at_most = 1000;
	fault.interrupts = 3;
	assert_int_equal(store(tier, 1, &slot), 0);
	fault.interrupts = 3;
	assert_true(holds(tier, 1, slot));
	tier->ops->destroy(tier);
}

static void test_a_write_that_fails_takes_no_slot(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES + 1];

	fault.error = EIO;
	for (unsigned i = 0; i < 3 * PAGES; i++)
		assert_int_equal(store(tier, i, &slots[0]), -EIO);
	fault.error = 0;
	assert_int_equal(fill(tier, slots), PAGES);
	tier->ops->destroy(tier);
}

static void test_a_read_that_fails_keeps_the_slot(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	char page[S2_PAGE_SIZE];
	uint64_t slot;

	assert_int_equal(store(tier, 1, &slot), 0);
	fault.error = EIO;
	assert_int_equal(tier->ops->load(tier, slot, page), -EIO);
	fault.error = 0;
	assert_true(holds(tier, 1, slot));
	tier->ops->destroy(tier);
}

static void test_one_bad_slot_is_not_in_the_way_of_the_others(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES + 1];

	fault.bad = 5 * S2_PAGE_SIZE;
	assert_int_equal(fill(tier, slots), PAGES - 1);
	assert_int_equal(store(tier, 0, &slots[PAGES]), -EIO);
	for (unsigned i = 0; i < PAGES - 1; i++)
		assert_true(holds(tier, i, slots[i]));
	fault.bad = 0;
	assert_int_equal(store(tier, 0, &slots[PAGES]), 0);
	tier->ops->destroy(tier);
}

static void test_a_file_that_was_cut_short_is_an_error(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	char page[S2_PAGE_SIZE];
	uint64_t slots[2];

	assert_int_equal(store(tier, 0, &slots[0]), 0);
	assert_int_equal(store(tier, 1, &slots[1]), 0);
	assert_int_equal(truncate(tier_path, S2_PAGE_SIZE + 100), 0);
	assert_true(holds(tier, 0, slots[0]));
	assert_int_equal(tier->ops->load(tier, slots[1], page), -EIO);
	tier->ops->destroy(tier);
}

/* Whichever slots are dropped: each makes room for a page, though the file cannot grow. */
static void test_a_full_file_system_leaves_the_slots_that_were_dropped(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES + 1], slot;

	fault.room = 20 * S2_PAGE_SIZE + 10;
	assert_int_equal(fill(tier, slots), 20);
	assert_int_equal(store(tier, 0, &slot), -ENOSPC);
	for (unsigned i = 0; i < 20; i++) {
		unsigned which = i * 7 % 20;

		tier->ops->drop(tier, slots[which]);
		assert_int_equal(store(tier, which, &slots[which]), 0);
		assert_int_equal(store(tier, 0, &slot), -ENOSPC);
	}
	for (unsigned i = 0; i < 20; i++)
		assert_true(holds(tier, i, slots[i]));
	fault.room = 0;
	assert_int_equal(store(tier, 20, &slots[20]), 0);
	tier->ops->destroy(tier);
}

/* Without our pwrite()'s help: the kernel itself. */
static void test_the_limit_of_a_files_size_is_one_of_room(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	struct rlimit old, low;
	uint64_t slots[PAGES + 1];
	unsigned n;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 10 * S2_PAGE_SIZE;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	n = fill(tier, slots);
	/* Before anything is printed into a file. */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(n, 10);
	assert_int_equal(store(tier, 10, &slots[10]), 0);
	tier->ops->destroy(tier);
}

static void test_the_file_is_nobody_elses_and_empty_afterwards(void **state)
{
	struct s2_pool_tier *tier;
	struct stat st;
	uint64_t slot;

	umask(0);
	tier = tier_begin();
	assert_int_equal(store(tier, 1, &slot), 0);
	assert_int_equal(stat(tier_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, TIER_SIZE);
	tier->ops->destroy(tier);
	assert_int_equal(stat(tier_path, &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void test_a_file_of_two_tiers_is_refused(void **state)
{
	struct s2_pool_tier *tier = tier_begin(), *second;
	uint64_t slot;

	assert_int_equal(store(tier, 1, &slot), 0);
	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, &second), -EBUSY);
	assert_true(holds(tier, 1, slot));
	tier->ops->destroy(tier);
	tier = tier_begin();
	tier->ops->destroy(tier);
}

static void test_a_symlink_is_refused(void **state)
{
	struct s2_pool_tier *tier;
	struct stat st;
	int fd;

	snprintf(other_path, sizeof(other_path), "%s/other", tier_directory);
	fd = open(other_path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "precious", 8), 8);
	close(fd);
	assert_int_equal(symlink(other_path, tier_path), 0);
	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, &tier), -ELOOP);
	assert_int_equal(stat(other_path, &st), 0);
	assert_int_equal(st.st_size, 8);

	/* One that leads nowhere, too: nothing is created there. */
	assert_int_equal(unlink(other_path), 0);
	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, &tier), -ELOOP);
	assert_int_equal(access(other_path, F_OK), -1);
}

static void test_what_is_neither_file_nor_block_device_is_refused(void **state)
{
	struct s2_pool_tier *tier;

	assert_int_equal(s2_pool_tier_file(tier_directory, TIER_SIZE, &tier), -EISDIR);
	assert_int_equal(s2_pool_tier_file("/dev/zero", TIER_SIZE, &tier), -EINVAL);
	assert_int_equal(s2_pool_tier_file("", TIER_SIZE, &tier), -ENOENT);
	assert_int_equal(mkfifo(tier_path, 0600), 0);
	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, &tier), -EINVAL);
}

static void test_a_path_that_leads_nowhere_is_what_open_says(void **state)
{
	struct s2_pool_tier *tier;
	char below[128];
	int fd = open(tier_path, O_CREAT | O_WRONLY, 0600);

	close(fd);
	snprintf(below, sizeof(below), "%s/swap", tier_path);
	assert_int_equal(s2_pool_tier_file(below, TIER_SIZE, &tier), -ENOTDIR);
	snprintf(below, sizeof(below), "%s/nowhere/swap", tier_directory);
	assert_int_equal(s2_pool_tier_file(below, TIER_SIZE, &tier), -ENOENT);
}

/* The superuser may open anything, and becomes somebody else for the while. */
static void test_a_file_without_permission_is_refused(void **state)
{
	struct s2_pool_tier *tier;
	bool root = geteuid() == 0;
	int ret, fd = open(tier_path, O_CREAT | O_WRONLY, 0400);

	close(fd);
	assert_int_equal(chmod(tier_directory, 0755), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	ret = s2_pool_tier_file(tier_path, TIER_SIZE, &tier);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(ret, -EACCES);
}

static void test_no_descriptor_is_left_open(void **state)
{
	unsigned before = open_descriptors();
	struct s2_pool_tier *tier = tier_begin(), *second;

	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, &second), -EBUSY);
	assert_int_equal(s2_pool_tier_file(tier_directory, TIER_SIZE, &second), -EISDIR);
	tier->ops->destroy(tier);
	assert_int_equal(open_descriptors(), before);
}

static int end_test(void **state)
{
	fault = (struct file_faults){ 0 };
	unlink(tier_path);
	unlink(other_path);
	return 0;
}

#define TEST(test) cmocka_unit_test_teardown(test, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slots_are_given_out_in_order),
		TEST(test_what_was_dropped_is_used_before_the_file_grows),
		TEST(test_short_and_interrupted_calls_are_gone_on_with),
		TEST(test_a_write_that_fails_takes_no_slot),
		TEST(test_a_read_that_fails_keeps_the_slot),
		TEST(test_one_bad_slot_is_not_in_the_way_of_the_others),
		TEST(test_a_file_that_was_cut_short_is_an_error),
		TEST(test_a_full_file_system_leaves_the_slots_that_were_dropped),
		TEST(test_the_limit_of_a_files_size_is_one_of_room),
		TEST(test_the_file_is_nobody_elses_and_empty_afterwards),
		TEST(test_a_file_of_two_tiers_is_refused),
		TEST(test_a_symlink_is_refused),
		TEST(test_what_is_neither_file_nor_block_device_is_refused),
		TEST(test_a_path_that_leads_nowhere_is_what_open_says),
		TEST(test_a_file_without_permission_is_refused),
		TEST(test_no_descriptor_is_left_open),
	};

	return cmocka_run_group_tests(tests, make_tier_directory, remove_tier_directory);
}
