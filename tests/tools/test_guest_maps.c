/* SPDX-License-Identifier: MIT */
/*
 * A guest's address space: the ranges against a list of pages, and what the system calls that
 * change it do to memory, with arguments as a hostile guest would pass them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest_copy.h"
#include "guest_internal.h"
#include "guest_maps.h"
#include "guest_memory.h"
#include "guest_mmap.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE GUEST_PAGE_SIZE
#define FIRST_PAGE (GUEST_FIRST_GPA / PAGE)
#define NR_PAGES 256
#define SIZE (NR_PAGES * PAGE)
#define LIMIT 8

#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)
#define NO_FILE ((uint64_t)-1)

static const uint64_t huge[] = { SIZE + 1,	    UINT64_C(1) << 40,	   INT64_MAX,
				 UINT64_MAX - PAGE, UINT64_MAX - PAGE + 1, UINT64_MAX };

#define CALL(guest, call, ...) guest_sys_##call(guest, (const uint64_t[6]){ __VA_ARGS__ })

/* A guest without processor and files, whose break is at the first page. */
struct world {
	struct guest guest;
	struct guest_config config;
	struct guest_result result;
};

static int create(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct guest *guest = &world->guest;

	assert_non_null(world);
	guest->config = &world->config;
	guest->result = &world->result;
	guest->deadline_ns = UINT64_MAX;
	guest->brk_start = GUEST_FIRST_GPA;
	guest->brk = GUEST_FIRST_GPA;
	assert_int_equal(guest_memory_plain(SIZE, &guest->memory), 0);
	assert_int_equal(guest_maps_create(guest->memory, LIMIT, &guest->maps), 0);
	*state = guest;
	return 0;
}

static int destroy(void **state)
{
	struct guest *guest = *state;

	guest_maps_destroy(guest->maps);
	guest->memory->ops->destroy(guest->memory);
	free(guest);
	return 0;
}

static uint64_t map(struct guest *guest, uint64_t hint, uint64_t size, uint64_t flags)
{
	int64_t gpa = CALL(guest, mmap, hint, size, RW, ANONYMOUS | flags, NO_FILE, 0);

	assert_true(gpa > 0);
	return (uint64_t)gpa;
}

static void write_byte(struct guest *guest, uint64_t gpa, char byte)
{
	assert_int_equal(guest_copy_out(guest, gpa, &byte, 1), 0);
}

static char read_byte(struct guest *guest, uint64_t gpa)
{
	char byte = 0;

	assert_int_equal(guest_copy_in(guest, gpa, &byte, 1), 0);
	return byte;
}

/* What the ranges say, page by page: -EFAULT, or the protection. */
static void assert_pages(const struct guest_maps *maps, const int *pages)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < NR_PAGES; i++) {
		assert_int_equal(guest_maps_protection(maps, i * PAGE), pages[i]);
		assert_int_equal(guest_maps_cover(maps, i * PAGE, PAGE), pages[i] >= 0);
		sum += pages[i] >= 0 ? PAGE : 0;
	}
	assert_true(guest_maps_mapped(maps) == sum);
}

static void assert_reach(const struct guest_maps *maps, const int *pages, uint64_t first,
			 uint64_t nr, unsigned int protection)
{
	uint64_t reach = 0;

	while (reach < nr && pages[first + reach] >= 0 &&
	       !(protection & ~(unsigned int)pages[first + reach]))
		reach++;
	assert_true(guest_maps_reach(maps, first * PAGE, nr * PAGE, protection) == reach * PAGE);
	assert_int_equal(guest_maps_allow(maps, first * PAGE, nr * PAGE, protection), reach == nr);
}

static unsigned int count_ranges(const int *pages)
{
	unsigned int nr = 0;

	for (uint64_t i = FIRST_PAGE; i < NR_PAGES; i++)
		nr += pages[i] >= 0 && (i == FIRST_PAGE || pages[i - 1] != pages[i]);
	return nr;
}

