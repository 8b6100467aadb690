/* SPDX-License-Identifier: MIT */
/*
 * Batches in the tier in a file: neighbours get neighbouring slots, whatever goes wrong in
 * the middle concerns the pages there and no others, and it all works with
 * io_uring and without.
 */
#include "batch.h"
#include "file_faults.h"
#include "small_vm.h"
#include "tier_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PAGES 256
#define TIER_SIZE (PAGES * S2_PAGE_SIZE)

static struct batch batch;

static struct s2_pool_tier *tier_begin(void)
{
	struct s2_pool_tier *tier = NULL;

	assert_int_equal(s2_pool_tier_file(tier_path, TIER_SIZE, &tier), 0);
	return tier;
}

static unsigned store(struct s2_pool_tier *tier, uint64_t number, unsigned n)
{
	return batch_store(&batch, tier, PAGE_RANDOM, number, n);
}

static unsigned load(struct s2_pool_tier *tier, unsigned n)
{
	return batch_load(&batch, tier, PAGE_RANDOM, n);
}

static bool neighbours(const uint64_t *slots, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		if (slots[i] != slots[0] + i)
			return false;
	return true;
}

static void drop(struct s2_pool_tier *tier, uint64_t first, uint64_t end, unsigned step)
{
	for (uint64_t slot = first; slot < end; slot += step)
		tier->ops->drop(tier, slot);
}

static void fill(struct s2_pool_tier *tier)
{
	for (unsigned i = 0; i < PAGES; i += 64)
		assert_int_equal(store(tier, i, 64), 64);
}

/* So that no two of them are neighbours any more. */
static void shuffle(unsigned n, uint64_t *seed)
{
	for (unsigned i = n - 1; i > 0; i--) {
		unsigned j = (unsigned)(test_random(seed) % (i + 1));
		uint64_t slot = batch.slots[i], number = batch.numbers[i];

		batch.slots[i] = batch.slots[j];
		batch.numbers[i] = batch.numbers[j];
		batch.slots[j] = slot;
		batch.numbers[j] = number;
	}
}

static void test_a_batch_gets_neighbouring_slots(void **state)
{
	static const unsigned sizes[] = { 1, 2, 63, 64, 33 };
	struct s2_pool_tier *tier = tier_begin();

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		assert_int_equal(store(tier, i * 100, sizes[i]), sizes[i]);
		assert_true(neighbours(batch.slots, sizes[i]));
		assert_int_equal(load(tier, sizes[i]), sizes[i]);
	}
	tier->ops->destroy(tier);
}

static void test_a_batch_in_any_order_comes_back(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 200; i++) {
		unsigned n = 1 + (unsigned)(test_random(&seed) % 64);

		assert_int_equal(store(tier, test_random(&seed), n), n);
		shuffle(n, &seed);
		assert_int_equal(load(tier, n), n);
		for (unsigned j = 0; j < n; j++)
			tier->ops->drop(tier, batch.slots[j]);
	}
	tier->ops->destroy(tier);
}

static void test_a_run_that_was_dropped_is_used_before_the_file_grows(void **state)
{
	struct s2_pool_tier *tier = tier_begin();

	assert_int_equal(store(tier, 0, 64), 64);
	assert_int_equal(store(tier, 64, 64), 64);
	drop(tier, 0, 64, 2);
	drop(tier, 70, 90, 1);
	assert_int_equal(store(tier, 200, 20), 20);
	assert_int_equal(batch.slots[0], 70);
	assert_true(neighbours(batch.slots, 20));
	assert_int_equal(store(tier, 300, 20), 20);
	assert_int_equal(batch.slots[0], 128);
	tier->ops->destroy(tier);
}

static void test_where_there_is_no_run_single_slots_do(void **state)
{
	struct s2_pool_tier *tier = tier_begin();

	fill(tier);
	drop(tier, 0, PAGES, 3);
	assert_int_equal(store(tier, 1000, 64), 64);
	assert_int_equal(load(tier, 64), 64);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(batch.slots[i] % 3, 0);
	tier->ops->destroy(tier);
}

static void test_a_tier_that_gets_full_has_stored_what_it_had_room_for(void **state)
{
	struct s2_pool_tier *tier = tier_begin();

	fill(tier);
	drop(tier, 100, 110, 1);
	assert_int_equal(store(tier, 1000, 64), 10);
	for (unsigned i = 10; i < 64; i++)
		assert_int_equal(batch.results[i], -ENOSPC);
	assert_int_equal(load(tier, 10), 10);
	assert_int_equal(store(tier, 2000, 64), 0);
	tier->ops->destroy(tier);
}

