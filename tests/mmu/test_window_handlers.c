/* SPDX-License-Identifier: MIT */
/* What the notifier, memslot updates and the dirty log do to windows, as to the table of a VM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "mmu/window_vm.h"
#include "task_state.h"

#define PAGES 16u
#define FRAMES 64u
#define WORDS (S2_PAGE_SIZE / sizeof(uint64_t))
#define LOG KVM_MEM_LOG_DIRTY_PAGES

static void begin(struct window_vm *w)
{
	window_vm_begin(w, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
}

/* ---- invalidations from outside ---- */

static void under_invalidation(enum s2_gate gate)
{
	struct window_access access;
	struct s2_invalidation inv;
	struct window_vm w;

	window_vm_begin(&w, gate, FRAMES, PAGES, 0, 1);
	window_fill(&w, 5, 1);
	assert_int_equal(s2_invalidate_range_start(s2_pool_mm(w.p.pool), &inv, hva_of(&w.p, 5),
						   hva_of(&w.p, 6), 0),
			 0);
	window_access_begin(&access, window_page(&w, 5) + 1);
	until_asleep(access.thread, &access.tid);
	assert_false(atomic_load(&access.done));
	/* Its neighbour is nobody's concern. */
	assert_window_has(&w, 6, 0);
	s2_invalidate_range_end(s2_pool_mm(w.p.pool), &inv);
	assert_int_equal(window_access_end(&access), 0);
	assert_int_equal(access.value, UINT64_C(5) << 40 | 1 << 16 | 1);
	window_vm_end(&w);
}

static void test_an_access_waits_for_the_end_range(void **state)
{
	under_invalidation(S2_GATE_RANGE);
}

static void test_an_access_waits_for_the_end_always(void **state)
{
	under_invalidation(S2_GATE_ALWAYS);
}

static void test_an_access_waits_for_the_end_rwsem(void **state)
{
	under_invalidation(S2_GATE_RWSEM);
}

static void test_an_access_waits_for_the_end_count(void **state)
{
	under_invalidation(S2_GATE_COUNT);
}

/* More than the library has room for at once; who has to end it needs another page meanwhile. */
static void test_many_that_wait_hold_up_nobody_else(void **state)
{
	struct window_access access[20];
	struct s2_invalidation inv;
	struct window_vm w;

	begin(&w);
	window_fill(&w, 5, 1);
	assert_int_equal(s2_invalidate_range_start(s2_pool_mm(w.p.pool), &inv, hva_of(&w.p, 5),
						   hva_of(&w.p, 6), 0),
			 0);
	for (unsigned i = 0; i < 20; i++)
		window_access_begin(&access[i], window_page(&w, 5) + i);
	for (unsigned i = 0; i < 20; i++)
		until_asleep(access[i].thread, &access[i].tid);
	assert_window_has(&w, 7, 0);
	s2_invalidate_range_end(s2_pool_mm(w.p.pool), &inv);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(window_access_end(&access[i]), 0);
		assert_int_equal(access[i].value, UINT64_C(5) << 40 | 1 << 16 | i);
	}
	window_vm_end(&w);
}

static void test_who_invalidates_a_page_does_not_wait_for_itself(void **state)
{
	struct s2_invalidation inv;
	struct window_vm w;
	uint64_t value;

	begin(&w);
	window_fill(&w, 5, 1);
	assert_int_equal(s2_invalidate_range_start(s2_pool_mm(w.p.pool), &inv, hva_of(&w.p, 5),
						   hva_of(&w.p, 6), 0),
			 0);
	assert_int_equal(window_load(window_page(&w, 5), &value), -EDEADLK);
	assert_int_equal(s2_window_fault(w.window, window_page(&w, 5), S2_ACCESS_READ), -EDEADLK);
	s2_invalidate_range_end(s2_pool_mm(w.p.pool), &inv);
	assert_window_has(&w, 5, 1);
	window_vm_end(&w);
}

static void test_a_start_that_must_not_sleep_may(void **state)
{
	struct s2_invalidation inv;
	struct window_vm w;

	begin(&w);
	window_fill(&w, 5, 1);
	assert_int_equal(s2_invalidate_range_start(s2_pool_mm(w.p.pool), &inv, hva_of(&w.p, 5),
						   hva_of(&w.p, 6), S2_NONBLOCK),
			 0);
	assert_int_equal(window_stats(w.window).pages_mapped, 0);
	s2_invalidate_range_end(s2_pool_mm(w.p.pool), &inv);
	assert_window_has(&w, 5, 1);
	window_vm_end(&w);
}

static void test_after_the_release_there_is_nothing(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin(&w);
	window_fill(&w, 5, 1);
	s2_release(s2_pool_mm(w.p.pool));
	assert_int_equal(window_load(window_page(&w, 5), &value), -EFAULT);
	assert_int_equal(window_stats(w.window).pages_mapped, 0);
	window_vm_end(&w);
}