static void test_ranges_are_what_a_list_of_pages_says(void **state)
{
	static const int kinds[] = { -EFAULT, -EFAULT, 0, GUEST_READ, GUEST_READ_WRITE };
	const char *given = getenv("S2_SEED");
	unsigned int seed = given ? (unsigned int)atol(given) : (unsigned int)time(NULL);
	struct guest *guest = *state;
	int now[NR_PAGES], then[NR_PAGES];

	print_message("# S2_SEED=%u\n", seed);
	for (unsigned int i = 0; i < NR_PAGES; i++)
		now[i] = -EFAULT;
	for (unsigned int round = 0; round < 20000; round++) {
		uint64_t first = FIRST_PAGE + (unsigned int)rand_r(&seed) % (NR_PAGES - FIRST_PAGE);
		uint64_t nr = (unsigned int)rand_r(&seed) % 40;
		int kind = kinds[(unsigned int)rand_r(&seed) % 5];
		int error;

		nr = nr < NR_PAGES - first ? nr : NR_PAGES - first;
		memcpy(then, now, sizeof(then));
		for (uint64_t i = first; i < first + nr; i++)
			then[i] = kind;
		error = kind >= 0 ? guest_maps_add(guest->maps, first * PAGE, nr * PAGE,
						   (unsigned int)kind)
				  : guest_maps_remove(guest->maps, first * PAGE, nr * PAGE);
		assert_int_equal(error, nr && count_ranges(then) > LIMIT ? -ENOMEM : 0);
		if (!error)
			memcpy(now, then, sizeof(now));
		assert_reach(guest->maps, now, first, nr, (unsigned int)rand_r(&seed) % 4);
		if (round % 16 == 0)
			assert_pages(guest->maps, now);
	}
	assert_pages(guest->maps, now);
}

static void test_nothing_is_mapped_outside(void **state)
{
	struct guest_maps *maps = ((struct guest *)*state)->maps;

	assert_int_equal(guest_maps_add(maps, 0, PAGE, GUEST_READ), -ENOMEM);
	assert_int_equal(guest_maps_add(maps, GUEST_FIRST_GPA - PAGE, 2 * PAGE, GUEST_READ), -ENOMEM);
	assert_int_equal(guest_maps_add(maps, SIZE, PAGE, GUEST_READ), -ENOMEM);
	assert_int_equal(guest_maps_add(maps, SIZE - PAGE, 2 * PAGE, GUEST_READ), -ENOMEM);
	assert_int_equal(guest_maps_add(maps, -PAGE, PAGE, GUEST_READ), -ENOMEM);
	for (unsigned int i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		assert_int_equal(guest_maps_add(maps, GUEST_FIRST_GPA, huge[i] & -PAGE, GUEST_READ), -ENOMEM);
		assert_false(guest_maps_cover(maps, GUEST_FIRST_GPA, huge[i]));
		assert_false(guest_maps_cover(maps, huge[i], 1));
	}
	assert_int_equal(guest_maps_mapped(maps), 0);
}

static void test_mmap_gives_the_highest_free_range(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, 3 * PAGE, 0);
	uint64_t b = map(guest, 0, 1, 0);

	assert_true(a == SIZE - 3 * PAGE);
	assert_true(b == a - PAGE);
	assert_int_equal(CALL(guest, munmap, a + PAGE, PAGE), 0);
	assert_true(map(guest, 0, PAGE, 0) == a + PAGE);
}

static void test_mmap_follows_a_hint_that_is_free(void **state)
{
	struct guest *guest = *state;

	assert_true(map(guest, 0x20123, PAGE, 0) == 0x20000);
	assert_true(map(guest, 0x20000, PAGE, 0) == SIZE - PAGE);
	assert_true(map(guest, UINT64_MAX, PAGE, 0) == SIZE - 2 * PAGE);
}

static void test_a_fixed_mapping_replaces_what_was_there(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, 3 * PAGE, 0);

	for (unsigned int i = 0; i < 3; i++)
		write_byte(guest, a + i * PAGE, 'x');
	assert_true(map(guest, a + PAGE, PAGE, MAP_FIXED) == a + PAGE);
	assert_int_equal(read_byte(guest, a), 'x');
	assert_int_equal(read_byte(guest, a + PAGE), 0);
	assert_int_equal(read_byte(guest, a + 2 * PAGE), 'x');
	assert_int_equal(CALL(guest, mmap, a, PAGE, RW, ANONYMOUS | MAP_FIXED_NOREPLACE, NO_FILE),
			 -EEXIST);
}