static void test_a_file_system_that_gets_full_in_mid_batch(void **state)
{
	struct s2_pool_tier *tier = tier_begin();

	fault.room = 20 * S2_PAGE_SIZE + 10;
	assert_int_equal(store(tier, 0, 64), 20);
	for (unsigned i = 20; i < 64; i++)
		assert_int_equal(batch.results[i], -ENOSPC);
	assert_int_equal(load(tier, 20), 20);

	/* What was dropped is found, and what had no room is none the worse for it. */
	drop(tier, 5, 15, 2);
	assert_int_equal(store(tier, 100, 64), 5);
	assert_int_equal(load(tier, 5), 5);
	fault.room = 0;
	for (unsigned i = 20; i < PAGES - 44; i += 64)
		assert_int_equal(store(tier, i, 64), 64);
	assert_int_equal(store(tier, 0, 64), 44);
	tier->ops->destroy(tier);
}

/* Without our pwritev()'s help: the kernel itself. */
static void test_the_limit_of_a_files_size_in_mid_batch(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	struct rlimit old, low;
	unsigned n;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = 10 * S2_PAGE_SIZE + 1;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	n = store(tier, 0, 64);
	/* Before anything is printed into a file. */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(n, 10);
	for (unsigned i = 10; i < 64; i++)
		assert_int_equal(batch.results[i], -ENOSPC);
	assert_int_equal(load(tier, 10), 10);
	tier->ops->destroy(tier);
}

static void test_one_bad_slot_in_mid_batch(void **state)
{
	struct s2_pool_tier *tier = tier_begin();

	fault.bad = 5 * S2_PAGE_SIZE;
	for (unsigned i = 0; i < 192; i += 32) {
		assert_int_equal(store(tier, i, 32), 32);
		for (unsigned j = 0; j < 32; j++)
			assert_int_not_equal(batch.slots[j], 5);
		assert_int_equal(load(tier, 32), 32);
	}
	tier->ops->destroy(tier);
}

static void test_short_and_interrupted_calls_in_mid_batch(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t seed = test_seed();

	for (unsigned i = 0; i < 4; i++) {
		fault.at_most = i % 2 ? 1000 : 3 * S2_PAGE_SIZE + 7;
		fault.interrupts = 5;
		assert_int_equal(store(tier, i * 64, 64), 64);
		if (i >= 2)
			shuffle(64, &seed);
		fault.interrupts = 5;
		assert_int_equal(load(tier, 64), 64);
	}
	tier->ops->destroy(tier);
}

static void test_a_batch_that_cannot_be_written_takes_no_slot(void **state)
{
	struct s2_pool_tier *tier = tier_begin();

	fault.error = EIO;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(store(tier, 0, 64), 0);
		for (unsigned j = 0; j < 64; j++)
			assert_int_equal(batch.results[j], -EIO);
	}
	fault.error = 0;
	fill(tier);
	tier->ops->destroy(tier);
}

/* Neighbours first, which are read by one call, then such that io_uring may read. */
static void test_a_file_that_was_cut_short_in_mid_batch(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t seed = test_seed();

	assert_int_equal(store(tier, 0, 64), 64);
	assert_int_equal(truncate(tier_path, 40 * S2_PAGE_SIZE + 100), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(load(tier, 64), 40);
		for (unsigned j = 0; j < 64; j++)
			assert_int_equal(batch.results[j], batch.slots[j] < 40 ? 0 : -EIO);
		shuffle(64, &seed);
	}
	tier->ops->destroy(tier);
}

static void test_a_slot_of_nobodys_in_mid_batch(void **state)
{
	struct s2_pool_tier *tier = tier_begin();

	assert_int_equal(store(tier, 0, 64), 64);
	drop(tier, 20, 22, 1);
	batch.slots[30] = UINT64_MAX;
	batch.slots[0] = PAGES;
	assert_int_equal(load(tier, 64), 60);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(batch.results[i],
				 i == 0 || i == 20 || i == 21 || i == 30 ? -EINVAL : 0);
	tier->ops->destroy(tier);
}

/* Of this process's descriptors, those that are rings, or all. */
static unsigned open_files(bool rings)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char target[64] = "";

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0)
			n += !rings || strstr(target, "io_uring");
	}
	closedir(dir);
	return n;
}

static void test_rings_are_made_on_demand_and_closed(void **state)
{
	unsigned before = open_files(false), rings;
	struct s2_pool_tier *tier = tier_begin();
	uint64_t seed = test_seed();

	assert_int_equal(store(tier, 0, 64), 64);
	assert_int_equal(load(tier, 64), 64);
	assert_int_equal(open_files(true), 0);
	for (unsigned i = 0; i < 10; i++) {
		shuffle(64, &seed);
		assert_int_equal(load(tier, 64), 64);
	}
	rings = open_files(true);
	assert_in_range(rings, 0, 1);
	tier->ops->destroy(tier);
	assert_int_equal(open_files(false), before);
	if (!rings) {
		print_message("no ring was made: the build has no liburing, the kernel refuses "
			      "io_uring, or the file system cannot say if a read would wait\n");
		skip();
	}
}

/* Runs @body in a process of its own. Returns its exit status, or -1. */
static int in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(body());
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum { RIGHT = 0, WRONG = 1, NOT_POSSIBLE = 2 };

