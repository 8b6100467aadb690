/* SPDX-License-Identifier: MIT */
/*
 * The process provider on this process's real memory: each call does what the system call does,
 * and brackets what it takes away, neither more nor less. A bracket that is missing shows as a
 * SIGSEGV of the vCPU threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sanitized.h"
#include "small_vm.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGE S2_PAGE_SIZE
#define ARENA_PAGES 32
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

/* Pages 8 to 11 of the arena are guest memory, gfns 8 to 11; each begins with its number. */
struct process {
	struct s2_mm *mm;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	char *arena;
};

static char *page_at(struct process *process, unsigned page)
{
	return process->arena + page * PAGE;
}

static uint64_t *word_at(struct process *process, unsigned page)
{
	return (uint64_t *)(void *)page_at(process, page);
}

static int set_guest_pages(struct process *process, unsigned page, unsigned pages)
{
	const struct kvm_userspace_memory_region mem = {
		.guest_phys_addr = page * PAGE,
		.memory_size = pages * PAGE,
		.userspace_addr = (uintptr_t)page_at(process, page),
	};

	return s2_vm_set_memory_region(process->vm, &mem);
}

static int setup(void **state)
{
	static struct process process;

	assert_int_equal(s2_mm_create(NULL, &process.mm), 0);
	assert_int_equal(s2_vm_create(process.mm, NULL, &process.vm), 0);
	assert_int_equal(s2_vcpu_create(process.vm, test_vcpu_config(), &process.vcpu), 0);
	process.arena = mmap(NULL, ARENA_PAGES * PAGE, RW, ANON, -1, 0);
	assert_true(process.arena != MAP_FAILED);
	for (unsigned page = 0; page < ARENA_PAGES; page++)
		*word_at(&process, page) = page;
	assert_int_equal(set_guest_pages(&process, 8, 4), 0);
	for (unsigned page = 8; page < 12; page++)
		assert_guest_reads(process.vcpu, page, page);
	*state = &process;
	return 0;
}

static int teardown(void **state)
{
	struct process *process = *state;

	assert_int_equal(s2_vcpu_destroy(process->vcpu), 0);
	s2_vm_put(process->vm);
	s2_mm_put(process->mm);
	assert_int_equal(munmap(process->arena, ARENA_PAGES * PAGE), 0);
	return 0;
}

static struct s2_mm_stats before;

static void watch(struct process *process)
{
	before = mm_stats(process->mm);
}

/* How many pairs there were since watch(), and how many of them were related. */
static void assert_pairs(struct process *process, uint64_t pairs, uint64_t related)
{
	struct s2_mm_stats now = mm_stats(process->mm);

	assert_int_equal(now.invalidations - before.invalidations, pairs);
	assert_int_equal(pairs - (now.elided - before.elided), related);
}

static void assert_guest_unharmed(struct process *process)
{
	for (unsigned page = 8; page < 12; page++)
		assert_guest_reads(process->vcpu, page, page);
}

static void assert_no_page(struct process *process, uint64_t gfn)
{
	uint64_t value;

	assert_int_equal(guest_load(process->vcpu, gfn, &value), -EFAULT);
	assert_int_equal(guest_store(process->vcpu, gfn, 1), -EFAULT);
}

/* Puts fresh memory where a test made a hole, before anybody else can. */
static void fill_hole(struct process *process, unsigned page, unsigned pages)
{
	void *at;

	assert_int_equal(s2_mmap(process->mm, page_at(process, page), pages * PAGE, RW,
				 ANON | MAP_FIXED, -1, 0, &at),
			 0);
	assert_ptr_equal(at, page_at(process, page));
}

/* ---- munmap ---- */

static void test_munmap_takes_the_page_from_the_guest(void **state)
{
	struct process *process = *state;

	watch(process);
	assert_int_equal(s2_munmap(process->mm, page_at(process, 9), PAGE), 0);
	assert_pairs(process, 1, 1);
	assert_no_page(process, 9);
	assert_guest_reads(process->vcpu, 8, 8);
	assert_guest_reads(process->vcpu, 10, 10);
	fill_hole(process, 9, 1);
	assert_guest_reads(process->vcpu, 9, 0);
	assert_int_equal(guest_store(process->vcpu, 9, 5), 0);
	assert_int_equal(*word_at(process, 9), 5);
}