static void test_mmap_refuses_what_makes_no_sense(void **state)
{
	struct guest *guest = *state;

	assert_int_equal(CALL(guest, mmap, 0, 0, RW, ANONYMOUS, NO_FILE), -EINVAL);
	assert_int_equal(CALL(guest, mmap, 0, PAGE, RW, MAP_ANONYMOUS, NO_FILE), -EINVAL);
	assert_int_equal(CALL(guest, mmap, 0x20001, PAGE, RW, ANONYMOUS | MAP_FIXED, NO_FILE),
			 -EINVAL);
	assert_int_equal(CALL(guest, mmap, 0, PAGE, RW, ANONYMOUS | MAP_FIXED, NO_FILE), -ENOMEM);
	assert_int_equal(CALL(guest, mmap, -PAGE, PAGE, RW, ANONYMOUS | MAP_FIXED, NO_FILE),
			 -ENOMEM);
	assert_int_equal(CALL(guest, mmap, 0, PAGE, PROT_EXEC, ANONYMOUS, NO_FILE), -EACCES);
	for (unsigned int i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		assert_int_equal(CALL(guest, mmap, 0, huge[i], RW, ANONYMOUS, NO_FILE), -ENOMEM);
		assert_int_equal(CALL(guest, mmap, 0x20000, huge[i], RW, ANONYMOUS | MAP_FIXED,
				      NO_FILE),
				 -ENOMEM);
	}
	assert_int_equal(guest_maps_mapped(guest->maps), 0);
}

static void test_what_was_unmapped_is_zeroes_when_mapped_again(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0x20000, 8 * PAGE, 0);

	for (unsigned int i = 0; i < 8; i++)
		write_byte(guest, a + i * PAGE, 'x');
	/* The hole and what is beyond are unmapped with the rest. */
	assert_int_equal(CALL(guest, munmap, a + 2 * PAGE, PAGE), 0);
	assert_int_equal(CALL(guest, munmap, a + PAGE, 20 * PAGE), 0);
	assert_true(map(guest, a + PAGE, 7 * PAGE, 0) == a + PAGE);
	assert_int_equal(read_byte(guest, a), 'x');
	for (unsigned int i = 1; i < 8; i++)
		assert_int_equal(read_byte(guest, a + i * PAGE), 0);
}

static void test_munmap_refuses_what_makes_no_sense(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, PAGE, 0);

	assert_int_equal(CALL(guest, munmap, a, 0), -EINVAL);
	assert_int_equal(CALL(guest, munmap, a + 1, PAGE), -EINVAL);
	assert_int_equal(CALL(guest, munmap, 0, PAGE), -EINVAL);
	for (unsigned int i = 0; i < sizeof(huge) / sizeof(huge[0]); i++)
		assert_int_equal(CALL(guest, munmap, a, huge[i]), -EINVAL);
	assert_true(guest_maps_cover(guest->maps, a, PAGE));
}

/* One that cannot be split for want of a range keeps what it holds. */
static void test_a_munmap_too_many_changes_nothing(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0x20000, 3 * PAGE, 0);

	write_byte(guest, a + PAGE, 'x');
	for (unsigned int i = 1; i < LIMIT; i++)
		map(guest, 0x40000 + i * 2 * PAGE, PAGE, MAP_FIXED);
	assert_int_equal(CALL(guest, munmap, a + PAGE, PAGE), -ENOMEM);
	assert_int_equal(read_byte(guest, a + PAGE), 'x');
	assert_int_equal(CALL(guest, mmap, 0x80000, PAGE, RW, ANONYMOUS | MAP_FIXED, NO_FILE),
			 -ENOMEM);
	assert_int_equal(CALL(guest, munmap, a, 2 * PAGE), 0);
}

