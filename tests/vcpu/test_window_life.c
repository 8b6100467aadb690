/* SPDX-License-Identifier: MIT */
/* Windows: how they come and go, what is refused, and faults by call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "mmu/window_vm.h"

#define PAGES 16u
#define FRAMES 64u
#define CHUNK 512u

static void begin(struct window_vm *w)
{
	window_vm_begin(w, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
}

static void test_faults_by_call(void **state)
{
	struct window_vm w;
	uint64_t faults;

	begin(&w);
	assert_int_equal(host_fill(&w.p, 5, 1), 0);
	assert_int_equal(s2_window_fault(w.window, window_page(&w, 5) + 3, S2_ACCESS_READ), 0);
	assert_int_equal(s2_window_fault(w.window, window_page(&w, 6), S2_ACCESS_WRITE), 0);
	faults = window_stats(w.window).faults;
	assert_int_equal(faults, 2);
	assert_window_has(&w, 5, 1);
	window_fill(&w, 6, 1);
	assert_int_equal(window_stats(w.window).faults, faults);
	assert_int_equal(s2_window_fault(w.window, w.addr - 1, S2_ACCESS_READ), -EINVAL);
	assert_int_equal(s2_window_fault(w.window, w.addr + PAGES * S2_PAGE_SIZE, S2_ACCESS_READ),
			 -EINVAL);
	assert_int_equal(s2_window_fault(w.window, w.addr, 0), -EINVAL);
	assert_int_equal(s2_window_fault(w.window, w.addr, S2_ACCESS_READ | S2_ACCESS_WRITE),
			 -EINVAL);
	assert_int_equal(s2_window_fault(w.window, NULL, S2_ACCESS_READ), -EINVAL);
	assert_int_equal(s2_window_fault(NULL, w.addr, S2_ACCESS_READ), -EINVAL);
	window_vm_end(&w);
}

static void refuses(struct s2_vm *vm, uint64_t gpa, uint64_t size, uint64_t reserved)
{
	const struct s2_window_config config = {
		.gpa = gpa,
		.size = size,
		.reserved = { 0, 0, 0, reserved },
	};
	struct s2_window *untouched = (struct s2_window *)&vm, *window = untouched;

	assert_int_equal(s2_window_create(vm, &config, &window), -EINVAL);
	assert_ptr_equal(window, untouched);
}

static void test_windows_that_cannot_be(void **state)
{
	const struct s2_window_config good = { .size = S2_PAGE_SIZE };
	struct s2_window *window = NULL;
	struct s2_window_stats stats;
	struct window_vm w;

	begin(&w);
	refuses(w.p.vm, 0, 0, 0);
	refuses(w.p.vm, 1, S2_PAGE_SIZE, 0);
	refuses(w.p.vm, 0, S2_PAGE_SIZE + 1, 0);
	refuses(w.p.vm, 0, 1, 0);
	refuses(w.p.vm, UINT64_C(1) << 48, S2_PAGE_SIZE, 0);
	refuses(w.p.vm, (UINT64_C(1) << 48) - S2_PAGE_SIZE, 2 * S2_PAGE_SIZE, 0);
	refuses(w.p.vm, -S2_PAGE_SIZE, S2_PAGE_SIZE, 0);
	refuses(w.p.vm, -S2_PAGE_SIZE, 2 * S2_PAGE_SIZE, 0);
	refuses(w.p.vm, S2_PAGE_SIZE, -S2_PAGE_SIZE, 0);
	refuses(w.p.vm, 0, S2_PAGE_SIZE, 1);
	assert_int_equal(s2_window_create(NULL, &good, &window), -EINVAL);
	assert_int_equal(s2_window_create(w.p.vm, NULL, &window), -EINVAL);
	assert_int_equal(s2_window_create(w.p.vm, &good, NULL), -EINVAL);
	assert_null(s2_window_addr(NULL));
	assert_int_equal(s2_window_get_stats(NULL, &stats), -EINVAL);
	assert_int_equal(s2_window_get_stats(w.window, NULL), -EINVAL);
	s2_window_destroy(NULL);
	window_vm_end(&w);
}

static void test_the_last_page_there_can_be(void **state)
{
	uint64_t gfn = (UINT64_C(1) << (48 - S2_PAGE_SHIFT)) - 1;
	struct s2_window *window;
	struct window_vm w;
	volatile uint64_t *page;

	begin(&w);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	assert_int_equal(map_region(w.p.vm, 0, gfn, 1, w.p.hva), 0);
	window = window_of(w.p.vm, gfn, 1);
	page = s2_window_addr(window);
	*page = 7;
	assert_guest_reads(w.p.vcpu, gfn, 7);
	s2_window_destroy(window);
	window_vm_end(&w);
}

static void test_addresses_are_aligned_as_the_guests(void **state)
{
	static const uint64_t gfns[] = { 0, 1, 511, 512, 513, 100000 };
	struct window_vm w;

	begin(&w);
	for (unsigned i = 0; i < sizeof(gfns) / sizeof(gfns[0]); i++) {
		struct s2_window *window = window_of(w.p.vm, gfns[i], 3);

		assert_int_equal((uintptr_t)s2_window_addr(window) % (CHUNK * S2_PAGE_SIZE),
				 gfns[i] % CHUNK * S2_PAGE_SIZE);
		assert_mappings_agree(window, 3);
		s2_window_destroy(window);
	}
	window_vm_end(&w);
}

/* Its frames are memory of the test's own, of which nobody can map a page a second time. */
static void test_a_provider_that_cannot(void **state)
{
	const struct s2_window_config config = { .size = S2_PAGE_SIZE };
	struct s2_window *window = NULL;
	struct small_vm small;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(s2_window_create(small.vm, &config, &window), -ENOTSUP);
	assert_null(window);
	small_vm_end(&small);
}