static void test_munmap_of_a_neighbour_is_unrelated(void **state)
{
	struct process *process = *state;

	watch(process);
	assert_int_equal(s2_munmap(process->mm, page_at(process, 6), 2 * PAGE), 0);
	assert_int_equal(s2_munmap(process->mm, page_at(process, 12), PAGE), 0);
	assert_pairs(process, 2, 0);
	assert_guest_unharmed(process);
	fill_hole(process, 6, 2);
	fill_hole(process, 12, 1);
}

static void test_length_is_rounded_out_to_pages(void **state)
{
	struct process *process = *state;

	watch(process);
	assert_int_equal(s2_munmap(process->mm, page_at(process, 7), PAGE + 1), 0);
	assert_pairs(process, 1, 1);
	assert_no_page(process, 8);
	assert_guest_reads(process->vcpu, 9, 9);
	fill_hole(process, 7, 2);
}

/* ---- mmap ---- */

static void test_mmap_without_fixed_takes_nothing(void **state)
{
	struct process *process = *state;
	void *at = NULL;

	watch(process);
	assert_int_equal(s2_mmap(process->mm, page_at(process, 8), PAGE, RW, ANON, -1, 0, &at), 0);
	assert_non_null(at);
	assert_int_equal(munmap(at, PAGE), 0);
	assert_int_equal(s2_mmap(process->mm, page_at(process, 8), PAGE, RW,
				 ANON | MAP_FIXED_NOREPLACE, -1, 0, &at),
			 -EEXIST);
	assert_pairs(process, 0, 0);
	assert_guest_unharmed(process);
}

static void test_mmap_fixed_shows_the_guest_the_new_contents(void **state)
{
	struct process *process = *state;
	int fd = memfd_create("guest", MFD_CLOEXEC);
	uint64_t value = 4711;
	void *at = NULL;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 3 * PAGE), 0);
	assert_int_equal(pwrite(fd, &value, sizeof(value), 2 * PAGE), sizeof(value));
	watch(process);
	assert_int_equal(s2_mmap(process->mm, page_at(process, 10), PAGE, RW,
				 MAP_SHARED | MAP_FIXED, fd, 2 * PAGE, &at),
			 0);
	assert_ptr_equal(at, page_at(process, 10));
	assert_pairs(process, 1, 1);
	assert_guest_reads(process->vcpu, 10, 4711);
	assert_int_equal(guest_store(process->vcpu, 10, 4712), 0);
	assert_int_equal(pread(fd, &value, sizeof(value), 2 * PAGE), sizeof(value));
	assert_int_equal(value, 4712);
	close(fd);
	watch(process);
	assert_int_equal(s2_mmap(process->mm, page_at(process, 12), 4 * PAGE, RW, ANON | MAP_FIXED,
				 -1, 0, &at),
			 0);
	assert_pairs(process, 1, 0);
}

/* ---- madvise ---- */

static void test_madvise_dontneed_shows_the_guest_zeros(void **state)
{
	struct process *process = *state;

	watch(process);
	assert_int_equal(s2_madvise(process->mm, page_at(process, 9), 2 * PAGE, MADV_DONTNEED), 0);
	assert_pairs(process, 1, 1);
	assert_guest_reads(process->vcpu, 8, 8);
	assert_guest_reads(process->vcpu, 9, 0);
	assert_guest_reads(process->vcpu, 10, 0);
	assert_guest_reads(process->vcpu, 11, 11);
}

static void test_every_advice_that_drops_pages_is_bracketed(void **state)
{
	static const int dropping[] = { MADV_DONTNEED, MADV_FREE, MADV_DONTNEED_LOCKED,
					MADV_GUARD_INSTALL };
	struct process *process = *state;

	for (unsigned i = 0; i < sizeof(dropping) / sizeof(dropping[0]); i++) {
		int ret;

		watch(process);
		ret = s2_madvise(process->mm, page_at(process, 11), PAGE, dropping[i]);
		if (ret == -EINVAL) {
			print_message("not tested: this kernel lacks madvise advice %d\n",
				      dropping[i]);
			continue;
		}
		assert_int_equal(ret, 0);
		assert_pairs(process, 1, 1);
		watch(process);
		s2_madvise(process->mm, page_at(process, 12), PAGE, dropping[i]);
		assert_pairs(process, 1, 0);
	}
	fill_hole(process, 11, 2);
}