static void test_mremap_moves_what_cannot_grow(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0x20000, 2 * PAGE, 0);
	int64_t b;

	map(guest, a + 2 * PAGE, PAGE, 0);
	write_byte(guest, a + 2 * PAGE - 1, 'x');
	assert_int_equal(CALL(guest, mremap, a, 2 * PAGE, 4 * PAGE, 0), -ENOMEM);
	b = CALL(guest, mremap, a, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, UINT64_MAX);
	assert_true(b == (int64_t)(SIZE - 4 * PAGE));
	assert_int_equal(read_byte(guest, (uint64_t)b + 2 * PAGE - 1), 'x');
	assert_int_equal(read_byte(guest, (uint64_t)b + 2 * PAGE), 0);
	assert_false(guest_maps_cover(guest->maps, a, PAGE));
}

static void test_mremap_grows_and_shrinks_in_place(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0x20000, 2 * PAGE, 0);

	write_byte(guest, a + PAGE, 'x');
	assert_int_equal(CALL(guest, mremap, a, 2 * PAGE, 5 * PAGE, 0), a);
	assert_true(guest_maps_cover(guest->maps, a, 5 * PAGE));
	assert_int_equal(CALL(guest, mremap, a, 5 * PAGE, PAGE, 0), a);
	assert_false(guest_maps_cover(guest->maps, a + PAGE, 1));
	assert_int_equal(CALL(guest, mremap, a, PAGE, 2 * PAGE, 0), a);
	assert_int_equal(read_byte(guest, a + PAGE), 0);
}

static void test_mremap_goes_where_it_is_told(void **state)
{
	struct guest *guest = *state;
	const uint64_t told = MREMAP_MAYMOVE | MREMAP_FIXED;
	uint64_t a = map(guest, 0x20000, 2 * PAGE, 0);

	write_byte(guest, a, 'x');
	map(guest, 0x50000, PAGE, 0);
	assert_int_equal(CALL(guest, mremap, a, 2 * PAGE, PAGE, told, 0x50000), 0x50000);
	assert_int_equal(read_byte(guest, 0x50000), 'x');
	assert_int_equal(guest_maps_mapped(guest->maps), PAGE);
	assert_int_equal(CALL(guest, mremap, 0x50000, PAGE, PAGE, told, 0x50000), -EINVAL);
	assert_int_equal(CALL(guest, mremap, 0x50000, PAGE, PAGE, told, -PAGE), -ENOMEM);
	assert_int_equal(CALL(guest, mremap, 0x50000, PAGE, PAGE, MREMAP_FIXED, 0x60000), -EINVAL);
}

static void test_mremap_refuses_what_makes_no_sense(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, PAGE, 0);

	assert_int_equal(CALL(guest, mremap, a + 1, PAGE, PAGE, 0), -EINVAL);
	assert_int_equal(CALL(guest, mremap, a, PAGE, 0, 0), -EINVAL);
	assert_int_equal(CALL(guest, mremap, a, PAGE, PAGE, 64), -EINVAL);
	assert_int_equal(CALL(guest, mremap, a, 2 * PAGE, PAGE, 0), -EFAULT);
	for (unsigned int i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		assert_true(CALL(guest, mremap, a, PAGE, huge[i], MREMAP_MAYMOVE) < 0);
		assert_true(CALL(guest, mremap, a, huge[i], PAGE, MREMAP_MAYMOVE) < 0);
	}
	assert_true(guest_maps_cover(guest->maps, a, PAGE));
}

static void test_brk_moves_within_what_is_free(void **state)
{
	struct guest *guest = *state;
	uint64_t start = guest->brk;

	assert_int_equal(CALL(guest, brk, 0), start);
	assert_int_equal(CALL(guest, brk, start + 5000), start + 5000);
	assert_true(guest_maps_cover(guest->maps, start, 2 * PAGE));
	write_byte(guest, start + PAGE, 'x');
	assert_int_equal(CALL(guest, brk, start + 1), start + 1);
	assert_int_equal(CALL(guest, brk, start + 2 * PAGE), start + 2 * PAGE);
	assert_int_equal(read_byte(guest, start + PAGE), 0);
	map(guest, start + 4 * PAGE, PAGE, 0);
	assert_int_equal(CALL(guest, brk, start + 5 * PAGE), start + 2 * PAGE);
	for (unsigned int i = 0; i < sizeof(huge) / sizeof(huge[0]); i++)
		assert_int_equal(CALL(guest, brk, huge[i]), start + 2 * PAGE);
}

