/* SPDX-License-Identifier: MIT */
/*
 * The argument rules of a memslot update, one at a time.  What they are held to is the kernel's
 * answer, and test_kvm_differential.c compares with that at random; this says which rule broke.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "memslot/region.h"

#define PAGE S2_PAGE_SIZE
#define HVA UINT64_C(0x10000000000)

static const struct s2_region_rules rules = {
	.nr_slots = 100,
	.nr_address_spaces = 2,
	.max_gfn = 0xfffff,
	.hva_limit = S2_REGION_HVA_LIMIT,
};

static struct kvm_userspace_memory_region good(void)
{
	return (struct kvm_userspace_memory_region){
		.slot = 1,
		.guest_phys_addr = 16 * PAGE,
		.memory_size = 4 * PAGE,
		.userspace_addr = HVA,
	};
}

static struct s2_region_old good_old(void)
{
	return (struct s2_region_old){ .base_gfn = 16, .npages = 4, .hva = HVA };
}

static void assert_checks(const struct kvm_userspace_memory_region *mem, int expected)
{
	assert_int_equal(s2_region_check(mem, &rules), expected);
}

/* The answer, and that a refusal leaves *change alone. */
static void assert_refused(const struct kvm_userspace_memory_region *mem,
			   const struct s2_region_old *old, uint64_t nr_pages)
{
	enum s2_region_change change = 77;

	assert_int_equal(s2_region_classify(mem, old, nr_pages, &change), -EINVAL);
	assert_int_equal(change, 77);
}

static void assert_change(const struct kvm_userspace_memory_region *mem,
			  const struct s2_region_old *old, enum s2_region_change expected)
{
	enum s2_region_change change = 77;

	assert_int_equal(s2_region_classify(mem, old, 0, &change), 0);
	assert_int_equal(change, expected);
}

static void test_plain_region_passes(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	assert_checks(&mem, 0);
}

static void test_only_the_two_flags_pass(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	for (unsigned int bit = 0; bit < 32; bit++) {
		mem.flags = UINT32_C(1) << bit;
		assert_checks(&mem, bit < 2 ? 0 : -EINVAL);
	}
	mem.flags = KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY;
	assert_checks(&mem, 0);
}

static void test_misaligned_size_is_refused(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.memory_size = 1;
	assert_checks(&mem, -EINVAL);
	mem.memory_size = PAGE + 2048;
	assert_checks(&mem, -EINVAL);
}

static void test_misaligned_gpa_is_refused(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.guest_phys_addr += 1;
	assert_checks(&mem, -EINVAL);
}

static void test_misaligned_hva_is_refused(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.userspace_addr += 8;
	assert_checks(&mem, -EINVAL);
}

static void test_hva_zero_is_an_address_like_any_other(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.userspace_addr = 0;
	assert_checks(&mem, 0);
}

static void test_hva_may_end_at_the_limit_and_not_beyond(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.userspace_addr = rules.hva_limit - mem.memory_size;
	assert_checks(&mem, 0);
	mem.userspace_addr += PAGE;
	assert_checks(&mem, -EINVAL);
}

static void test_wrapping_hva_is_refused(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.userspace_addr = -PAGE;
	assert_checks(&mem, -EINVAL);
	mem.userspace_addr = HVA;
	mem.memory_size = -HVA;
	assert_checks(&mem, -EINVAL);
}

static void test_slot_id_is_below_nr_slots(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.slot = 99;
	assert_checks(&mem, 0);
	mem.slot = 100;
	assert_checks(&mem, -EINVAL);
	mem.slot = 0xffff;
	assert_checks(&mem, -EINVAL);
}

static void test_address_space_is_the_upper_half_of_slot(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.slot = 1 << 16 | 99;
	assert_checks(&mem, 0);
	mem.slot = 2 << 16 | 99;
	assert_checks(&mem, -EINVAL);
	mem.slot = UINT32_C(0xffff) << 16;
	assert_checks(&mem, -EINVAL);
}

static void test_wrapping_gpa_is_refused(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.guest_phys_addr = -PAGE;
	assert_checks(&mem, -EINVAL);
}

static void test_gpa_ending_exactly_at_2_64_is_refused(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.guest_phys_addr = -mem.memory_size;
	assert_checks(&mem, -EINVAL);
	mem.guest_phys_addr -= PAGE;
	assert_checks(&mem, 0);
}

static void test_page_count_limit(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.userspace_addr = PAGE;
	mem.memory_size = S2_REGION_MAX_PAGES * PAGE;
	assert_checks(&mem, 0);
	mem.memory_size += PAGE;
	assert_checks(&mem, -EINVAL);
}

static void test_delete_needs_good_fields_too(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.memory_size = 0;
	mem.userspace_addr = rules.hva_limit;
	mem.guest_phys_addr = -PAGE;
	assert_checks(&mem, 0);
	mem.userspace_addr = rules.hva_limit + PAGE;
	assert_checks(&mem, -EINVAL);
	mem.userspace_addr = 1;
	assert_checks(&mem, -EINVAL);
	mem.userspace_addr = 0;
	mem.flags = 4;
	assert_checks(&mem, -EINVAL);
}

static void test_check_leaves_the_last_gfn_to_the_reach_check(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.guest_phys_addr = (rules.max_gfn + 1) * PAGE;
	assert_checks(&mem, 0);
}

static void test_absent_slot_is_created(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	assert_change(&mem, NULL, S2_REGION_CREATE);
}

static void test_create_may_not_overflow_the_page_total(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	enum s2_region_change change;

	assert_int_equal(s2_region_classify(&mem, NULL, UINT64_MAX - 4, &change), 0);
	assert_refused(&mem, NULL, UINT64_MAX - 3);
}

