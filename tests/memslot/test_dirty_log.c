/* SPDX-License-Identifier: MIT */
/*
 * The dirty log: which arguments are refused, as measured on the kernel, and that no page that a
 * guest wrote to is ever missing in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "small_vm.h"

#define LOG KVM_MEM_LOG_DIRTY_PAGES
#define UNTOUCHED UINT64_C(0xa5a5a5a5a5a5a5a5)
#define WORDS 32

static const struct s2_vm_config plain;
static const struct s2_vm_config manual = { .manual_dirty_protect = true };
static const struct s2_vm_config initially_set = {
	.manual_dirty_protect = true,
	.dirty_initially_set = true,
};

/* What must not depend on who re-protects, runs with and without it. */
static void with_and_without_manual_protect(void (*test)(struct small_vm *small))
{
	const struct s2_vm_config *configs[] = { &plain, &manual };

	for (int i = 0; i < 2; i++) {
		struct small_vm small;

		small_vm_begin(&small, S2_GATE_RANGE, configs[i]);
		test(&small);
		small_vm_end(&small);
	}
}

static void with(const struct s2_vm_config *config, void (*test)(struct small_vm *small))
{
	struct small_vm small;

	small_vm_begin(&small, S2_GATE_RANGE, config);
	test(&small);
	small_vm_end(&small);
}

static int get(struct small_vm *small, uint32_t slot, uint64_t bits[WORDS])
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bits };

	for (int i = 0; i < WORDS; i++)
		bits[i] = UNTOUCHED;
	return s2_vm_get_dirty_log(small->vm, &log);
}

static int clear(struct small_vm *small, uint32_t slot, uint64_t first, uint32_t num,
		 const uint64_t *bits)
{
	struct kvm_clear_dirty_log log = {
		.slot = slot,
		.first_page = first,
		.num_pages = num,
		.dirty_bitmap = (void *)bits,
	};

	return s2_vm_clear_dirty_log(small->vm, &log);
}

static void assert_word(struct small_vm *small, uint32_t slot, uint64_t expected)
{
	uint64_t bits[WORDS];

	assert_int_equal(get(small, slot, bits), 0);
	assert_int_equal(bits[0], expected);
}

/* ---- arguments ---- */

static void get_refusals(struct small_vm *small)
{
	uint64_t bits[WORDS];
	struct kvm_dirty_log log = { .slot = 0 };

	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	assert_int_equal(set_slot(small->vm, S2_USER_MEM_SLOTS - 1, 9, 4, 0, LOG), 0);
	assert_int_equal(get(small, S2_USER_MEM_SLOTS - 1, bits), 0);
	assert_int_equal(get(small, S2_USER_MEM_SLOTS, bits), -EINVAL);
	assert_int_equal(get(small, 0xffff, bits), -EINVAL);
	assert_int_equal(get(small, 1 << 16, bits), -EINVAL);
	assert_int_equal(get(small, UINT32_MAX, bits), -EINVAL);
	assert_int_equal(get(small, 1, bits), -ENOENT);
	assert_int_equal(get(small, 0, bits), -ENOENT);
	assert_int_equal(bits[0], UNTOUCHED);
	assert_int_equal(s2_vm_get_dirty_log(small->vm, &log), -EINVAL);
	assert_int_equal(s2_vm_get_dirty_log(small->vm, NULL), -EINVAL);
}

static void test_get_refuses_as_the_kernel_does(void **state)
{
	with_and_without_manual_protect(get_refusals);
}

static void get_sizes(struct small_vm *small)
{
	static const unsigned pages[] = { 1, 63, 64, 65, 128, 129, 1000 };

	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		unsigned words = (pages[i] + 63) / 64;
		uint64_t bits[WORDS];

		assert_int_equal(set_slot(small->vm, 0, 10, pages[i], 0, LOG), 0);
		assert_int_equal(guest_store(small->vcpu, 10 + pages[i] - 1, 1), 0);
		assert_int_equal(get(small, 0, bits), 0);
		for (unsigned word = 0; word < words - 1; word++)
			assert_int_equal(bits[word], 0);
		assert_int_equal(bits[words - 1], UINT64_C(1) << ((pages[i] - 1) % 64));
		for (unsigned word = words; word < WORDS; word++)
			assert_int_equal(bits[word], UNTOUCHED);
		assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	}
}