static void test_madvise_remove_punches_the_file(void **state)
{
	struct process *process = *state;
	void *at;

	assert_int_equal(s2_mmap(process->mm, page_at(process, 9), PAGE, RW,
				 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0, &at),
			 0);
	assert_int_equal(guest_store(process->vcpu, 9, 5), 0);
	watch(process);
	assert_int_equal(s2_madvise(process->mm, page_at(process, 9), PAGE, MADV_REMOVE), 0);
	assert_pairs(process, 1, 1);
	assert_guest_reads(process->vcpu, 9, 0);
}

static void test_advice_that_drops_nothing_is_not_bracketed(void **state)
{
	static const int keeping[] = { MADV_NORMAL,   MADV_RANDOM,   MADV_SEQUENTIAL,
				       MADV_WILLNEED, MADV_DONTFORK, MADV_DOFORK };
	struct process *process = *state;

	watch(process);
	for (unsigned i = 0; i < sizeof(keeping) / sizeof(keeping[0]); i++)
		assert_int_equal(s2_madvise(process->mm, page_at(process, 8), PAGE, keeping[i]), 0);
	assert_pairs(process, 0, 0);
	assert_guest_unharmed(process);
}

/* ---- mprotect ---- */

static void test_mprotect_none_takes_the_page_and_gives_it_back(void **state)
{
	struct process *process = *state;

	watch(process);
	assert_int_equal(s2_mprotect(process->mm, page_at(process, 9), PAGE, PROT_NONE), 0);
	assert_pairs(process, 1, 1);
	assert_no_page(process, 9);
	assert_int_equal(s2_mprotect(process->mm, page_at(process, 9), PAGE, RW), 0);
	assert_guest_reads(process->vcpu, 9, 9);
	assert_int_equal(guest_store(process->vcpu, 9, 5), 0);
	watch(process);
	assert_int_equal(s2_mprotect(process->mm, page_at(process, 7), PAGE, PROT_READ), 0);
	assert_pairs(process, 1, 0);
}

static void test_mprotect_read_lets_the_guest_load_but_not_store(void **state)
{
	struct process *process = *state;

	assert_int_equal(guest_store(process->vcpu, 9, 5), 0);
	assert_int_equal(s2_mprotect(process->mm, page_at(process, 9), PAGE, PROT_READ), 0);
	assert_guest_reads(process->vcpu, 9, 5);
	assert_int_equal(guest_store(process->vcpu, 9, 6), -EFAULT);
	assert_guest_reads(process->vcpu, 9, 5);
}

/* ---- mremap ---- */

static void test_mremap_away_takes_the_old_range(void **state)
{
	struct process *process = *state;
	void *at = NULL;

	watch(process);
	assert_int_equal(s2_mremap(process->mm, page_at(process, 9), PAGE, PAGE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, page_at(process, 20), &at),
			 0);
	assert_pairs(process, 1, 1);
	assert_ptr_equal(at, page_at(process, 20));
	assert_int_equal(*word_at(process, 20), 9);
	assert_no_page(process, 9);
	fill_hole(process, 9, 1);
}

static void test_mremap_onto_the_guest_shows_it_the_new_contents(void **state)
{
	struct process *process = *state;
	void *at = NULL;

	watch(process);
	assert_int_equal(s2_mremap(process->mm, page_at(process, 20), PAGE, PAGE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, page_at(process, 9), &at),
			 0);
	assert_pairs(process, 1, 1);
	assert_guest_reads(process->vcpu, 9, 20);
	fill_hole(process, 20, 1);
}

/* With an old size of 0 a shared mapping gets a twin; what is at the target goes all the same. */
static void test_mremap_that_duplicates_onto_the_guest(void **state)
{
	struct process *process = *state;
	void *at = NULL;

	assert_int_equal(s2_mmap(process->mm, page_at(process, 20), PAGE, RW,
				 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0, &at),
			 0);
	*word_at(process, 20) = 4711;
	watch(process);
	assert_int_equal(s2_mremap(process->mm, page_at(process, 20), 0, PAGE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, page_at(process, 9), &at),
			 0);
	assert_pairs(process, 1, 1);
	assert_guest_reads(process->vcpu, 9, 4711);
}

static void test_mremap_that_keeps_the_old_range_takes_its_pages(void **state)
{
	struct process *process = *state;
	void *at = NULL;
	int ret;

	watch(process);
	ret = s2_mremap(process->mm, page_at(process, 9), PAGE, PAGE,
			MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL, &at);
	if (ret == -EINVAL) {
		print_message("skipped: this kernel lacks MREMAP_DONTUNMAP\n");
		skip();
	}
	assert_int_equal(ret, 0);
	assert_pairs(process, 1, 1);
	assert_guest_reads(process->vcpu, 9, 0);
	assert_int_equal(munmap(at, PAGE), 0);
}

