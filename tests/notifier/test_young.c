/* SPDX-License-Identifier: MIT */
/*
 * s2_test_young_pages(): which pages of a range are young, in one walk. On frames whose
 * size the test chooses, with every gate; the other young calls are in test_page_events.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memslot/vm.h"
#include "small_vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE S2_PAGE_SIZE
#define HUGE_PAGES 512u
#define WORDS (FRAME_PAGES / 64)

struct young {
	struct small_vm small;
	uint64_t bits[WORDS];
};

static int setup(void **state)
{
	struct young *y = calloc(1, sizeof(*y));

	assert_non_null(y);
	small_vm_begin(&y->small, (enum s2_gate)(uintptr_t)*state, NULL);
	*state = y;
	return 0;
}

static int teardown(void **state)
{
	struct young *y = *state;

	small_vm_end(&y->small);
	free(y);
	return 0;
}

static void add_slot(struct s2_vm *vm, unsigned id, uint64_t gfn, unsigned pages, unsigned page)
{
	assert_int_equal(set_slot(vm, id, gfn, pages, page, 0), 0);
}

static void touch(struct s2_vcpu *vcpu, uint64_t gfn)
{
	uint64_t value;

	assert_int_equal(guest_load(vcpu, gfn, &value), 0);
}

/* Asks about pages of the provider; whatever was in the bitmap is not to matter. */
static int ask(struct young *y, unsigned page, unsigned pages)
{
	memset(y->bits, 0xa5, sizeof(y->bits));
	return s2_test_young_pages(y->small.mm, FRAME_HVA_OF(page), FRAME_HVA_OF(page + pages),
				   y->bits);
}

static bool bit(const struct young *y, unsigned i)
{
	return y->bits[i / 64] >> (i % 64) & 1;
}

static unsigned count(const struct young *y, unsigned pages)
{
	unsigned n = 0;

	for (unsigned i = 0; i < (pages + 63) / 64 * 64; i++)
		n += bit(y, i);
	return n;
}

static void test_the_bits_are_those_of_the_pages_accessed(void **state)
{
	static const unsigned pages[] = { 0, 1, 63, 64, 127, 199 };
	struct young *y = *state;

	add_slot(y->small.vm, 0, 1000, 200, 0);
	for (unsigned i = 0; i < 6; i++)
		touch(y->small.vcpu, 1000 + pages[i]);
	assert_int_equal(ask(y, 0, 200), 1);
	assert_int_equal(count(y, 200), 6);
	for (unsigned i = 0; i < 6; i++)
		assert_true(bit(y, pages[i]));
}

static void test_the_words_beyond_the_range_are_left_alone(void **state)
{
	struct young *y = *state;

	add_slot(y->small.vm, 0, 0, 200, 0);
	touch(y->small.vcpu, 70);
	assert_int_equal(ask(y, 6, 65), 1);
	assert_int_equal(y->bits[0], 0);
	/* Of the last word's bits those that are no page's are 0. */
	assert_int_equal(y->bits[1], 1);
	assert_int_equal(y->bits[2], UINT64_C(0xa5a5a5a5a5a5a5a5));
}

static void test_pages_that_were_only_mapped_or_made_old_are_not_young(void **state)
{
	struct young *y = *state;

	add_slot(y->small.vm, 0, 0, 8, 0);
	assert_int_equal(ask(y, 0, 8), 0);
	for (unsigned i = 0; i < 4; i++)
		touch(y->small.vcpu, i);
	assert_true(s2_clear_young(y->small.mm, FRAME_HVA_OF(1), FRAME_HVA_OF(3)));
	assert_int_equal(ask(y, 0, 8), 1);
	assert_int_equal(y->bits[0], 0x9);
	assert_true(s2_clear_flush_young(y->small.mm, FRAME_HVA_OF(0), FRAME_HVA_OF(8)));
	assert_int_equal(ask(y, 0, 8), 0);
	assert_int_equal(y->bits[0], 0);
	touch(y->small.vcpu, 2);
	assert_int_equal(ask(y, 0, 8), 1);
	assert_int_equal(y->bits[0], 0x4);
}

static void test_asking_clears_nothing(void **state)
{
	struct young *y = *state;

	add_slot(y->small.vm, 0, 0, 8, 0);
	touch(y->small.vcpu, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ask(y, 0, 8), 1);
		assert_int_equal(y->bits[0], 0x8);
	}
	assert_true(s2_test_young(y->small.mm, FRAME_HVA_OF(3)));
	assert_int_equal(vm_stats(y->small.vm).pages_mapped, 1);
	assert_int_equal(vm_stats(y->small.vm).tlb_flushes, 0);
	assert_int_equal(mm_stats(y->small.mm).invalidations, 0);
}