static bool forbid_rings(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int use_without_rings(void)
{
	struct s2_pool_tier *tier;
	uint64_t seed = 1;

	if (!forbid_rings())
		return NOT_POSSIBLE;
	if (s2_pool_tier_file(tier_path, TIER_SIZE, &tier))
		return WRONG;
	for (unsigned i = 0; i < 4; i++) {
		if (store(tier, i * 64, 64) != 64)
			return WRONG;
		shuffle(64, &seed);
		if (load(tier, 64) != 64 || open_files(true))
			return WRONG;
	}
	tier->ops->destroy(tier);
	return RIGHT;
}

static void test_where_io_uring_is_not_allowed_all_works(void **state)
{
	int result = in_child(use_without_rings);

	if (result == NOT_POSSIBLE) {
		print_message("system calls cannot be forbidden here (seccomp)\n");
		skip();
	}
	assert_int_equal(result, RIGHT);
}

/* The tier is larger than its file system. */
static int use_small_file_system(void)
{
	struct s2_pool_tier *tier;
	unsigned stored = 0, n;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", tier_directory, "tmpfs", 0, "size=200k"))
		return NOT_POSSIBLE;
	if (s2_pool_tier_file(tier_path, TIER_SIZE, &tier))
		return WRONG;
	while ((n = store(tier, stored, 20))) {
		if (load(tier, n) != n)
			return WRONG;
		stored += n;
	}
	drop(tier, 10, 20, 1);
	n = store(tier, 0, 20);
	/* Of 50 pages of it, one or two may be for itself. */
	return stored >= 45 && stored <= 50 && n == 10 && load(tier, n) == n ? RIGHT : WRONG;
}

static void test_a_small_file_system(void **state)
{
	int result = in_child(use_small_file_system);

	if (result == NOT_POSSIBLE) {
		print_message("no file system can be mounted here\n");
		skip();
	}
	assert_int_equal(result, RIGHT);
}

/* Its name goes to @name. Returns its descriptor; closing that gives it up. */
static int loop_device(char *name, size_t size)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number, fd = -1;
	int file = open(tier_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), error;

	config.fd = (uint32_t)file;
	number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1;
	if (number >= 0 && !ftruncate(file, TIER_SIZE)) {
		snprintf(name, size, "/dev/loop%d", number);
		fd = open(name, O_RDWR | O_CLOEXEC);
	}
	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config)) {
		close(fd);
		fd = -1;
	}
	error = errno;
	close(file);
	close(control);
	errno = error;
	return fd;
}

/* Larger than the device, which is what counts. */
static void use_device(const char *name, uint64_t *seed)
{
	struct s2_pool_tier *tier = NULL;

	assert_int_equal(s2_pool_tier_file(name, 2 * TIER_SIZE, &tier), 0);
	for (unsigned i = 0; i < PAGES; i += 64) {
		assert_int_equal(store(tier, i, 64), 64);
		assert_int_equal(load(tier, 64), 64);
		shuffle(64, seed);
		assert_int_equal(load(tier, 64), 64);
	}
	assert_int_equal(store(tier, 0, 64), 0);
	assert_int_equal(batch.results[0], -ENOSPC);
	tier->ops->destroy(tier);
}

static void test_a_block_device(void **state)
{
	uint64_t seed = test_seed();
	char name[32];
	int fd = loop_device(name, sizeof(name));

	if (fd < 0) {
		print_message("no loop device can be made here: %s\n", strerror(errno));
		skip();
	}
	/* And again: nothing of the first tier has kept the device. */
	use_device(name, &seed);
	use_device(name, &seed);
	close(fd);
}

static int end_test(void **state)
{
	fault = (struct file_faults){ 0 };
	return unlink(tier_path) && errno != ENOENT;
}

#define TEST(test) cmocka_unit_test_teardown(test, end_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_batch_gets_neighbouring_slots),
		TEST(test_a_batch_in_any_order_comes_back),
		TEST(test_a_run_that_was_dropped_is_used_before_the_file_grows),
		TEST(test_where_there_is_no_run_single_slots_do),
		TEST(test_a_tier_that_gets_full_has_stored_what_it_had_room_for),
		TEST(test_a_file_system_that_gets_full_in_mid_batch),
		TEST(test_the_limit_of_a_files_size_in_mid_batch),
		TEST(test_one_bad_slot_in_mid_batch),
		TEST(test_short_and_interrupted_calls_in_mid_batch),
		TEST(test_a_batch_that_cannot_be_written_takes_no_slot),
		TEST(test_a_file_that_was_cut_short_in_mid_batch),
		TEST(test_a_slot_of_nobodys_in_mid_batch),
		TEST(test_rings_are_made_on_demand_and_closed),
		TEST(test_where_io_uring_is_not_allowed_all_works),
		TEST(test_a_small_file_system),
		TEST(test_a_block_device),
	};

	return cmocka_run_group_tests(tests, make_tier_directory, remove_tier_directory);
}