static void test_none_that_follow_while_one_is_invalidated(void **state)
{
	struct s2_invalidation inv;
	struct window_vm w;

	begin(&w);
	host_fill_pages(&w.p, 0, PAGES, 1);
	assert_int_equal(s2_invalidate_range_start(s2_pool_mm(w.p.pool), &inv, hva_of(&w.p, 7),
						   hva_of(&w.p, 8), 0),
			 0);
	assert_window_has(&w, 4, 1);
	assert_int_equal(window_stats(w.window).pages_mapped, 1);
	s2_invalidate_range_end(s2_pool_mm(w.p.pool), &inv);
	assert_window_has(&w, 5, 1);
	assert_int_equal(window_stats(w.window).pages_mapped, PAGES - 4);
	window_vm_end(&w);
}

/* ---- memslots ---- */

static void test_without_a_memslot_there_is_nothing(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin(&w);
	window_fill(&w, 5, 1);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	assert_int_equal(window_load(window_page(&w, 5), &value), -ENXIO);
	assert_int_equal(window_store(window_page(&w, 5), 1), -ENXIO);
	assert_int_equal(window_stats(w.window).mappings, 1);
	assert_int_equal(map_region(w.p.vm, 0, 0, PAGES, w.p.hva), 0);
	assert_window_has(&w, 5, 1);
	window_vm_end(&w);
}