static void test_madvise_discards(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, 2 * PAGE, 0);

	write_byte(guest, a, 'x');
	write_byte(guest, a + PAGE, 'x');
	assert_int_equal(CALL(guest, madvise, a, PAGE, MADV_DONTNEED), 0);
	assert_int_equal(CALL(guest, madvise, a + PAGE, PAGE, MADV_WILLNEED), 0);
	assert_int_equal(read_byte(guest, a), 0);
	assert_int_equal(read_byte(guest, a + PAGE), 'x');
	assert_int_equal(CALL(guest, madvise, a - PAGE, PAGE, MADV_DONTNEED), -ENOMEM);
	assert_int_equal(CALL(guest, madvise, a, UINT64_MAX, MADV_DONTNEED), -EINVAL);
}

static void test_code_stays_where_it_is(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0x20000, 3 * PAGE, 0);
	char byte = 'y';

	guest->text_start = a + PAGE;
	guest->text_end = a + 2 * PAGE;
	assert_int_equal(guest_maps_add(guest->maps, a + PAGE, PAGE, GUEST_READ), 0);
	assert_int_equal(CALL(guest, munmap, a, 3 * PAGE), -EACCES);
	assert_int_equal(CALL(guest, madvise, a, 3 * PAGE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(CALL(guest, mremap, a + PAGE, PAGE, 9 * PAGE, MREMAP_MAYMOVE), -EACCES);
	assert_int_equal(CALL(guest, mmap, a + PAGE, PAGE, RW, ANONYMOUS | MAP_FIXED, NO_FILE),
			 -EACCES);
	assert_int_equal(CALL(guest, mprotect, a, PAGE, PROT_EXEC), -EACCES);
	assert_int_equal(CALL(guest, mprotect, a + PAGE, PAGE, PROT_READ | PROT_EXEC), 0);
	assert_int_equal(CALL(guest, mprotect, a + PAGE, PAGE, RW | PROT_EXEC), -EACCES);
	assert_int_equal(CALL(guest, mprotect, a + PAGE, PAGE, PROT_NONE), -EACCES);
	assert_int_equal(CALL(guest, mprotect, a, 3 * PAGE, RW), -EACCES);
	assert_int_equal(guest_copy_out(guest, a + PAGE, &byte, 1), -EFAULT);
	assert_int_equal(guest_copy_out(guest, a + 2 * PAGE, &byte, 1), 0);
}

static void test_copies_keep_to_what_is_allowed(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, 3 * PAGE, 0);
	char buf[2] = "";

	assert_int_equal(CALL(guest, mprotect, a + PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(CALL(guest, mprotect, a + 2 * PAGE, PAGE, PROT_NONE), 0);
	assert_int_equal(guest_copy_in(guest, a + PAGE - 1, buf, 2), 0);
	assert_int_equal(guest_copy_out(guest, a + PAGE - 1, buf, 2), -EFAULT);
	assert_int_equal(guest_copy_in(guest, a + 2 * PAGE - 1, buf, 2), -EFAULT);
	assert_int_equal(CALL(guest, mprotect, a + PAGE, 2 * PAGE, PROT_WRITE), 0);
	assert_int_equal(guest_copy_in(guest, a + 2 * PAGE - 1, buf, 2), 0);
	assert_int_equal(guest_copy_out(guest, a + 2 * PAGE - 1, buf, 2), 0);
}

static void test_mprotect_refuses_what_makes_no_sense(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, 2 * PAGE, 0);

	assert_int_equal(CALL(guest, mprotect, a + 1, PAGE, PROT_READ), -EINVAL);
	assert_int_equal(CALL(guest, mprotect, a - PAGE, 2 * PAGE, PROT_READ), -ENOMEM);
	for (unsigned int i = 0; i < sizeof(huge) / sizeof(huge[0]); i++)
		assert_int_equal(CALL(guest, mprotect, a, huge[i], PROT_READ), -ENOMEM);
	assert_int_equal(CALL(guest, mprotect, a, 0, PROT_NONE), 0);
	assert_true(guest_maps_allow(guest->maps, a, 2 * PAGE, GUEST_READ_WRITE));
}

/* As a munmap() that has no range left for it. */
static void test_an_mprotect_too_many_changes_nothing(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0x20000, 3 * PAGE, 0);

	for (unsigned int i = 1; i < LIMIT; i++)
		map(guest, 0x40000 + i * 2 * PAGE, PAGE, MAP_FIXED);
	assert_int_equal(CALL(guest, mprotect, a + PAGE, PAGE, PROT_READ), -ENOMEM);
	assert_true(guest_maps_allow(guest->maps, a, 3 * PAGE, GUEST_READ_WRITE));
	assert_int_equal(CALL(guest, mprotect, a, 3 * PAGE, PROT_READ), 0);
}