/* A range that begins before the memslot, ends behind it, or lies within. */
static void test_the_range_need_not_be_the_memslot_s(void **state)
{
	struct young *y = *state;

	add_slot(y->small.vm, 0, 500, 10, 100);
	touch(y->small.vcpu, 500);
	touch(y->small.vcpu, 505);
	touch(y->small.vcpu, 509);
	assert_int_equal(ask(y, 90, 200), 1);
	assert_int_equal(count(y, 200), 3);
	assert_true(bit(y, 10) && bit(y, 15) && bit(y, 19));
	assert_int_equal(ask(y, 105, 4), 1);
	assert_int_equal(y->bits[0], 0x1);
	assert_int_equal(ask(y, 101, 4), 0);
	assert_int_equal(ask(y, 90, 10), 0);
	assert_int_equal(ask(y, 110, 10), 0);
}

static void test_memslots_with_a_gap_between_them_are_one_range(void **state)
{
	struct young *y = *state;

	/* In the guest the other way round, and far apart. */
	add_slot(y->small.vm, 0, 1 << 20, 10, 0);
	add_slot(y->small.vm, 1, 7, 10, 30);
	touch(y->small.vcpu, (1 << 20) + 9);
	touch(y->small.vcpu, 7);
	assert_int_equal(ask(y, 0, 40), 1);
	assert_int_equal(y->bits[0], UINT64_C(1) << 9 | UINT64_C(1) << 30);
}

static void test_a_page_in_two_memslots_is_young_if_it_is_in_either(void **state)
{
	struct young *y = *state;

	add_slot(y->small.vm, 0, 0, 8, 0);
	add_slot(y->small.vm, 1, 100, 8, 4);
	touch(y->small.vcpu, 1);
	touch(y->small.vcpu, 5);
	touch(y->small.vcpu, 101);
	touch(y->small.vcpu, 102);
	touch(y->small.vcpu, 107);
	assert_int_equal(ask(y, 0, 12), 1);
	assert_int_equal(y->bits[0], 1 << 1 | 1 << 5 | 1 << 6 | 1 << 11);
}

static void test_a_page_in_two_vms_is_young_if_it_is_in_either(void **state)
{
	struct young *y = *state;
	struct s2_vcpu *vcpu;
	struct s2_vm *vm;

	assert_int_equal(s2_vm_create(y->small.mm, NULL, &vm), 0);
	assert_int_equal(s2_vcpu_create(vm, test_vcpu_config(), &vcpu), 0);
	add_slot(y->small.vm, 0, 0, 8, 0);
	add_slot(vm, 0, 0x4000, 8, 2);
	touch(y->small.vcpu, 0);
	touch(y->small.vcpu, 3);
	touch(vcpu, 0x4001);
	touch(vcpu, 0x4007);
	assert_int_equal(ask(y, 0, 10), 1);
	assert_int_equal(y->bits[0], 1 << 0 | 1 << 3 | 1 << 9);
	touch(vcpu, 0x4003);
	assert_int_equal(ask(y, 0, 10), 1);
	assert_int_equal(y->bits[0], 1 << 0 | 1 << 3 | 1 << 5 | 1 << 9);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
	s2_vm_put(vm);
}

static void test_a_huge_leaf_is_young_in_all_of_its_pages(void **state)
{
	struct young *y = *state;

	y->small.host.shift = S2_HUGE_SHIFT;
	add_slot(y->small.vm, 0, 4 * HUGE_PAGES, 4 * HUGE_PAGES, 0);
	touch(y->small.vcpu, 5 * HUGE_PAGES + 77);
	assert_int_equal(vm_stats(y->small.vm).huge_mapped, 1);
	assert_int_equal(ask(y, 0, 4 * HUGE_PAGES), 1);
	assert_int_equal(count(y, 4 * HUGE_PAGES), HUGE_PAGES);
	assert_true(bit(y, HUGE_PAGES) && bit(y, 2 * HUGE_PAGES - 1));
}

static void test_a_huge_leaf_is_clipped_to_the_range(void **state)
{
	struct young *y = *state;

	y->small.host.shift = S2_HUGE_SHIFT;
	add_slot(y->small.vm, 0, 4 * HUGE_PAGES, 4 * HUGE_PAGES, 0);
	touch(y->small.vcpu, 5 * HUGE_PAGES);
	/* Its beginning, its end, and a part in its middle. */
	assert_int_equal(ask(y, HUGE_PAGES - 70, 75), 1);
	assert_int_equal(count(y, 75), 5);
	assert_true(bit(y, 70) && bit(y, 74));
	assert_int_equal(ask(y, 2 * HUGE_PAGES - 70, 75), 1);
	assert_int_equal(count(y, 75), 70);
	assert_true(bit(y, 0) && bit(y, 69));
	assert_int_equal(ask(y, HUGE_PAGES + 100, 130), 1);
	assert_int_equal(count(y, 130), 130);
	assert_int_equal(y->bits[3], UINT64_C(0xa5a5a5a5a5a5a5a5));
	assert_int_equal(ask(y, HUGE_PAGES - 3, 3), 0);
	assert_int_equal(ask(y, 2 * HUGE_PAGES, 3), 0);
}