static void test_get_writes_whole_words_and_nothing_behind_them(void **state)
{
	with_and_without_manual_protect(get_sizes);
}

static void clear_refusals(struct small_vm *small)
{
	uint64_t bits[WORDS] = { 0 };

	assert_int_equal(set_slot(small->vm, 0, 0, 100, 0, LOG), 0);
	assert_int_equal(set_slot(small->vm, 1, 200, 100, 0, 0), 0);
	assert_int_equal(clear(small, S2_USER_MEM_SLOTS, 0, 64, bits), -EINVAL);
	assert_int_equal(clear(small, 1 << 16, 0, 64, bits), -EINVAL);
	assert_int_equal(clear(small, 2, 0, 64, bits), -ENOENT);
	assert_int_equal(clear(small, 1, 0, 64, bits), -ENOENT);
	/* Before the slot is looked for. */
	assert_int_equal(clear(small, 2, 1, 64, bits), -EINVAL);
	assert_int_equal(clear(small, 1, 63, 64, bits), -EINVAL);
	/* After. */
	assert_int_equal(clear(small, 2, 6400, 64, bits), -ENOENT);
	assert_int_equal(clear(small, 0, 128, 0, bits), -EINVAL);
	assert_int_equal(clear(small, 0, 0, 101, bits), -EINVAL);
	assert_int_equal(clear(small, 0, 64, 64, bits), -EINVAL);
	assert_int_equal(clear(small, 0, 64, 37, bits), -EINVAL);
	assert_int_equal(clear(small, 0, 0, 63, bits), -EINVAL);
	assert_int_equal(clear(small, 0, 0, 99, bits), -EINVAL);
	assert_int_equal(clear(small, 0, 64, 35, bits), -EINVAL);
	assert_int_equal(clear(small, 0, UINT64_MAX - 63, 64, bits), -EINVAL);
	assert_int_equal(clear(small, 0, UINT64_MAX - 63, UINT32_MAX, bits), -EINVAL);
	assert_int_equal(clear(small, 0, 0, 100, bits), 0);
	assert_int_equal(clear(small, 0, 64, 36, bits), 0);
	assert_int_equal(clear(small, 0, 0, 64, bits), 0);
	assert_int_equal(clear(small, 0, 0, 0, bits), 0);
	assert_int_equal(clear(small, 0, 64, 0, bits), 0);
	assert_int_equal(clear(small, 0, 0, 64, NULL), -EINVAL);
	assert_int_equal(s2_vm_clear_dirty_log(small->vm, NULL), -EINVAL);
}

static void test_clear_refuses_as_the_kernel_does(void **state)
{
	with_and_without_manual_protect(clear_refusals);
}

static void refused_clears(struct small_vm *small)
{
	const uint64_t all[WORDS] = { UINT64_MAX, UINT64_MAX };

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 3, 1), 0);
	assert_int_equal(clear(small, 0, 0, 63, all), -EINVAL);
	assert_int_equal(clear(small, 0, 0, 65, all), -EINVAL);
	assert_int_equal(clear(small, 0, 64, 0, all), 0);
	assert_word(small, 0, 1 << 3);
}

static void test_refused_clear_leaves_the_log_alone(void **state)
{
	with_and_without_manual_protect(refused_clears);
}

/* ---- what is in the log ---- */

static void stores_not_loads(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 100, 64, 0, LOG), 0);
	assert_word(small, 0, 0);
	assert_guest_reads(small->vcpu, 101, 1);
	assert_guest_reads(small->vcpu, 163, 63);
	assert_word(small, 0, 0);
	assert_int_equal(guest_store(small->vcpu, 101, 5), 0);
	assert_int_equal(guest_store(small->vcpu, 163, 5), 0);
	assert_int_equal(guest_store(small->vcpu, 100, 5), 0);
	assert_guest_reads(small->vcpu, 102, 2);
	assert_word(small, 0, UINT64_C(1) << 63 | 3);
}

static void test_log_has_stores_and_no_loads(void **state)
{
	with_and_without_manual_protect(stores_not_loads);
}