static void test_mremap_keeps_the_protection(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0x20000, 3 * PAGE, 0);
	int64_t b;

	assert_int_equal(CALL(guest, mprotect, a, PAGE, PROT_NONE), 0);
	assert_int_equal(CALL(guest, mprotect, a + 2 * PAGE, PAGE, PROT_READ), 0);
	b = CALL(guest, mremap, a, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	assert_true(b > 0);
	assert_int_equal(guest_maps_protection(guest->maps, (uint64_t)b + PAGE), 0);
	assert_int_equal(CALL(guest, mremap, a + 2 * PAGE, PAGE, 2 * PAGE, 0), a + 2 * PAGE);
	assert_int_equal(guest_maps_protection(guest->maps, a + 3 * PAGE), GUEST_READ);
	assert_int_equal(CALL(guest, mremap, a + PAGE, 2 * PAGE, PAGE, 0), -EFAULT);
}

static void test_copies_keep_to_what_is_mapped(void **state)
{
	struct guest *guest = *state;
	uint64_t a = map(guest, 0, PAGE, 0);
	char buf[PAGE + 1] = "";

	assert_int_equal(guest_copy_in(guest, a, buf, PAGE), 0);
	assert_int_equal(guest_copy_in(guest, a, buf, PAGE + 1), -EFAULT);
	assert_int_equal(guest_copy_out(guest, a - 1, buf, 2), -EFAULT);
	assert_int_equal(guest_copy_out(guest, UINT64_MAX, buf, 2), -EFAULT);
	assert_int_equal(guest_copy_out(guest, 0, buf, 0), 0);
}

static void test_a_string_may_end_where_the_mapping_does(void **state)
{
	struct guest *guest = *state;
	uint64_t end = map(guest, 0x20000, PAGE, 0) + PAGE;
	char buf[300];

	assert_int_equal(guest_copy_out(guest, end - 4, "end", 4), 0);
	assert_int_equal(guest_copy_string(guest, end - 4, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "end");
	assert_int_equal(guest_copy_string(guest, end - 4, buf, 3), -ENAMETOOLONG);
	assert_int_equal(guest_copy_out(guest, end - 1, "x", 1), 0);
	assert_int_equal(guest_copy_string(guest, end - 4, buf, sizeof(buf)), -EFAULT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_ranges_are_what_a_list_of_pages_says),
		TEST(test_nothing_is_mapped_outside),
		TEST(test_mmap_gives_the_highest_free_range),
		TEST(test_mmap_follows_a_hint_that_is_free),
		TEST(test_a_fixed_mapping_replaces_what_was_there),
		TEST(test_mmap_refuses_what_makes_no_sense),
		TEST(test_what_was_unmapped_is_zeroes_when_mapped_again),
		TEST(test_munmap_refuses_what_makes_no_sense),
		TEST(test_a_munmap_too_many_changes_nothing),
		TEST(test_mremap_moves_what_cannot_grow),
		TEST(test_mremap_grows_and_shrinks_in_place),
		TEST(test_mremap_goes_where_it_is_told),
		TEST(test_mremap_refuses_what_makes_no_sense),
		TEST(test_brk_moves_within_what_is_free),
		TEST(test_madvise_discards),
		TEST(test_code_stays_where_it_is),
		TEST(test_copies_keep_to_what_is_mapped),
		TEST(test_copies_keep_to_what_is_allowed),
		TEST(test_mprotect_refuses_what_makes_no_sense),
		TEST(test_an_mprotect_too_many_changes_nothing),
		TEST(test_mremap_keeps_the_protection),
		TEST(test_a_string_may_end_where_the_mapping_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