static void test_no_memory_for_a_window(void **state)
{
	const struct s2_window_config config = { .size = PAGES * S2_PAGE_SIZE };
	struct s2_window *window = NULL;
	unsigned long blocks;
	struct window_vm w;
	int ret;

	begin(&w);
	blocks = w.p.memory.blocks;
	for (long n = 1;; n++) {
		counting_allocator_fail_at(&w.p.memory, n);
		ret = s2_window_create(w.p.vm, &config, &window);
		counting_allocator_fail_at(&w.p.memory, 0);
		if (!ret)
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_null(window);
		assert_int_equal(w.p.memory.blocks, blocks);
	}
	s2_window_destroy(window);
	assert_int_equal(w.p.memory.blocks, blocks);
	window_vm_end(&w);
}

/* Whatever a fault allocates: it fails, or does without, and the next one succeeds. */
static void test_no_memory_for_a_fault(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		int ret;

		counting_allocator_fail_all(&w.p.memory, true);
		ret = window_store(window_page(&w, gfn), gfn + 1);
		counting_allocator_fail_all(&w.p.memory, false);
		assert_true(ret == 0 || ret == -ENOMEM);
		assert_int_equal(window_store(window_page(&w, gfn), gfn + 1), 0);
		assert_int_equal(window_load(window_page(&w, gfn), &value), 0);
		assert_int_equal(value, gfn + 1);
	}
	window_vm_end(&w);
}

/* More than there are addresses: refused, and nothing stays. */
static void test_a_window_that_is_too_large(void **state)
{
	const struct s2_window_config config = { .size = UINT64_C(1) << 48 };
	struct s2_window *window = NULL;
	unsigned long blocks;
	struct window_vm w;

	begin(&w);
	blocks = w.p.memory.blocks;
	assert_int_equal(s2_window_create(w.p.vm, &config, &window), -ENOMEM);
	assert_null(window);
	assert_int_equal(w.p.memory.blocks, blocks);
	window_vm_end(&w);
}

static void test_a_large_window_with_little_in_it(void **state)
{
	uint64_t gfn = (UINT64_C(60) << (30 - S2_PAGE_SHIFT)) + 3;
	struct s2_window *window;
	struct window_vm w;
	volatile uint64_t *page;

	begin(&w);
	assert_int_equal(map_region(w.p.vm, 1, gfn, 4, w.p.hva), 0);
	window = window_of(w.p.vm, 0, UINT64_C(64) << (30 - S2_PAGE_SHIFT));
	page = (void *)((char *)s2_window_addr(window) + (gfn << S2_PAGE_SHIFT));
	*page = 7;
	assert_guest_reads(w.p.vcpu, gfn, 7);
	assert_int_equal(s2_pool_discard(w.p.pool, w.p.hva, S2_PAGE_SIZE), 0);
	assert_int_equal(*page, 0);
	assert_int_equal(window_stats(window).pages_mapped, 1);
	s2_window_destroy(window);
	window_vm_end(&w);
}

static void test_a_window_outlives_who_holds_its_vm(void **state)
{
	struct window_vm w;

	begin(&w);
	window_fill(&w, 5, 1);
	assert_int_equal(s2_vcpu_destroy(w.p.vcpu), 0);
	s2_vm_put(w.p.vm);
	w.p.vm = NULL;
	w.p.vcpu = NULL;
	assert_window_has(&w, 5, 1);
	assert_int_equal(s2_pool_reclaim(w.p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	assert_window_has(&w, 5, 1);
	window_fill(&w, 6, 1);
	/* The fixture destroys the window before it ends the rest, of which some is gone. */
	s2_window_destroy(w.window);
	assert_int_equal(s2_vm_create(s2_pool_mm(w.p.pool), NULL, &w.p.vm), 0);
	assert_int_equal(s2_vcpu_create(w.p.vm, NULL, &w.p.vcpu), 0);
	pool_vm_end(&w.p);
}

static void test_a_vm_goes_on_without_its_window(void **state)
{
	struct window_vm w;

	begin(&w);
	for (unsigned i = 0; i < 20; i++) {
		window_fill(&w, i % PAGES, i);
		s2_window_destroy(w.window);
		assert_guest_has(w.p.vcpu, i % PAGES, i);
		w.window = window_of(w.p.vm, 0, PAGES);
		w.addr = s2_window_addr(w.window);
	}
	window_vm_end(&w);
}

static void test_addresses_of_a_window_that_is_gone(void **state)
{
	struct s2_window *window;
	struct window_vm w;
	uint64_t value;
	void *addr;

	begin(&w);
	window = window_of(w.p.vm, 0, PAGES);
	addr = s2_window_addr(window);
	assert_int_equal(window_load(addr, &value), 0);
	s2_window_destroy(window);
	assert_int_equal(window_load(addr, &value), WINDOW_NOT_CONCERNED);
	window_vm_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows_that_cannot_be),
		cmocka_unit_test(test_a_window_that_is_too_large),
		cmocka_unit_test(test_faults_by_call),
		cmocka_unit_test(test_the_last_page_there_can_be),
		cmocka_unit_test(test_addresses_are_aligned_as_the_guests),
		cmocka_unit_test(test_a_provider_that_cannot),
		cmocka_unit_test(test_no_memory_for_a_window),
		cmocka_unit_test(test_no_memory_for_a_fault),
		cmocka_unit_test(test_a_window_outlives_who_holds_its_vm),
		cmocka_unit_test(test_a_vm_goes_on_without_its_window),
		cmocka_unit_test(test_addresses_of_a_window_that_is_gone),
		cmocka_unit_test(test_a_large_window_with_little_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