static void bulk_writes(struct small_vm *small)
{
	char data[3 * S2_PAGE_SIZE] = { 0 };

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(s2_vcpu_write(small->vcpu, 5 * S2_PAGE_SIZE + 1, data, sizeof(data)), 0);
	assert_int_equal(s2_vcpu_read(small->vcpu, 20 * S2_PAGE_SIZE, data, sizeof(data)), 0);
	assert_int_equal(s2_vcpu_enter(small->vcpu), 0);
	/* Across the boundary of pages 30 and 31. */
	assert_int_equal(s2_vcpu_store64(small->vcpu, 31 * S2_PAGE_SIZE - 1, 1), 0);
	assert_int_equal(s2_vcpu_exit(small->vcpu), 0);
	assert_word(small, 0, UINT64_C(0xf) << 5 | UINT64_C(3) << 30);
}

static void test_log_has_every_page_of_a_copy_and_of_a_misaligned_store(void **state)
{
	with_and_without_manual_protect(bulk_writes);
}

static void get_clears(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(guest_store(small->vcpu, 7, 1), 0);
		assert_int_equal(guest_store(small->vcpu, 7, 2), 0);
		assert_word(small, 0, 1 << 7);
		assert_word(small, 0, 0);
	}
}

static void test_get_takes_the_log_and_protects_the_pages(void **state)
{
	with(&plain, get_clears);
}

static void get_copies(struct small_vm *small)
{
	const uint64_t seven[WORDS] = { 1 << 7 };

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 7, 1), 0);
	assert_int_equal(guest_store(small->vcpu, 8, 1), 0);
	assert_word(small, 0, 3 << 7);
	assert_word(small, 0, 3 << 7);
	assert_int_equal(clear(small, 0, 0, 64, seven), 0);
	assert_word(small, 0, 1 << 8);
	assert_int_equal(guest_store(small->vcpu, 7, 2), 0);
	assert_word(small, 0, 3 << 7);
}

static void test_manual_get_copies_and_clear_protects(void **state)
{
	with(&manual, get_copies);
}

/* Only what clear was given is protected again: a store to the other page does not fault. */
static void clear_protects_few(struct small_vm *small)
{
	const uint64_t seven[WORDS] = { 1 << 7 };
	uint64_t faults;

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 7, 1), 0);
	assert_int_equal(guest_store(small->vcpu, 8, 1), 0);
	assert_int_equal(clear(small, 0, 0, 64, seven), 0);
	faults = vm_stats(small->vm).faults;
	assert_int_equal(guest_store(small->vcpu, 8, 2), 0);
	assert_int_equal(vm_stats(small->vm).faults, faults);
	assert_int_equal(guest_store(small->vcpu, 7, 2), 0);
	assert_int_equal(vm_stats(small->vm).faults, faults + 1);
}

static void test_clear_protects_the_pages_it_names_and_no_others(void **state)
{
	with_and_without_manual_protect(clear_protects_few);
}

/* Of a large log most is passed over in lines, and neighbours are protected at once. */
static void runs_of_pages(struct small_vm *small)
{
	static const uint64_t runs[WORDS] = { 1,
					      3,
					      [2] = UINT64_C(0xf) << 60,
					      [3] = 0xf,
					      [7] = UINT64_MAX,
					      [9] = UINT64_C(1) << 63,
					      [15] = UINT64_C(0x5) << 37 };
	uint64_t bits[WORDS];

	assert_int_equal(set_slot(small->vm, 0, 0, 1000, 0, LOG), 0);
	for (uint64_t page = 0; page < 1000; page++)
		assert_int_equal(guest_store(small->vcpu, page, 1), 0);
	assert_int_equal(get(small, 0, bits), 0);
	for (int round = 0; round < 3; round++) {
		for (uint64_t page = 0; page < 1000; page++)
			if (runs[page / 64] >> page % 64 & 1)
				assert_int_equal(guest_store(small->vcpu, page, 2), 0);
		assert_int_equal(get(small, 0, bits), 0);
		assert_memory_equal(bits, runs, 16 * sizeof(bits[0]));
	}
}

static void test_get_takes_runs_of_pages_and_protects_each(void **state)
{
	with(&plain, runs_of_pages);
}