static void test_where_no_memslot_is_nothing_is_young(void **state)
{
	struct young *y = *state;

	assert_int_equal(ask(y, 0, FRAME_PAGES), 0);
	assert_int_equal(count(y, FRAME_PAGES), 0);
	add_slot(y->small.vm, 0, 0, 8, 0);
	touch(y->small.vcpu, 0);
	assert_int_equal(set_slot(y->small.vm, 0, 0, 0, 0, 0), 0);
	assert_int_equal(ask(y, 0, 8), 0);
	assert_int_equal(y->bits[0], 0);
}

/* The thread leaves guest mode for the walk, and goes on with its TLB after it. */
static void test_it_may_be_asked_in_guest_mode(void **state)
{
	struct young *y = *state;
	uint64_t value;

	add_slot(y->small.vm, 0, 0, 8, 0);
	assert_int_equal(s2_vcpu_enter(y->small.vcpu), 0);
	assert_int_equal(s2_vcpu_load64(y->small.vcpu, 5 * PAGE, &value), 0);
	assert_int_equal(ask(y, 0, 8), 1);
	assert_int_equal(y->bits[0], 1 << 5);
	assert_int_equal(s2_vcpu_load64(y->small.vcpu, 6 * PAGE, &value), 0);
	assert_int_equal(ask(y, 0, 8), 1);
	assert_int_equal(y->bits[0], 3 << 5);
	assert_int_equal(s2_vcpu_exit(y->small.vcpu), 0);
}

static void test_bad_arguments_are_refused(void **state)
{
	struct young *y = *state;
	struct s2_mm *mm = y->small.mm;
	uint64_t start = FRAME_HVA_OF(0), end = FRAME_HVA_OF(4);

	add_slot(y->small.vm, 0, 0, 8, 0);
	touch(y->small.vcpu, 0);
	memset(y->bits, 0xa5, sizeof(y->bits));
	assert_int_equal(s2_test_young_pages(NULL, start, end, y->bits), -EINVAL);
	assert_int_equal(s2_test_young_pages(mm, start, end, NULL), -EINVAL);
	assert_int_equal(s2_test_young_pages(mm, start, start, y->bits), -EINVAL);
	assert_int_equal(s2_test_young_pages(mm, end, start, y->bits), -EINVAL);
	assert_int_equal(s2_test_young_pages(mm, start + 8, end, y->bits), -EINVAL);
	assert_int_equal(s2_test_young_pages(mm, start, end - 8, y->bits), -EINVAL);
	assert_int_equal(s2_test_young_pages(mm, -PAGE, 0, y->bits), -EINVAL);
	assert_int_equal(y->bits[0], UINT64_C(0xa5a5a5a5a5a5a5a5));
}

/* ---- while the guest is at work ---- */

#define BUSY_GFN UINT64_C(0x800)
#define BUSY_PAGES 300u
#define UNTOUCHED_PAGES 100u

struct busy {
	struct small_vm *small;
	pthread_t thread;
	_Atomic unsigned touched; /* these many, from the first on, have been */
	_Atomic bool stop;
	struct s2_vcpu *vcpu;
};

static void *touch_one_after_another(void *arg)
{
	struct busy *busy = arg;
	uint64_t value;

	for (unsigned i = 0; i < BUSY_PAGES; i++) {
		if (guest_load(busy->vcpu, BUSY_GFN + i, &value))
			abort();
		atomic_store(&busy->touched, i + 1);
	}
	return NULL;
}

static void busy_begin(struct busy *busy, struct young *y, void *(*run)(void *arg))
{
	busy->small = &y->small;
	add_slot(y->small.vm, 0, BUSY_GFN, BUSY_PAGES + UNTOUCHED_PAGES, 0);
	assert_int_equal(s2_vcpu_create(y->small.vm, test_vcpu_config(), &busy->vcpu), 0);
	assert_int_equal(pthread_create(&busy->thread, NULL, run, busy), 0);
}

static void busy_end(struct busy *busy)
{
	atomic_store(&busy->stop, true);
	assert_int_equal(pthread_join(busy->thread, NULL), 0);
	assert_int_equal(s2_vcpu_destroy(busy->vcpu), 0);
}

