/* SPDX-License-Identifier: MIT */
/*
 * What updates make of a VM's memslots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../tools/shape.h"

#define HVA UINT64_C(0x7f0000000000)

static void apply(struct shape *shape, uint32_t slot, uint64_t size, uint64_t hva)
{
	const struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = slot * UINT64_C(0x100000),
		.memory_size = size,
		.userspace_addr = hva,
	};

	assert_int_equal(shape_apply(shape, &region), 0);
}

static void test_slots_are_found_whatever_their_order(void **state)
{
	struct shape shape = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		apply(&shape, i * 7919 % 1000, 0x1000, HVA + i);
	assert_int_equal(shape.nr_slots, 1000);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(shape_find(&shape, i * 7919 % 1000)->userspace_addr, HVA + i);
	assert_null(shape_find(&shape, 1000));
	shape_clear(&shape);
	assert_null(shape_find(&shape, 0));
}

static void test_an_update_replaces_and_size_zero_deletes(void **state)
{
	struct shape shape = { 0 };

	(void)state;
	apply(&shape, 1, 0x1000, HVA);
	apply(&shape, 2, 0x1000, HVA);
	apply(&shape, 2, 0x1000, HVA + 0x5000);
	assert_int_equal(shape_find(&shape, 2)->userspace_addr, HVA + 0x5000);
	apply(&shape, 1, 0, HVA);
	assert_null(shape_find(&shape, 1));
	assert_int_equal(shape.nr_slots, 1);
	apply(&shape, 9, 0, HVA);
	assert_int_equal(shape.nr_slots, 1);
	shape_clear(&shape);
}

static void test_overlap_ends_at_the_ends(void **state)
{
	struct shape shape = { 0 };

	(void)state;
	apply(&shape, 1, 0x2000, HVA);
	assert_false(shape_overlaps(&shape, (struct trace_range){ HVA - 0x1000, HVA }));
	assert_true(shape_overlaps(&shape, (struct trace_range){ HVA - 0x1000, HVA + 0x1000 }));
	assert_true(shape_overlaps(&shape, (struct trace_range){ HVA + 0x1000, HVA + 0x9000 }));
	assert_false(shape_overlaps(&shape, (struct trace_range){ HVA + 0x2000, HVA + 0x3000 }));
	shape_clear(&shape);
}

static void test_empty_ranges_overlap_nothing(void **state)
{
	const struct trace_range all = { 0, UINT64_MAX }, none = { 5, 5 };

	(void)state;
	assert_false(ranges_overlap(all, none));
	assert_false(ranges_overlap(none, all));
	assert_true(ranges_overlap(all, all));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_are_found_whatever_their_order),
		cmocka_unit_test(test_an_update_replaces_and_size_zero_deletes),
		cmocka_unit_test(test_overlap_ends_at_the_ends),
		cmocka_unit_test(test_empty_ranges_overlap_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
