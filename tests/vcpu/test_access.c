/* SPDX-License-Identifier: MIT */
/*
 * What a vCPU reads and writes: every size at every alignment, across pages and
 * memslots, at the edges of what there is; and who may enter, leave and destroy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "small_vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Two memslots of two pages each that touch, with their host pages apart and in
 * reverse order, a hole, and a read-only memslot of one page.
 */
#define GUEST_PAGES 4u
#define HOLE_GFN 4u
#define READONLY_GFN 8u
#define READONLY_PAGE 100u

static const unsigned page_of_gfn[GUEST_PAGES] = { 40, 41, 20, 21 };

static int setup(void **state)
{
	struct small_vm *small = malloc(sizeof(*small));

	assert_non_null(small);
	small_vm_begin(small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small->vm, 0, 0, 2, page_of_gfn[0], 0), 0);
	assert_int_equal(set_slot(small->vm, 1, 2, 2, page_of_gfn[2], 0), 0);
	assert_int_equal(set_slot(small->vm, 2, READONLY_GFN, 1, READONLY_PAGE, KVM_MEM_READONLY),
			 0);
	*state = small;
	return 0;
}

static int teardown(void **state)
{
	small_vm_end(*state);
	free(*state);
	return 0;
}

/* The host's own view of guest byte @gpa. */
static unsigned char *host_byte(struct small_vm *small, uint64_t gpa)
{
	return (unsigned char *)frame_provider_word(&small->host, page_of_gfn[gpa / S2_PAGE_SIZE]) +
	       gpa % S2_PAGE_SIZE;
}

static unsigned char pattern(uint64_t gpa)
{
	return (unsigned char)(gpa * 131 + gpa / 256 * 7 + 1);
}

static void fill(struct small_vm *small)
{
	for (uint64_t gpa = 0; gpa < GUEST_PAGES * S2_PAGE_SIZE; gpa++)
		*host_byte(small, gpa) = pattern(gpa);
}

static int load(struct s2_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t *value)
{
	uint8_t v8 = 0;
	uint16_t v16 = 0;
	uint32_t v32 = 0;
	int ret;

	switch (size) {
	case 1:
		ret = s2_vcpu_load8(vcpu, gpa, &v8);
		*value = v8;
		return ret;
	case 2:
		ret = s2_vcpu_load16(vcpu, gpa, &v16);
		*value = v16;
		return ret;
	case 4:
		ret = s2_vcpu_load32(vcpu, gpa, &v32);
		*value = v32;
		return ret;
	default:
		return s2_vcpu_load64(vcpu, gpa, value);
	}
}

static int store(struct s2_vcpu *vcpu, uint64_t gpa, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		return s2_vcpu_store8(vcpu, gpa, (uint8_t)value);
	case 2:
		return s2_vcpu_store16(vcpu, gpa, (uint16_t)value);
	case 4:
		return s2_vcpu_store32(vcpu, gpa, (uint32_t)value);
	default:
		return s2_vcpu_store64(vcpu, gpa, value);
	}
}

/* The guest's byte order is the host's. */
static uint64_t expected(uint64_t gpa, unsigned size)
{
	unsigned char bytes[8] = { 0 };
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		bytes[i] = pattern(gpa + i);
	memcpy(&value, bytes, sizeof(value));
	return value;
}

static void check_loads_around(struct s2_vcpu *vcpu, uint64_t middle)
{
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t gpa = middle - 16; gpa <= middle + 8; gpa++) {
			uint64_t value = 0;

			assert_int_equal(load(vcpu, gpa, size, &value), 0);
			assert_int_equal(value, expected(gpa, size));
		}
	}
}

static void test_loads_of_each_size_at_each_alignment(void **state)
{
	struct small_vm *small = *state;

	fill(small);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	/* Within a page, across two pages of a memslot, across two memslots; miss, then hit. */
	for (unsigned round = 0; round < 2; round++) {
		check_loads_around(small->vcpu, 1024);
		check_loads_around(small->vcpu, S2_PAGE_SIZE);
		check_loads_around(small->vcpu, 2 * S2_PAGE_SIZE);
	}
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void check_stores_around(struct small_vm *small, uint64_t middle)
{
	const uint64_t value = UINT64_C(0xf1e2d3c4b5a69788);

	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t gpa = middle - 16; gpa <= middle + 8; gpa++) {
			unsigned char bytes[8];

			fill(small);
			assert_int_equal(store(small->vcpu, gpa, size, value), 0);
			memcpy(bytes, &value, 8);
			for (uint64_t at = middle - 24; at < middle + 24; at++) {
				bool inside = at >= gpa && at < gpa + size;

				assert_int_equal(*host_byte(small, at),
						 inside ? bytes[at - gpa] : pattern(at));
			}
		}
	}
}