static void test_size_zero_deletes(void **state)
{
	struct kvm_userspace_memory_region mem = { .slot = 1 };
	struct s2_region_old old = good_old();

	assert_change(&mem, &old, S2_REGION_DELETE);
}

static void test_delete_ignores_the_other_fields(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	mem.memory_size = 0;
	mem.guest_phys_addr = 999 * PAGE;
	mem.userspace_addr = 0;
	mem.flags = KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY;
	assert_change(&mem, &old, S2_REGION_DELETE);
}

static void test_deleting_an_absent_slot_is_refused(void **state)
{
	struct kvm_userspace_memory_region mem = { .slot = 1 };

	assert_refused(&mem, NULL, 0);
}

static void test_same_region_again_is_no_change(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	assert_change(&mem, &old, S2_REGION_NONE);
}

static void test_other_gfn_is_a_move(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	mem.guest_phys_addr += PAGE;
	assert_change(&mem, &old, S2_REGION_MOVE);
}

static void test_move_may_toggle_dirty_logging(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	mem.guest_phys_addr += PAGE;
	mem.flags = KVM_MEM_LOG_DIRTY_PAGES;
	assert_change(&mem, &old, S2_REGION_MOVE);
}

static void test_dirty_logging_toggle_is_flags_only(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	mem.flags = KVM_MEM_LOG_DIRTY_PAGES;
	assert_change(&mem, &old, S2_REGION_FLAGS_ONLY);
	old.flags = KVM_MEM_LOG_DIRTY_PAGES;
	mem.flags = 0;
	assert_change(&mem, &old, S2_REGION_FLAGS_ONLY);
}

static void test_readonly_cannot_change(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	mem.flags = KVM_MEM_READONLY;
	assert_refused(&mem, &old, 4);
	old.flags = KVM_MEM_READONLY;
	mem.flags = 0;
	assert_refused(&mem, &old, 4);
	mem.flags = KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES;
	assert_change(&mem, &old, S2_REGION_FLAGS_ONLY);
}

static void test_size_cannot_change(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	mem.memory_size -= PAGE;
	assert_refused(&mem, &old, 4);
	mem.memory_size += 2 * PAGE;
	assert_refused(&mem, &old, 4);
}

static void test_hva_cannot_change(void **state)
{
	struct kvm_userspace_memory_region mem = good();
	struct s2_region_old old = good_old();

	mem.userspace_addr += PAGE;
	assert_refused(&mem, &old, 4);
}

static void test_reach_ends_at_the_last_gfn(void **state)
{
	struct kvm_userspace_memory_region mem = good();

	mem.guest_phys_addr = (rules.max_gfn - 3) * PAGE;
	assert_int_equal(s2_region_check_reach(&mem, S2_REGION_CREATE, &rules), 0);
	assert_int_equal(s2_region_check_reach(&mem, S2_REGION_MOVE, &rules), 0);
	mem.guest_phys_addr += PAGE;
	assert_int_equal(s2_region_check_reach(&mem, S2_REGION_CREATE, &rules), -EINVAL);
	assert_int_equal(s2_region_check_reach(&mem, S2_REGION_MOVE, &rules), -EINVAL);
}

static void test_reach_is_not_asked_of_a_delete(void **state)
{
	struct kvm_userspace_memory_region mem = { .slot = 1, .guest_phys_addr = -PAGE };

	assert_int_equal(s2_region_check_reach(&mem, S2_REGION_DELETE, &rules), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_region_passes),
		cmocka_unit_test(test_only_the_two_flags_pass),
		cmocka_unit_test(test_misaligned_size_is_refused),
		cmocka_unit_test(test_misaligned_gpa_is_refused),
		cmocka_unit_test(test_misaligned_hva_is_refused),
		cmocka_unit_test(test_hva_zero_is_an_address_like_any_other),
		cmocka_unit_test(test_hva_may_end_at_the_limit_and_not_beyond),
		cmocka_unit_test(test_wrapping_hva_is_refused),
		cmocka_unit_test(test_slot_id_is_below_nr_slots),
		cmocka_unit_test(test_address_space_is_the_upper_half_of_slot),
		cmocka_unit_test(test_wrapping_gpa_is_refused),
		cmocka_unit_test(test_gpa_ending_exactly_at_2_64_is_refused),
		cmocka_unit_test(test_page_count_limit),
		cmocka_unit_test(test_delete_needs_good_fields_too),
		cmocka_unit_test(test_check_leaves_the_last_gfn_to_the_reach_check),
		cmocka_unit_test(test_absent_slot_is_created),
		cmocka_unit_test(test_create_may_not_overflow_the_page_total),
		cmocka_unit_test(test_size_zero_deletes),
		cmocka_unit_test(test_delete_ignores_the_other_fields),
		cmocka_unit_test(test_deleting_an_absent_slot_is_refused),
		cmocka_unit_test(test_same_region_again_is_no_change),
		cmocka_unit_test(test_other_gfn_is_a_move),
		cmocka_unit_test(test_move_may_toggle_dirty_logging),
		cmocka_unit_test(test_dirty_logging_toggle_is_flags_only),
		cmocka_unit_test(test_readonly_cannot_change),
		cmocka_unit_test(test_size_cannot_change),
		cmocka_unit_test(test_hva_cannot_change),
		cmocka_unit_test(test_reach_ends_at_the_last_gfn),
		cmocka_unit_test(test_reach_is_not_asked_of_a_delete),
	};

	return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