static void test_mremap_that_shrinks_takes_the_tail_only(void **state)
{
	struct process *process = *state;
	void *at = NULL;

	/* Pages 8 to 15 become 8 to 11. */
	watch(process);
	assert_int_equal(s2_mremap(process->mm, page_at(process, 8), 8 * PAGE, 4 * PAGE - 1, 0,
				   NULL, &at),
			 0);
	assert_pairs(process, 1, 0);
	assert_guest_unharmed(process);
	fill_hole(process, 12, 4);
	watch(process);
	assert_int_equal(
		s2_mremap(process->mm, page_at(process, 8), 4 * PAGE, 2 * PAGE, 0, NULL, &at), 0);
	assert_pairs(process, 1, 1);
	assert_guest_reads(process->vcpu, 9, 9);
	assert_no_page(process, 10);
	fill_hole(process, 10, 2);
}

static void test_mremap_that_grows_in_place_takes_nothing(void **state)
{
	struct process *process = *state;
	void *at = NULL;

	assert_int_equal(s2_munmap(process->mm, page_at(process, 12), PAGE), 0);
	watch(process);
	assert_int_equal(s2_mremap(process->mm, page_at(process, 11), PAGE, 2 * PAGE, 0, NULL, &at),
			 0);
	assert_pairs(process, 0, 0);
	assert_ptr_equal(at, page_at(process, 11));
	assert_guest_unharmed(process);
	/* There is no room: the error, and everything as it was. */
	assert_int_equal(s2_mremap(process->mm, page_at(process, 8), 2 * PAGE, 3 * PAGE, 0, NULL,
				   &at),
			 -ENOMEM);
	assert_guest_unharmed(process);
}

/* ---- errors ---- */

static void test_errors_are_the_kernels_and_the_guest_goes_on(void **state)
{
	struct process *process = *state;
	void *at = NULL;

	if (SANITIZER_FORBIDS_BAD_MUNMAP) {
		print_message("gcc's ThreadSanitizer ends at an munmap() of SIZE_MAX bytes\n");
		skip();
	}
	errno = 4711;
	assert_int_equal(s2_mmap(process->mm, page_at(process, 8), PAGE, RW, MAP_SHARED | MAP_FIXED,
				 -1, 0, &at),
			 -EBADF);
	assert_int_equal(s2_madvise(process->mm, page_at(process, 8), PAGE, MADV_REMOVE), -EINVAL);
	assert_int_equal(s2_mremap(process->mm, page_at(process, 8), PAGE, PAGE, MREMAP_FIXED,
				   page_at(process, 20), &at),
			 -EINVAL);
	assert_int_equal(s2_mremap(process->mm, page_at(process, 8), 2 * PAGE, 2 * PAGE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, page_at(process, 9), &at),
			 -EINVAL);
	assert_int_equal(s2_munmap(process->mm, page_at(process, 8), SIZE_MAX), -EINVAL);
	assert_null(at);
	assert_int_equal(errno, 4711);
	assert_guest_unharmed(process);
}

static void test_call_that_fails_half_way_is_bracketed_all_the_same(void **state)
{
	struct process *process = *state;

	/* mprotect() changes what comes before the hole. */
	assert_int_equal(s2_munmap(process->mm, page_at(process, 11), PAGE), 0);
	watch(process);
	assert_int_equal(s2_mprotect(process->mm, page_at(process, 10), 2 * PAGE, PROT_NONE),
			 -ENOMEM);
	assert_pairs(process, 1, 1);
	assert_no_page(process, 10);
	fill_hole(process, 10, 2);
}

/* ---- with vCPUs that read and write all the time ---- */

#define READERS 3
#define ROUNDS 400

struct reader {
	struct s2_vcpu *vcpu;
	_Atomic uint64_t *floor; /* no page holds anything older, but for 0 */
	_Atomic bool *stop;
	unsigned long wrong;
	_Atomic unsigned long loads;
	pthread_t thread;
};