/* Each run that clear is given is protected, and the pages on either side of it are not. */
static void clear_protects_runs(struct small_vm *small)
{
	const uint64_t runs[WORDS] = { UINT64_C(0xf0) | UINT64_C(3) << 62, 1 };
	uint64_t faults;

	assert_int_equal(set_slot(small->vm, 0, 0, 128, 0, LOG), 0);
	for (uint64_t page = 0; page < 128; page++)
		assert_int_equal(guest_store(small->vcpu, page, 1), 0);
	assert_int_equal(clear(small, 0, 0, 128, runs), 0);
	for (uint64_t page = 0; page < 128; page++) {
		faults = vm_stats(small->vm).faults;
		assert_int_equal(guest_store(small->vcpu, page, 2), 0);
		assert_int_equal(vm_stats(small->vm).faults - faults,
				 runs[page / 64] >> page % 64 & 1);
	}
}

static void test_clear_protects_runs_of_pages_and_no_others(void **state)
{
	with_and_without_manual_protect(clear_protects_runs);
}

static void clear_without_manual(struct small_vm *small)
{
	const uint64_t three[WORDS] = { 1 << 3 };

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 3, 1), 0);
	assert_int_equal(guest_store(small->vcpu, 4, 1), 0);
	assert_int_equal(clear(small, 0, 0, 64, three), 0);
	assert_word(small, 0, 1 << 4);
}

static void test_clear_works_without_the_manual_capability(void **state)
{
	with(&plain, clear_without_manual);
}

static void clear_parts(struct small_vm *small)
{
	uint64_t all[WORDS], bits[WORDS];

	memset(all, 0xff, sizeof(all));
	assert_int_equal(set_slot(small->vm, 0, 0, 200, 0, LOG), 0);
	for (uint64_t gfn = 0; gfn < 200; gfn++)
		assert_int_equal(guest_store(small->vcpu, gfn, 1), 0);
	assert_int_equal(clear(small, 0, 64, 64, all), 0);
	assert_int_equal(get(small, 0, bits), 0);
	assert_true(bits[0] == UINT64_MAX && bits[1] == 0 && bits[2] == UINT64_MAX &&
		    bits[3] == 255);
	for (uint64_t gfn = 0; gfn < 200; gfn++)
		assert_int_equal(guest_store(small->vcpu, gfn, 2), 0);
	/* The last word of the slot: the bits beyond its end mean nothing. */
	assert_int_equal(clear(small, 0, 192, 8, all), 0);
	assert_int_equal(get(small, 0, bits), 0);
	assert_true(bits[0] == UINT64_MAX && bits[1] == UINT64_MAX && bits[2] == UINT64_MAX &&
		    bits[3] == 0);
	assert_int_equal(bits[4], UNTOUCHED);
}

static void test_clear_clears_its_range_only(void **state)
{
	with_and_without_manual_protect(clear_parts);
}

/* ---- on, off, moved ---- */

static void starts_with_ones(struct small_vm *small)
{
	const uint64_t all[WORDS] = { UINT64_MAX, UINT64_MAX };
	uint64_t bits[WORDS];

	assert_int_equal(set_slot(small->vm, 0, 0, 100, 0, LOG), 0);
	assert_int_equal(get(small, 0, bits), 0);
	assert_true(bits[0] == UINT64_MAX && bits[1] == (UINT64_C(1) << 36) - 1);
	assert_int_equal(clear(small, 0, 0, 100, all), 0);
	assert_word(small, 0, 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 100, 0, 0), 0);
	assert_int_equal(get(small, 0, bits), -ENOENT);
	assert_int_equal(set_slot(small->vm, 0, 0, 100, 0, LOG), 0);
	assert_int_equal(get(small, 0, bits), 0);
	assert_true(bits[0] == UINT64_MAX && bits[1] == (UINT64_C(1) << 36) - 1);
	/* A page that was mapped writable before is caught once its bit was cleared. */
	assert_int_equal(guest_store(small->vcpu, 9, 1), 0);
	assert_int_equal(clear(small, 0, 0, 100, all), 0);
	assert_int_equal(guest_store(small->vcpu, 9, 2), 0);
	assert_word(small, 0, 1 << 9);
}

static void test_initially_set_log_starts_with_all_pages_at_each_beginning(void **state)
{
	with(&initially_set, starts_with_ones);
}

static void off_and_on(struct small_vm *small)
{
	uint64_t bits[WORDS];

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 5, 1), 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, 0), 0);
	assert_int_equal(get(small, 0, bits), -ENOENT);
	assert_int_equal(bits[0], UNTOUCHED);
	assert_int_equal(guest_store(small->vcpu, 6, 1), 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_word(small, 0, 0);
	/* Both were writable, and in the TLB. */
	assert_int_equal(guest_store(small->vcpu, 5, 2), 0);
	assert_int_equal(guest_store(small->vcpu, 6, 2), 0);
	assert_word(small, 0, 3 << 5);
}

