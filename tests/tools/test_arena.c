/* SPDX-License-Identifier: MIT */
/*
 * The memory that stands for recorded memory: where an address ends up, what is forgotten, and how
 * few pages the vCPUs are given.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/arena.h"

#define GIB UINT64_C(0x40000000)
#define LOW UINT64_C(0x7f0000000000)
#define HIGH UINT64_C(0x7f1000000000)

static const struct trace_range two[] = { { LOW, LOW + 0x10000 }, { HIGH, HIGH + 0x3000 } };

static char *page_at(struct arena *arena, uint64_t hva, unsigned int access)
{
	struct s2_page page;

	assert_int_equal(arena_provider.fault(arena, hva, access, &page), 0);
	assert_int_equal(page.shift, S2_PAGE_SHIFT);
	assert_int_equal((uintptr_t)page.addr % S2_PAGE_SIZE, 0);
	assert_int_equal(page.writable, access == S2_ACCESS_WRITE);
	return page.addr;
}

static struct arena *create(const struct trace_range *ranges, size_t nr)
{
	struct arena *arena;

	assert_int_equal(arena_create(ranges, nr, &arena), 0);
	return arena;
}

static void test_an_address_has_one_page(void **state)
{
	struct arena *arena = create(two, 2);
	char *first = page_at(arena, LOW, S2_ACCESS_WRITE);

	(void)state;
	strcpy(first, "first");
	assert_ptr_equal(page_at(arena, LOW + 0xfff, S2_ACCESS_READ), first);
	assert_ptr_equal(page_at(arena, LOW + 0xf000, S2_ACCESS_READ), first + 0xf000);
	strcpy(page_at(arena, HIGH + 0x2000, S2_ACCESS_WRITE), "last");
	assert_string_equal(page_at(arena, LOW, S2_ACCESS_READ), "first");
	arena_destroy(arena);
}

static void test_no_page_outside(void **state)
{
	struct arena *arena = create(two, 2);
	struct s2_page page;

	(void)state;
	assert_int_equal(arena_provider.fault(arena, LOW - 1, S2_ACCESS_READ, &page), -EFAULT);
	assert_int_equal(arena_provider.fault(arena, LOW + 0x10000, S2_ACCESS_READ, &page), -EFAULT);
	assert_int_equal(arena_provider.fault(arena, HIGH + 0x3000, S2_ACCESS_READ, &page), -EFAULT);
	assert_int_equal(arena_provider.fault(arena, UINT64_MAX, S2_ACCESS_READ, &page), -EFAULT);
	arena_destroy(arena);
}

static void test_dropped_pages_are_zero_and_others_stay(void **state)
{
	struct arena *arena = create(two, 2);

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		strcpy(page_at(arena, HIGH + i * 0x1000, S2_ACCESS_WRITE), "x");
	/* From in front of the range, over what lies between the two. */
	arena_drop(arena, (struct trace_range){ LOW + 0xf000, HIGH + 0x1000 });
	arena_drop(arena, (struct trace_range){ HIGH + 0x2000, UINT64_MAX });
	assert_string_equal(page_at(arena, HIGH, S2_ACCESS_READ), "");
	assert_string_equal(page_at(arena, HIGH + 0x1000, S2_ACCESS_READ), "x");
	assert_string_equal(page_at(arena, HIGH + 0x2000, S2_ACCESS_READ), "");
	arena_destroy(arena);
}

static void test_too_large_is_refused(void **state)
{
	const struct trace_range all[] = { { 0, ARENA_MAX_BYTES },
					   { ARENA_MAX_BYTES * 2, ARENA_MAX_BYTES * 2 + 0x1000 } };
	const struct trace_range everything = { 0, UINT64_MAX & ~UINT64_C(4095) };
	struct arena *arena;

	(void)state;
	assert_int_equal(arena_create(all, 2, &arena), -EFBIG);
	assert_int_equal(arena_create(&everything, 1, &arena), -EFBIG);
}

static void test_none_is_an_arena(void **state)
{
	struct arena *arena = create(NULL, 0);
	uint64_t phase;

	(void)state;
	arena_drop(arena, (struct trace_range){ 0, UINT64_MAX });
	assert_int_equal(arena_stride(arena, 0, &phase), 0);
	arena_destroy(arena);
}

static void test_small_memory_is_used_whole(void **state)
{
	struct arena *arena = create(two, 2);
	uint64_t phase;

	(void)state;
	assert_int_equal(arena_stride(arena, LOW + 0x5000, &phase), 1);
	assert_int_equal(phase, 0);
	arena_destroy(arena);
}

static void test_large_memory_is_used_sparsely(void **state)
{
	/* 64 times as many pages as its half of the working set, and a page beside. */
	const struct trace_range large[] = { { LOW, LOW + 2 * GIB }, { HIGH, HIGH + 0x1000 } };
	struct arena *arena = create(large, 2);
	uint64_t phase;

	(void)state;
	assert_int_equal(arena_stride(arena, LOW + 0x45000, &phase), 64);
	assert_int_equal(phase, 5);
	assert_int_equal(arena_stride(arena, HIGH, &phase), 1);
	assert_int_equal(arena_stride(arena, HIGH - 0x1000, &phase), 0);
	arena_destroy(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_address_has_one_page),
		cmocka_unit_test(test_no_page_outside),
		cmocka_unit_test(test_dropped_pages_are_zero_and_others_stay),
		cmocka_unit_test(test_too_large_is_refused),
		cmocka_unit_test(test_none_is_an_arena),
		cmocka_unit_test(test_small_memory_is_used_whole),
		cmocka_unit_test(test_large_memory_is_used_sparsely),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