static void test_a_memslot_that_moves(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		window_fill(&w, gfn, 1);
	assert_int_equal(map_region(w.p.vm, 0, 2, PAGES, w.p.hva), 0);
	assert_int_equal(window_load(window_page(&w, 0), &value), -ENXIO);
	assert_int_equal(window_load(window_page(&w, 1), &value), -ENXIO);
	for (uint64_t gfn = 2; gfn < PAGES; gfn++)
		assert_true(page_is(window_page(&w, gfn), gfn - 2, 1));
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

/* Memory in the middle, and nothing around it. */
static void test_a_window_beyond_its_memslots(void **state)
{
	struct s2_window *wide, *beside;
	struct window_vm w;
	uint64_t value, *page;

	begin(&w);
	assert_int_equal(map_region(w.p.vm, 0, 8, PAGES, w.p.hva), 0);
	wide = window_of(w.p.vm, 3, 4 * PAGES);
	beside = window_of(w.p.vm, 1000, 1);
	page = s2_window_addr(wide);
	for (uint64_t i = 0; i < 4 * PAGES; i++) {
		bool memory = 3 + i >= 8 && 3 + i < 8 + PAGES;

		assert_int_equal(window_load(page + i * WORDS, &value), memory ? 0 : -ENXIO);
		assert_int_equal(window_store(page + i * WORDS, i), memory ? 0 : -ENXIO);
	}
	assert_guest_reads(w.p.vcpu, 8, 5);
	assert_int_equal(window_load(s2_window_addr(beside), &value), -ENXIO);
	assert_mappings_agree(wide, 4 * PAGES);
	s2_window_destroy(beside);
	s2_window_destroy(wide);
	window_vm_end(&w);
}

static int map_with_flags(struct window_vm *w, uint32_t flags)
{
	const struct kvm_userspace_memory_region mem = {
		.flags = flags,
		.memory_size = PAGES * S2_PAGE_SIZE,
		.userspace_addr = w->p.hva,
	};

	return s2_vm_set_memory_region(w->p.vm, &mem);
}

static void test_a_read_only_memslot_can_be_read(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin(&w);
	window_fill(&w, 5, 1);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	assert_int_equal(map_with_flags(&w, KVM_MEM_READONLY), 0);
	assert_int_equal(window_store(window_page(&w, 5), 1), -EROFS);
	assert_window_has(&w, 5, 1);
	assert_int_equal(window_store(window_page(&w, 5), 1), -EROFS);
	assert_int_equal(window_load(window_page(&w, 5), &value), 0);
	window_vm_end(&w);
}

/* ---- the dirty log ---- */

static uint64_t dirty_log(struct window_vm *w)
{
	uint64_t bitmap = ~UINT64_C(0);
	const struct kvm_dirty_log log = { .dirty_bitmap = &bitmap };

	assert_int_equal(s2_vm_get_dirty_log(w->p.vm, &log), 0);
	return bitmap;
}

static void test_the_dirty_log_sees_stores(void **state)
{
	struct window_vm w;

	begin(&w);
	/* Writable before the log begins. */
	window_fill(&w, 5, 1);
	assert_int_equal(map_with_flags(&w, LOG), 0);
	assert_int_equal(dirty_log(&w), 0);
	for (unsigned round = 0; round < 3; round++) {
		assert_window_has_pages(&w, 0, 5, 0);
		assert_int_equal(dirty_log(&w), 0);
		*(volatile uint64_t *)window_page(&w, 5) = 1;
		*(volatile uint64_t *)window_page(&w, 7) = 1;
		assert_int_equal(dirty_log(&w), 1 << 5 | 1 << 7);
		assert_int_equal(dirty_log(&w), 0);
		assert_mappings_agree(w.window, PAGES);
	}
	window_vm_end(&w);
}

static void test_a_log_that_is_cleared_by_pages(void **state)
{
	const struct s2_vm_config config = { .manual_dirty_protect = true };
	uint64_t bitmap = 0;
	struct kvm_userspace_memory_region slot = {
		.flags = LOG,
		.memory_size = PAGES * S2_PAGE_SIZE,
	};
	const struct kvm_dirty_log log = { .dirty_bitmap = &bitmap };
	struct kvm_clear_dirty_log clear = { .num_pages = PAGES, .dirty_bitmap = &bitmap };
	struct s2_window *window;
	struct window_vm w;
	volatile uint64_t *page;
	struct s2_vm *vm;

	begin(&w);
	slot.userspace_addr = w.p.hva;
	assert_int_equal(s2_vm_create(s2_pool_mm(w.p.pool), &config, &vm), 0);
	assert_int_equal(s2_vm_set_memory_region(vm, &slot), 0);
	window = window_of(vm, 0, PAGES);
	page = s2_window_addr(window);
	for (unsigned round = 0; round < 3; round++) {
		page[2 * WORDS] = page[3 * WORDS] = round;
		assert_int_equal(s2_vm_get_dirty_log(vm, &log), 0);
		assert_int_equal(bitmap, 3 << 2);
		bitmap = 1 << 2;
		assert_int_equal(s2_vm_clear_dirty_log(vm, &clear), 0);
		assert_int_equal(s2_vm_get_dirty_log(vm, &log), 0);
		assert_int_equal(bitmap, 1 << 3);
		page[2 * WORDS] = 9;
		assert_int_equal(s2_vm_get_dirty_log(vm, &log), 0);
		assert_int_equal(bitmap, 3 << 2);
		assert_int_equal(s2_vm_clear_dirty_log(vm, &clear), 0);
	}
	s2_window_destroy(window);
	s2_vm_put(vm);
	window_vm_end(&w);
}

static void test_none_that_follow_with_a_dirty_log(void **state)
{
	struct window_vm w;

	begin(&w);
	host_fill_pages(&w.p, 0, PAGES, 1);
	assert_int_equal(map_with_flags(&w, LOG), 0);
	assert_window_has(&w, 4, 1);
	assert_int_equal(window_stats(w.window).pages_mapped, 1);
	window_vm_end(&w);
}

/* ---- accessed bits ---- */

static void test_accesses_make_a_page_young(void **state)
{
	struct s2_mm *mm;
	struct window_vm w;
	uint64_t hva;

	begin(&w);
	mm = s2_pool_mm(w.p.pool);
	hva = hva_of(&w.p, 5);
	window_fill(&w, 5, 1);
	for (unsigned round = 0; round < 3; round++) {
		assert_true(s2_test_young(mm, hva));
		assert_true(s2_clear_flush_young(mm, hva, hva + S2_PAGE_SIZE));
		assert_false(s2_test_young(mm, hva));
		assert_false(s2_clear_flush_young(mm, hva, hva + S2_PAGE_SIZE));
		assert_mappings_agree(w.window, PAGES);
		if (round)
			window_fill(&w, 5, round);
		else
			assert_window_has(&w, 5, 1);
	}
	/* Without a flush as well: nothing is hidden by a TLB. */
	assert_true(s2_clear_young(mm, hva, hva + S2_PAGE_SIZE));
	assert_window_has(&w, 5, 2);
	assert_true(s2_test_young(mm, hva));
	window_vm_end(&w);
}

static void test_the_pools_clock_sees_a_window(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		window_fill(&w, gfn, 1);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(s2_pool_age(w.p.pool), 0);
		assert_window_has_pages(&w, 0, 4, 1);
	}
	assert_int_equal(s2_pool_age(w.p.pool), 0);
	assert_int_equal(pool_stats(&w.p).by_age[0], 4);
	/* Those of age 3 and more are the ones that nobody used. */
	assert_int_equal(s2_pool_reclaim(w.p.pool, UINT64_MAX, 3), (PAGES - 4) * S2_PAGE_SIZE);
	assert_window_has_pages(&w, 0, PAGES, 1);
	window_vm_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_access_waits_for_the_end_range),
		cmocka_unit_test(test_an_access_waits_for_the_end_always),
		cmocka_unit_test(test_an_access_waits_for_the_end_rwsem),
		cmocka_unit_test(test_an_access_waits_for_the_end_count),
		cmocka_unit_test(test_many_that_wait_hold_up_nobody_else),
		cmocka_unit_test(test_who_invalidates_a_page_does_not_wait_for_itself),
		cmocka_unit_test(test_a_start_that_must_not_sleep_may),
		cmocka_unit_test(test_after_the_release_there_is_nothing),
		cmocka_unit_test(test_without_a_memslot_there_is_nothing),
		cmocka_unit_test(test_a_memslot_that_moves),
		cmocka_unit_test(test_a_window_beyond_its_memslots),
		cmocka_unit_test(test_a_read_only_memslot_can_be_read),
		cmocka_unit_test(test_the_dirty_log_sees_stores),
		cmocka_unit_test(test_a_log_that_is_cleared_by_pages),
		cmocka_unit_test(test_accesses_make_a_page_young),
		cmocka_unit_test(test_the_pools_clock_sees_a_window),
		cmocka_unit_test(test_none_that_follow_while_one_is_invalidated),
		cmocka_unit_test(test_none_that_follow_with_a_dirty_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