static void test_log_that_is_turned_off_and_on_begins_anew(void **state)
{
	with_and_without_manual_protect(off_and_on);
}

/* A load of a writable page maps it writable; that must not outlive the turning on of the log. */
static void turned_on_late(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, 0), 0);
	assert_guest_reads(small->vcpu, 3, 3);
	assert_int_equal(guest_store(small->vcpu, 4, 1), 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 3, 1), 0);
	assert_int_equal(guest_store(small->vcpu, 4, 1), 0);
	assert_word(small, 0, 3 << 3);
}

static void test_pages_that_were_writable_are_caught_when_the_log_is_turned_on(void **state)
{
	with_and_without_manual_protect(turned_on_late);
}

static void moved_log(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 5, 1), 0);
	assert_int_equal(guest_store(small->vcpu, 63, 1), 0);
	assert_int_equal(set_slot(small->vm, 0, 1000, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 1007, 1), 0);
	assert_word(small, 0, UINT64_C(1) << 63 | 1 << 7 | 1 << 5);
}

static void test_moved_log_keeps_its_bits_by_page(void **state)
{
	with_and_without_manual_protect(moved_log);
}

static void moved_and_turned(struct small_vm *small)
{
	uint64_t bits[WORDS];

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 5, 1), 0);
	assert_int_equal(set_slot(small->vm, 0, 1000, 64, 0, 0), 0);
	assert_int_equal(get(small, 0, bits), -ENOENT);
	assert_int_equal(set_slot(small->vm, 0, 2000, 64, 0, LOG), 0);
	assert_word(small, 0, 0);
}

static void test_move_that_turns_the_log_off_or_on(void **state)
{
	with_and_without_manual_protect(moved_and_turned);
}

/* ---- large pages ---- */

static void huge_leaves(struct small_vm *small)
{
	const uint64_t first[WORDS] = { 1 };

	small->host.shift = S2_HUGE_SHIFT;
	assert_int_equal(set_slot(small->vm, 0, 512, 1024, 512, 0), 0);
	assert_guest_reads(small->vcpu, 512, 512);
	assert_guest_reads(small->vcpu, 1024, 1024);
	assert_int_equal(vm_stats(small->vm).huge_mapped, 2);
	assert_int_equal(set_slot(small->vm, 0, 512, 1024, 512, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 512, 1), 0);
	assert_int_equal(guest_store(small->vcpu, 512 + 40, 1), 0);
	assert_int_equal(vm_stats(small->vm).huge_mapped, 0);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 2);
	assert_word(small, 0, 1 | UINT64_C(1) << 40);
	assert_int_equal(clear(small, 0, 0, 64, first), 0);
	assert_guest_reads(small->vcpu, 512, 1);
	assert_guest_reads(small->vcpu, 512 + 41, 512 + 41);
	assert_int_equal(vm_stats(small->vm).huge_mapped, 0);
}

static void test_large_leaves_are_split_while_a_log_is_kept(void **state)
{
	with_and_without_manual_protect(huge_leaves);
}

static void huge_again(struct small_vm *small)
{
	small->host.shift = S2_HUGE_SHIFT;
	assert_int_equal(set_slot(small->vm, 0, 512, 512, 512, LOG), 0);
	assert_guest_reads(small->vcpu, 600, 600);
	assert_int_equal(vm_stats(small->vm).huge_mapped, 0);
	assert_int_equal(set_slot(small->vm, 0, 512, 512, 512, 0), 0);
	/* The small leaf is in the way of a large one, and stays good. */
	assert_guest_reads(small->vcpu, 601, 601);
	assert_guest_reads(small->vcpu, 600, 600);
	assert_int_equal(guest_store(small->vcpu, 600, 5), 0);
	assert_guest_reads(small->vcpu, 600, 5);
}

static void test_small_leaves_stay_good_when_the_log_is_turned_off(void **state)
{
	with_and_without_manual_protect(huge_again);
}

/* ---- inside a pair ---- */

static void *create_slot_1(void *arg)
{
	struct small_vm *small = arg;

	assert_int_equal(set_slot(small->vm, 1, 1000, 4, 100, 0), 0);
	return NULL;
}