/* Loads the first word of a page, which the host changes, and stores to another one. */
static void *read_all_the_time(void *arg)
{
	struct reader *reader = arg;
	uint64_t random = (uintptr_t)reader->vcpu;

	assert_int_equal(s2_vcpu_enter(reader->vcpu), 0);
	while (!atomic_load(reader->stop)) {
		uint64_t r = test_random(&random), floor = atomic_load(reader->floor), value = 0;
		uint64_t gpa = (8 + r % 4) * PAGE;
		int ret = s2_vcpu_load64(reader->vcpu, gpa, &value);

		if (ret ? ret != -EFAULT : value && value < floor)
			reader->wrong++;
		ret = s2_vcpu_store64(reader->vcpu, gpa + 64 + r % 64 * 8, r);
		if (ret && ret != -EFAULT)
			reader->wrong++;
		atomic_fetch_add_explicit(&reader->loads, 1, memory_order_relaxed);
		s2_vcpu_poll(reader->vcpu);
	}
	assert_int_equal(s2_vcpu_exit(reader->vcpu), 0);
	return NULL;
}

/* Each round takes all four pages away in another manner, and leaves @value in them. */
static void change_pages(struct process *process, unsigned round, uint64_t value)
{
	void *at, *staged;

	switch (round % 4) {
	case 0:
		assert_int_equal(s2_mprotect(process->mm, page_at(process, 8), 4 * PAGE, PROT_NONE),
				 0);
		sched_yield();
		assert_int_equal(s2_mprotect(process->mm, page_at(process, 8), 4 * PAGE, RW), 0);
		break;
	case 1:
		assert_int_equal(
			s2_madvise(process->mm, page_at(process, 8), 4 * PAGE, MADV_DONTNEED), 0);
		break;
	case 2:
		assert_int_equal(s2_mmap(process->mm, page_at(process, 8), 4 * PAGE, PROT_NONE,
					 ANON | MAP_FIXED, -1, 0, &at),
				 0);
		sched_yield();
		fill_hole(process, 8, 4);
		break;
	case 3:
		staged = mmap(NULL, 4 * PAGE, RW, ANON, -1, 0);
		assert_true(staged != MAP_FAILED);
		assert_int_equal(s2_mremap(process->mm, staged, 4 * PAGE, 4 * PAGE,
					   MREMAP_MAYMOVE | MREMAP_FIXED, page_at(process, 8), &at),
				 0);
		break;
	}
	for (unsigned page = 8; page < 12; page++)
		__atomic_store_n(word_at(process, page), value, __ATOMIC_RELAXED);
}

static void test_vcpus_that_read_all_the_time(void **state)
{
	struct process *process = *state;
	struct reader readers[READERS];
	_Atomic uint64_t floor = 8;
	_Atomic bool stop = false;

	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .floor = &floor, .stop = &stop };
		assert_int_equal(s2_vcpu_create(process->vm, test_vcpu_config(), &readers[i].vcpu), 0);
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all_the_time,
						&readers[i]),
				 0);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct reader *reader = &readers[round % READERS];
		unsigned long loads = atomic_load(&reader->loads);

		change_pages(process, round, 100 + round);
		atomic_store(&floor, 100 + round);
		while (atomic_load(&reader->loads) == loads)
			sched_yield();
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
		assert_int_equal(readers[i].wrong, 0);
		assert_int_equal(s2_vcpu_destroy(readers[i].vcpu), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_munmap_takes_the_page_from_the_guest),
		TEST(test_munmap_of_a_neighbour_is_unrelated),
		TEST(test_length_is_rounded_out_to_pages),
		TEST(test_mmap_without_fixed_takes_nothing),
		TEST(test_mmap_fixed_shows_the_guest_the_new_contents),
		TEST(test_madvise_dontneed_shows_the_guest_zeros),
		TEST(test_every_advice_that_drops_pages_is_bracketed),
		TEST(test_madvise_remove_punches_the_file),
		TEST(test_advice_that_drops_nothing_is_not_bracketed),
		TEST(test_mprotect_none_takes_the_page_and_gives_it_back),
		TEST(test_mprotect_read_lets_the_guest_load_but_not_store),
		TEST(test_mremap_away_takes_the_old_range),
		TEST(test_mremap_onto_the_guest_shows_it_the_new_contents),
		TEST(test_mremap_that_duplicates_onto_the_guest),
		TEST(test_mremap_that_keeps_the_old_range_takes_its_pages),
		TEST(test_mremap_that_shrinks_takes_the_tail_only),
		TEST(test_mremap_that_grows_in_place_takes_nothing),
		TEST(test_errors_are_the_kernels_and_the_guest_goes_on),
		TEST(test_call_that_fails_half_way_is_bracketed_all_the_same),
		TEST(test_vcpus_that_read_all_the_time),
	};

	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