static void test_stores_of_each_size_at_each_alignment(void **state)
{
	struct small_vm *small = *state;

	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	check_stores_around(small, 1024);
	check_stores_around(small, S2_PAGE_SIZE);
	check_stores_around(small, 2 * S2_PAGE_SIZE);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_a_store_that_fails_half_way_changes_nothing(void **state)
{
	struct small_vm *small = *state;
	uint64_t end = GUEST_PAGES * S2_PAGE_SIZE;
	char *readonly = (char *)frame_provider_word(&small->host, READONLY_PAGE);
	uint64_t before;

	fill(small);
	memcpy(&before, readonly, sizeof(before));
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	for (unsigned size = 2; size <= 8; size *= 2) {
		for (unsigned over = 1; over < size; over++) {
			uint64_t value;

			/* The second half is a hole, or the first. */
			assert_int_equal(store(small->vcpu, end - size + over, size, ~0ull),
					 -ENXIO);
			assert_int_equal(load(small->vcpu, end - size + over, size, &value),
					 -ENXIO);
			assert_int_equal(store(small->vcpu, READONLY_GFN * S2_PAGE_SIZE - over,
					       size, ~0ull),
					 -ENXIO);
			assert_int_equal(load(small->vcpu, READONLY_GFN * S2_PAGE_SIZE - over, size,
					      &value),
					 -ENXIO);
		}
	}
	for (uint64_t at = end - 8; at < end; at++)
		assert_int_equal(*host_byte(small, at), pattern(at));
	assert_memory_equal(readonly, &before, sizeof(before));
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_a_store_half_into_a_readonly_memslot_changes_nothing(void **state)
{
	struct small_vm *small = *state;
	uint64_t edge = READONLY_GFN * S2_PAGE_SIZE, value;

	assert_int_equal(set_slot(small->vm, 3, READONLY_GFN - 1, 1, 60, 0), 0);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	assert_int_equal(s2_vcpu_store64(small->vcpu, edge - 8, 0x1111111111111111), 0);
	assert_int_equal(s2_vcpu_store64(small->vcpu, edge - 3, ~0ull), -EROFS);
	assert_int_equal(s2_vcpu_load64(small->vcpu, edge - 8, &value), 0);
	assert_int_equal(value, 0x1111111111111111);
	assert_int_equal(s2_vcpu_load64(small->vcpu, edge - 3, &value), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_int_equal(*frame_provider_word(&small->host, READONLY_PAGE), READONLY_PAGE);
}

static void test_outside_every_memslot_is_mmio(void **state)
{
	struct small_vm *small = *state;
	uint64_t value;

	assert_int_equal(guest_load(small->vcpu, HOLE_GFN, &value), -ENXIO);
	assert_int_equal(guest_store(small->vcpu, HOLE_GFN, 1), -ENXIO);
	assert_int_equal(guest_store(small->vcpu, READONLY_GFN, 1), -EROFS);
	assert_int_equal(guest_load(small->vcpu, READONLY_GFN, &value), 0);
	assert_int_equal(value, READONLY_PAGE);
	assert_int_equal(guest_store(small->vcpu, READONLY_GFN, 1), -EROFS);
	assert_true(s2_is_mmio(-ENXIO));
	assert_true(s2_is_mmio(-EROFS));
	assert_false(s2_is_mmio(-EFAULT));
	assert_false(s2_is_mmio(0));
}

static void test_the_top_of_the_address_space_does_not_wrap(void **state)
{
	struct small_vm *small = *state;
	unsigned char bytes[16] = { 0 };
	uint64_t value;

	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t under = 0; under < 16; under++) {
			assert_int_equal(load(small->vcpu, UINT64_MAX - under, size, &value),
					 -ENXIO);
			assert_int_equal(store(small->vcpu, UINT64_MAX - under, size, 1), -ENXIO);
		}
	}
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_int_equal(s2_vcpu_read(small->vcpu, UINT64_MAX, bytes, 2), -EINVAL);
	assert_int_equal(s2_vcpu_write(small->vcpu, UINT64_MAX - 14, bytes, 16), -EINVAL);
	assert_int_equal(s2_vcpu_read(small->vcpu, UINT64_MAX, bytes, 1), -ENXIO);
	assert_int_equal(s2_vcpu_read(small->vcpu, HOLE_GFN * S2_PAGE_SIZE, bytes, SIZE_MAX / 2),
			 -ENXIO);
}

static void test_bulk_copies_cross_pages_and_memslots(void **state)
{
	const size_t size = GUEST_PAGES * S2_PAGE_SIZE;
	unsigned char *data = malloc(size), *back = malloc(size);
	struct small_vm *small = *state;

	assert_non_null(data);
	assert_non_null(back);
	for (size_t i = 0; i < size; i++)
		data[i] = pattern(i);
	assert_int_equal(s2_vcpu_write(small->vcpu, 0, data, size), 0);
	for (uint64_t gpa = 0; gpa < size; gpa++)
		assert_int_equal(*host_byte(small, gpa), pattern(gpa));
	assert_int_equal(s2_vcpu_read(small->vcpu, 0, back, size), 0);
	assert_memory_equal(back, data, size);
	/* In guest mode too, misaligned, and of no length. */
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	assert_int_equal(s2_vcpu_read(small->vcpu, 4090, back, 4109), 0);
	assert_memory_equal(back, data + 4090, 4109);
	assert_int_equal(s2_vcpu_read(small->vcpu, HOLE_GFN * S2_PAGE_SIZE, back, 0), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	free(data);
	free(back);
}

static void test_a_bulk_copy_that_fails_has_copied_the_pages_before(void **state)
{
	struct small_vm *small = *state;
	uint64_t start = GUEST_PAGES * S2_PAGE_SIZE - 16;
	unsigned char data[32];

	fill(small);
	memset(data, 0xee, sizeof(data));
	assert_int_equal(s2_vcpu_read(small->vcpu, start, data, 32), -ENXIO);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(data[i], i < 16 ? pattern(start + i) : 0xee);
	memset(data, 0x55, sizeof(data));
	assert_int_equal(s2_vcpu_write(small->vcpu, start, data, 32), -ENXIO);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(*host_byte(small, start + i), 0x55);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_no_access_outside_guest_mode(void **state)
{
	struct small_vm *small = *state;
	uint64_t value = 7;

	assert_int_equal(s2_vcpu_load64(small->vcpu, 0, &value), -EPERM);
	assert_int_equal(s2_vcpu_store64(small->vcpu, 0, 1), -EPERM);
	assert_guest_reads(small->vcpu, 0, page_of_gfn[0]);
	/* Nor when the TLB has the page. */
	assert_int_equal(s2_vcpu_load64(small->vcpu, 0, &value), -EPERM);
	assert_int_equal(s2_vcpu_store64(small->vcpu, 0, 1), -EPERM);
	assert_int_equal(s2_vcpu_load64(small->vcpu, 1, &value), -EPERM);
	assert_int_equal(value, 7);
	assert_guest_reads(small->vcpu, 0, page_of_gfn[0]);
}

static void *exit_elsewhere(void *arg)
{
	return (void *)(intptr_t)s2_vcpu_exit(arg);
}

static void *enter_elsewhere(void *arg)
{
	return (void *)(intptr_t)s2_vcpu_enter(arg);
}

static void *read_elsewhere(void *arg)
{
	char byte;

	return (void *)(intptr_t)s2_vcpu_read(arg, 0, &byte, 1);
}

static int elsewhere(void *(*body)(void *), struct s2_vcpu *vcpu)
{
	pthread_t thread;
	void *ret;

	assert_int_equal(pthread_create(&thread, NULL, body, vcpu), 0);
	pthread_join(thread, &ret);
	return (int)(intptr_t)ret;
}

static void test_who_may_enter_and_exit(void **state)
{
	struct s2_vcpu *vcpu = ((struct small_vm *)*state)->vcpu;
	uint64_t value;

	assert_int_equal(s2_vcpu_exit(vcpu), -EPERM);
	assert_int_equal(s2_vcpu_enter(vcpu), 0);
	assert_int_equal(s2_vcpu_enter(vcpu), -EBUSY);
	assert_int_equal(elsewhere(enter_elsewhere, vcpu), -EBUSY);
	assert_int_equal(elsewhere(exit_elsewhere, vcpu), -EPERM);
	assert_int_equal(elsewhere(read_elsewhere, vcpu), -EBUSY);
	assert_int_equal(s2_vcpu_destroy(vcpu), -EBUSY);
	assert_int_equal(s2_vcpu_load64(vcpu, 0, &value), 0);
	assert_int_equal(s2_vcpu_exit(vcpu), 0);
	assert_int_equal(s2_vcpu_exit(vcpu), -EPERM);
	assert_int_equal(elsewhere(read_elsewhere, vcpu), 0);
}

static void test_null_is_refused_or_ignored(void **state)
{
	struct small_vm *small = *state;
	struct s2_vcpu_stats stats;
	struct s2_vcpu *vcpu;
	char byte = 0;

	assert_int_equal(s2_vcpu_create(NULL, test_vcpu_config(), &vcpu), -EINVAL);
	assert_int_equal(s2_vcpu_create(small->vm, test_vcpu_config(), NULL), -EINVAL);
	assert_int_equal(s2_vcpu_enter(NULL), -EINVAL);
	assert_int_equal(s2_vcpu_exit(NULL), -EINVAL);
	assert_int_equal(s2_vcpu_destroy(NULL), 0);
	assert_int_equal(s2_vcpu_read(NULL, 0, &byte, 1), -EINVAL);
	assert_int_equal(s2_vcpu_read(small->vcpu, 0, NULL, 1), -EINVAL);
	assert_int_equal(s2_vcpu_write(NULL, 0, &byte, 1), -EINVAL);
	assert_int_equal(s2_vcpu_write(small->vcpu, 0, NULL, 1), -EINVAL);
	assert_int_equal(s2_vcpu_get_stats(NULL, &stats), -EINVAL);
	assert_int_equal(s2_vcpu_get_stats(small->vcpu, NULL), -EINVAL);
}

static void test_without_memory_no_vcpu_is_made(void **state)
{
	struct small_vm *small = *state;
	struct s2_vcpu *vcpu = NULL;

	counting_allocator_fail_at(&small->memory, 1);
	assert_int_equal(s2_vcpu_create(small->vm, test_vcpu_config(), &vcpu), -ENOMEM);
	assert_null(vcpu);
	counting_allocator_fail_at(&small->memory, 0);
}

static void test_a_vcpu_keeps_its_vm_alive(void **state)
{
	struct counting_allocator memory;
	struct frame_provider host;
	struct s2_mm_config config = { .provider = &host.ops, .provider_ctx = &host };
	struct s2_vcpu *vcpu;
	struct s2_mm *mm;
	struct s2_vm *vm;

	(void)state;
	counting_allocator_init(&memory);
	frame_provider_init(&host);
	config.allocator = &memory.ops;
	assert_int_equal(s2_mm_create(&config, &mm), 0);
	assert_int_equal(s2_vm_create(mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, test_vcpu_config(), &vcpu), 0);
	assert_int_equal(set_slot(vm, 0, 0, 1, 5, 0), 0);
	s2_vm_put(vm);
	s2_mm_put(mm);
	assert_guest_reads(vcpu, 0, 5);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
	assert_int_equal(memory.blocks, 0);
	frame_provider_free(&host);
}

static struct s2_vcpu_stats stats_of(struct s2_vcpu *vcpu)
{
	struct s2_vcpu_stats stats;

	assert_int_equal(s2_vcpu_get_stats(vcpu, &stats), 0);
	return stats;
}

static void test_pages_that_share_a_tlb_entry_are_told_apart(void **state)
{
	struct small_vm *small = *state;
	uint64_t gpa = 100 * S2_PAGE_SIZE, far = gpa + S2_TLB_ENTRIES * S2_PAGE_SIZE, value;

	assert_int_equal(set_slot(small->vm, 3, 100, S2_TLB_ENTRIES + 1, 200, 0), 0);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t misses = stats_of(small->vcpu).tlb_misses;

		assert_int_equal(s2_vcpu_load64(small->vcpu, gpa, &value), 0);
		assert_int_equal(value, 200);
		assert_int_equal(s2_vcpu_load64(small->vcpu, far, &value), 0);
		assert_int_equal(value, 200 + S2_TLB_ENTRIES);
		assert_int_equal(stats_of(small->vcpu).tlb_misses, misses + 2);
		assert_int_equal(s2_vcpu_store64(small->vcpu, gpa + 8, i), 0);
		assert_int_equal(s2_vcpu_load64(small->vcpu, far + 8, &value), 0);
		assert_int_equal(value, 0);
	}
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
}

static void test_an_entry_made_by_a_load_does_not_let_a_store_by(void **state)
{
	struct s2_vcpu *vcpu = ((struct small_vm *)*state)->vcpu;
	uint64_t value, misses;

	assert_int_equal(s2_vcpu_enter(vcpu), 0);
	assert_int_equal(s2_vcpu_load64(vcpu, 0, &value), 0);
	misses = stats_of(vcpu).tlb_misses;
	assert_int_equal(s2_vcpu_load64(vcpu, 8, &value), 0);
	assert_int_equal(stats_of(vcpu).tlb_misses, misses);
	assert_int_equal(s2_vcpu_store64(vcpu, 8, 1), 0);
	assert_int_equal(stats_of(vcpu).tlb_misses, misses + 1);
	assert_int_equal(s2_vcpu_store64(vcpu, 16, 1), 0);
	assert_int_equal(s2_vcpu_load64(vcpu, 16, &value), 0);
	assert_int_equal(stats_of(vcpu).tlb_misses, misses + 1);
	assert_int_equal(s2_vcpu_exit(vcpu), 0);
}

static void test_the_counts_are_exact(void **state)
{
	struct small_vm *small = *state;
	struct s2_vcpu_stats stats;

	assert_guest_reads(small->vcpu, 0, page_of_gfn[0]);
	assert_guest_reads(small->vcpu, 0, page_of_gfn[0]);
	assert_guest_reads(small->vcpu, 2, page_of_gfn[2]);
	stats = stats_of(small->vcpu);
	assert_int_equal(stats.tlb_misses, 2);
	assert_int_equal(stats.faults, 2);
	assert_int_equal(stats.fault_retries, 0);
	assert_int_equal(stats.tlb_flushes, 0);
	exchange_frame(small, page_of_gfn[0], FRAME_PAGES + 1);
	assert_guest_reads(small->vcpu, 0, FRAME_PAGES + 1);
	stats = stats_of(small->vcpu);
	assert_int_equal(stats.tlb_misses, 3);
	assert_int_equal(stats.faults, 3);
	assert_int_equal(stats.tlb_flushes, 1);
	assert_int_equal(vm_stats(small->vm).faults, 3);
	assert_int_equal(vm_stats(small->vm).tlb_flushes, 1);
	/* They outlive the vCPU. */
	assert_int_equal(s2_vcpu_destroy(small->vcpu), 0);
	assert_int_equal(vm_stats(small->vm).faults, 3);
	assert_int_equal(s2_vcpu_create(small->vm, test_vcpu_config(), &small->vcpu), 0);
	assert_int_equal(stats_of(small->vcpu).faults, 0);
	assert_int_equal(vm_stats(small->vm).faults, 3);
}

#define ACCESS_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ACCESS_TEST(test_loads_of_each_size_at_each_alignment),
		ACCESS_TEST(test_stores_of_each_size_at_each_alignment),
		ACCESS_TEST(test_a_store_that_fails_half_way_changes_nothing),
		ACCESS_TEST(test_a_store_half_into_a_readonly_memslot_changes_nothing),
		ACCESS_TEST(test_outside_every_memslot_is_mmio),
		ACCESS_TEST(test_the_top_of_the_address_space_does_not_wrap),
		ACCESS_TEST(test_bulk_copies_cross_pages_and_memslots),
		ACCESS_TEST(test_a_bulk_copy_that_fails_has_copied_the_pages_before),
		ACCESS_TEST(test_no_access_outside_guest_mode),
		ACCESS_TEST(test_who_may_enter_and_exit),
		ACCESS_TEST(test_null_is_refused_or_ignored),
		ACCESS_TEST(test_without_memory_no_vcpu_is_made),
		cmocka_unit_test(test_a_vcpu_keeps_its_vm_alive),
		ACCESS_TEST(test_pages_that_share_a_tlb_entry_are_told_apart),
		ACCESS_TEST(test_an_entry_made_by_a_load_does_not_let_a_store_by),
		ACCESS_TEST(test_the_counts_are_exact),
	};

	return cmocka_run_group_tests_name("vCPU accesses", tests, NULL, NULL);
}