/*
 * The thread has a pair open that a memslot update waits for: it must not queue behind that
 * update, as s2_vm_set_memory_region() does not either. Where it does, this test hangs.
 */
static void log_behind_an_update_that_waits_for_us(struct small_vm *small)
{
	uint64_t generation, bits[WORDS] = { 1 };
	struct s2_invalidation inv;
	pthread_t updater;

	assert_int_equal(set_slot(small->vm, 0, 0, 64, 0, LOG), 0);
	assert_int_equal(guest_store(small->vcpu, 0, 1), 0);
	generation = s2_vm_memslots_generation(small->vm);
	assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(100),
						   FRAME_HVA_OF(101), 0),
			 0);
	/* Nobody waits for anybody yet. */
	assert_word(small, 0, 1);
	assert_int_equal(clear(small, 0, 0, 64, bits), 0);
	assert_int_equal(guest_store(small->vcpu, 0, 2), 0);
	assert_int_equal(pthread_create(&updater, NULL, create_slot_1, small), 0);
	while (s2_vm_memslots_generation(small->vm) == generation)
		sched_yield();
	assert_int_equal(get(small, 0, bits), -EDEADLK);
	assert_int_equal(bits[0], UNTOUCHED);
	assert_int_equal(clear(small, 0, 0, 64, bits), -EDEADLK);
	s2_invalidate_range_end(small->mm, &inv);
	assert_int_equal(pthread_join(updater, NULL), 0);
	assert_word(small, 0, 1);
}

static void test_log_does_not_wait_for_an_update_that_waits_for_the_caller(void **state)
{
	with_and_without_manual_protect(log_behind_an_update_that_waits_for_us);
}

/* ---- under fire ---- */

#define FIRE_PAGES 192
#define FIRE_WRITERS 2
#define FIRE_ROUNDS 300

struct writer {
	struct s2_vcpu *vcpu;
	uint64_t random;
	_Atomic bool *stop;
	_Atomic uint64_t written;
	pthread_t thread;
};

/* Each writer has a word of its own in each page, and writes ever larger values. */
static void *writer_thread(void *arg)
{
	struct writer *writer = arg;
	uint64_t offset = 8 + 8 * (writer->random % 64);

	assert_int_equal(s2_vcpu_enter(writer->vcpu), 0);
	for (uint64_t value = 1; !atomic_load(writer->stop); value++) {
		uint64_t page = test_random(&writer->random) % FIRE_PAGES;

		/* Most go to few pages, so that they hit in the TLB while the log is taken. */
		if (value % 4)
			page %= 3;
		assert_int_equal(
			s2_vcpu_store64(writer->vcpu, (page << S2_PAGE_SHIFT) + offset, value), 0);
		atomic_store_explicit(&writer->written, value, memory_order_relaxed);
		if (value % 8 == 0)
			s2_vcpu_poll(writer->vcpu);
	}
	assert_int_equal(s2_vcpu_exit(writer->vcpu), 0);
	return NULL;
}

/* Migration's copy: a page is copied whenever it was in the log, and only then. */
static void copy_dirty_pages(struct small_vm *small, bool manually, char *copy)
{
	uint64_t bits[WORDS];

	assert_int_equal(get(small, 0, bits), 0);
	if (manually)
		assert_int_equal(clear(small, 0, 0, FIRE_PAGES, bits), 0);
	for (unsigned page = 0; page < FIRE_PAGES; page++) {
		const _Atomic uint64_t *from =
			(const void *)(small->host.frames + page * S2_PAGE_SIZE);
		uint64_t *to = (void *)(copy + page * S2_PAGE_SIZE);

		if (!(bits[page / 64] >> (page % 64) & 1))
			continue;
		for (unsigned word = 0; word < 66; word++)
			to[word] = atomic_load_explicit(&from[word], memory_order_relaxed);
	}
}

/* So that there is always something between two collections. */
static void await_writes(struct writer *writer)
{
	uint64_t before = atomic_load(&writer->written);

	while (atomic_load(&writer->written) < before + 10)
		sched_yield();
}

static void churn(struct small_vm *small, int round)
{
	struct s2_invalidation inv;
	unsigned page = (unsigned)round % FIRE_PAGES;

	if (round % 7)
		return;
	assert_int_equal(s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(page),
						   FRAME_HVA_OF(page + 1), 0),
			 0);
	s2_invalidate_range_end(small->mm, &inv);
}