/* Every page whose access was over is seen, none that has yet to come, and they stay. */
static void test_accesses_are_seen_while_others_fault(void **state)
{
	struct young *y = *state;
	struct busy busy = { 0 };
	unsigned seen = 0;

	busy_begin(&busy, y, touch_one_after_another);
	while (seen < BUSY_PAGES) {
		unsigned before = atomic_load(&busy.touched), after;
		int ret = ask(y, 0, BUSY_PAGES + UNTOUCHED_PAGES);

		after = atomic_load(&busy.touched);
		seen = count(y, BUSY_PAGES + UNTOUCHED_PAGES);
		assert_int_equal(ret, seen != 0);
		assert_true(seen >= before && seen <= after + 1);
		for (unsigned i = 0; i < seen; i++)
			assert_true(bit(y, i));
	}
	busy_end(&busy);
}

/* The pages are taken away, by invalidations, and come back, for ever. */
static void *touch_and_invalidate(void *arg)
{
	struct busy *busy = arg;
	struct s2_invalidation inv;
	uint64_t value;

	for (unsigned i = 0; !atomic_load(&busy->stop); i++) {
		unsigned page = i * 7 % BUSY_PAGES;

		if (guest_load(busy->vcpu, BUSY_GFN + page, &value) ||
		    s2_invalidate_range_start(busy->small->mm, &inv, FRAME_HVA_OF(page),
					      FRAME_HVA_OF(page + 1), 0))
			abort();
		s2_invalidate_range_end(busy->small->mm, &inv);
		atomic_fetch_add(&busy->touched, 1);
	}
	return NULL;
}

static void test_pages_that_come_and_go_are_no_matter(void **state)
{
	struct young *y = *state;
	struct busy busy = { 0 };

	busy_begin(&busy, y, touch_and_invalidate);
	while (atomic_load(&busy.touched) < 2000) {
		assert_true(ask(y, 0, BUSY_PAGES + UNTOUCHED_PAGES) >= 0);
		/* One page at a time is there. */
		assert_true(count(y, BUSY_PAGES + UNTOUCHED_PAGES) <= 1);
	}
	busy_end(&busy);
	assert_int_equal(ask(y, 0, BUSY_PAGES + UNTOUCHED_PAGES), 0);
}

static void *update_memslots(void *arg)
{
	struct busy *busy = arg;

	while (!atomic_load(&busy->stop)) {
		/* Beside the one that is asked about, of its pages. */
		if (set_slot(busy->small->vm, 1, 0x10000, BUSY_PAGES, 0, 0) ||
		    set_slot(busy->small->vm, 1, 0, 0, 0, 0))
			abort();
		atomic_fetch_add(&busy->touched, 1);
	}
	return NULL;
}

static void test_memslots_that_come_and_go_are_no_matter(void **state)
{
	struct young *y = *state;
	struct busy busy = { 0 };

	busy_begin(&busy, y, update_memslots);
	touch(y->small.vcpu, BUSY_GFN + 100);
	while (atomic_load(&busy.touched) < 200) {
		assert_int_equal(ask(y, 0, BUSY_PAGES), 1);
		assert_int_equal(count(y, BUSY_PAGES), 1);
		assert_true(bit(y, 100));
	}
	busy_end(&busy);
}

#define GATE_TEST(function, gate)                                                                  \
	{                                                                                          \
#function " [" #gate "]", function, setup, teardown, (void *)(uintptr_t)S2_GATE_##gate     \
	}
#define YOUNG_TEST(function)                                                                       \
	GATE_TEST(function, RANGE), GATE_TEST(function, ALWAYS), GATE_TEST(function, RWSEM),       \
		GATE_TEST(function, COUNT)

int main(void)
{
	const struct CMUnitTest tests[] = {
		YOUNG_TEST(test_the_bits_are_those_of_the_pages_accessed),
		YOUNG_TEST(test_the_words_beyond_the_range_are_left_alone),
		YOUNG_TEST(test_pages_that_were_only_mapped_or_made_old_are_not_young),
		YOUNG_TEST(test_asking_clears_nothing),
		YOUNG_TEST(test_the_range_need_not_be_the_memslot_s),
		YOUNG_TEST(test_memslots_with_a_gap_between_them_are_one_range),
		YOUNG_TEST(test_a_page_in_two_memslots_is_young_if_it_is_in_either),
		YOUNG_TEST(test_a_page_in_two_vms_is_young_if_it_is_in_either),
		YOUNG_TEST(test_a_huge_leaf_is_young_in_all_of_its_pages),
		YOUNG_TEST(test_a_huge_leaf_is_clipped_to_the_range),
		YOUNG_TEST(test_where_no_memslot_is_nothing_is_young),
		YOUNG_TEST(test_it_may_be_asked_in_guest_mode),
		YOUNG_TEST(test_bad_arguments_are_refused),
		YOUNG_TEST(test_accesses_are_seen_while_others_fault),
		YOUNG_TEST(test_pages_that_come_and_go_are_no_matter),
		YOUNG_TEST(test_memslots_that_come_and_go_are_no_matter),
	};

	return cmocka_run_group_tests_name("young pages", tests, NULL, NULL);
}