static void under_fire(struct small_vm *small, bool manually)
{
	struct writer writers[FIRE_WRITERS];
	char *copy = calloc(FIRE_PAGES, S2_PAGE_SIZE);
	uint64_t seed = test_seed();
	_Atomic bool stop = false;

	assert_non_null(copy);
	memcpy(copy, small->host.frames, FIRE_PAGES * S2_PAGE_SIZE);
	assert_int_equal(set_slot(small->vm, 0, 0, FIRE_PAGES, 0, LOG), 0);
	for (int i = 0; i < FIRE_WRITERS; i++) {
		writers[i] = (struct writer){ .random = seed + (uint64_t)i, .stop = &stop };
		assert_int_equal(s2_vcpu_create(small->vm, test_vcpu_config(), &writers[i].vcpu),
				 0);
		assert_int_equal(
			pthread_create(&writers[i].thread, NULL, writer_thread, &writers[i]), 0);
	}
	for (int round = 0; round < FIRE_ROUNDS; round++) {
		copy_dirty_pages(small, manually, copy);
		churn(small, round);
		await_writes(&writers[round % FIRE_WRITERS]);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < FIRE_WRITERS; i++) {
		assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
		assert_int_equal(s2_vcpu_destroy(writers[i].vcpu), 0);
	}
	/* What was written since is in the log: with it the copy is complete. */
	copy_dirty_pages(small, manually, copy);
	for (unsigned page = 0; page < FIRE_PAGES; page++)
		assert_memory_equal(copy + page * S2_PAGE_SIZE,
				    small->host.frames + page * S2_PAGE_SIZE, 66 * 8);
	free(copy);
}

static void under_fire_with(const struct s2_vm_config *config)
{
	struct small_vm small;

	small_vm_begin(&small, S2_GATE_RANGE, config);
	under_fire(&small, config->manual_dirty_protect);
	small_vm_end(&small);
}

static void test_no_write_is_lost_under_fire(void **state)
{
	under_fire_with(&plain);
	under_fire_with(&(struct s2_vm_config){ .mmu_lock = S2_MMU_LOCK_MUTEX });
}

static void test_no_write_is_lost_under_fire_with_manual_protect(void **state)
{
	under_fire_with(&manual);
	under_fire_with(&initially_set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get_refuses_as_the_kernel_does),
		cmocka_unit_test(test_get_writes_whole_words_and_nothing_behind_them),
		cmocka_unit_test(test_clear_refuses_as_the_kernel_does),
		cmocka_unit_test(test_refused_clear_leaves_the_log_alone),
		cmocka_unit_test(test_log_has_stores_and_no_loads),
		cmocka_unit_test(test_log_has_every_page_of_a_copy_and_of_a_misaligned_store),
		cmocka_unit_test(test_get_takes_the_log_and_protects_the_pages),
		cmocka_unit_test(test_manual_get_copies_and_clear_protects),
		cmocka_unit_test(test_clear_protects_the_pages_it_names_and_no_others),
		cmocka_unit_test(test_get_takes_runs_of_pages_and_protects_each),
		cmocka_unit_test(test_clear_protects_runs_of_pages_and_no_others),
		cmocka_unit_test(test_clear_works_without_the_manual_capability),
		cmocka_unit_test(test_clear_clears_its_range_only),
		cmocka_unit_test(test_initially_set_log_starts_with_all_pages_at_each_beginning),
		cmocka_unit_test(test_log_that_is_turned_off_and_on_begins_anew),
		cmocka_unit_test(
			test_pages_that_were_writable_are_caught_when_the_log_is_turned_on),
		cmocka_unit_test(test_moved_log_keeps_its_bits_by_page),
		cmocka_unit_test(test_move_that_turns_the_log_off_or_on),
		cmocka_unit_test(test_large_leaves_are_split_while_a_log_is_kept),
		cmocka_unit_test(test_small_leaves_stay_good_when_the_log_is_turned_off),
		cmocka_unit_test(test_log_does_not_wait_for_an_update_that_waits_for_the_caller),
		cmocka_unit_test(test_no_write_is_lost_under_fire),
		cmocka_unit_test(test_no_write_is_lost_under_fire_with_manual_protect),
	};

	return cmocka_run_group_tests_name("dirty_log", tests, NULL, NULL);
}
