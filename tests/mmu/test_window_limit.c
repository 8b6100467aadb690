/* SPDX-License-Identifier: MIT */
/*
 * The kernel allows a process so many mappings, of which windows use half at most. Pages here
 * alternate, so that each is a mapping of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "memslot/vm.h"
#include "mm/mm.h"
#include "mmu/window.h"
#include "mmu/window_vm.h"
#include "sanitized.h"

#define PAGES 256u
#define FRAMES 256u
#define LOW_LIMIT 50u
#define WORDS (S2_PAGE_SIZE / sizeof(uint64_t))
/* More than windows may have even where vm.max_map_count is twice Linux' own. */
#define MANY_PAGES 140000u

/* With a limit that is reached soon. */
static void begin(struct window_vm *w)
{
	window_vm_begin(w, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
	s2_pool_mm(w->p.pool)->window_limit = LOW_LIMIT;
}

static uint64_t all_mappings(const struct window_vm *w)
{
	return atomic_load(&s2_pool_mm(w->p.pool)->window_mappings);
}

static void test_every_second_page(void **state)
{
	struct window_vm w;

	begin(&w);
	for (unsigned round = 1; round < 4; round++) {
		for (uint64_t gfn = 0; gfn < PAGES; gfn += 2) {
			window_fill(&w, gfn, round);
			assert_true(window_stats(w.window).mappings <= LOW_LIMIT);
		}
		for (uint64_t gfn = 0; gfn < PAGES; gfn += 2)
			assert_window_has(&w, gfn, round);
		assert_mappings_agree(w.window, PAGES);
	}
	assert_true(window_stats(w.window).limit_zaps > 0);
	window_vm_end(&w);
}

static void test_below_the_limit_nothing_is_given_up(void **state)
{
	struct window_vm w;

	begin(&w);
	for (unsigned round = 0; round < 3; round++)
		for (uint64_t gfn = 0; gfn < LOW_LIMIT / 2 - 2; gfn++)
			window_fill(&w, 2 * gfn, 1);
	assert_int_equal(window_stats(w.window).limit_zaps, 0);
	assert_int_equal(window_stats(w.window).faults, LOW_LIMIT / 2 - 2);
	window_vm_end(&w);
}

/* Pages next to each other, in frames that are: one mapping. */
static void test_what_lies_together_does_not_count(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		(void)*(volatile uint64_t *)window_page(&w, gfn);
	assert_int_equal(window_stats(w.window).mappings, 1);
	assert_int_equal(window_stats(w.window).limit_zaps, 0);
	window_vm_end(&w);
}

static void test_the_window_that_has_most_gives_way(void **state)
{
	struct s2_window *small;
	struct window_vm w;
	volatile uint64_t *page;
	uint64_t faults;

	begin(&w);
	small = window_of(w.p.vm, 0, 16);
	page = s2_window_addr(small);
	for (unsigned i = 0; i < 4; i++)
		page[2 * i * WORDS] = i;
	faults = window_stats(small).faults;
	for (uint64_t gfn = 0; gfn < PAGES; gfn += 2)
		(void)*(volatile uint64_t *)window_page(&w, gfn);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(page[2 * i * WORDS], i);
	assert_true(window_stats(w.window).limit_zaps > 0);
	assert_int_equal(window_stats(small).limit_zaps, 0);
	assert_int_equal(window_stats(small).faults, faults);
	s2_window_destroy(small);
	window_vm_end(&w);
}

/* Of several VMs: the limit is for all of one s2_mm, and they give way to each other. */
static void test_windows_of_many_vms(void **state)
{
	struct s2_window *windows[6];
	struct s2_vm *vms[6];
	struct window_vm w;
	uint64_t zaps = 0;

	begin(&w);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(s2_vm_create(s2_pool_mm(w.p.pool), NULL, &vms[i]), 0);
		assert_int_equal(map_region(vms[i], 0, 0, PAGES, w.p.hva), 0);
		windows[i] = window_of(vms[i], 0, PAGES);
	}
	for (uint64_t gfn = 0; gfn < PAGES; gfn += 2)
		for (unsigned i = 0; i < 6; i++) {
			volatile uint64_t *page = s2_window_addr(windows[i]);

			page[gfn * WORDS] += i + 1;
			assert_true(all_mappings(&w) <= LOW_LIMIT);
		}
	for (uint64_t gfn = 0; gfn < PAGES; gfn += 2)
		assert_int_equal(*(volatile uint64_t *)window_page(&w, gfn), 21);
	for (unsigned i = 0; i < 6; i++) {
		zaps += window_stats(windows[i]).limit_zaps;
		s2_window_destroy(windows[i]);
		s2_vm_put(vms[i]);
	}
	assert_true(zaps > 0);
	assert_int_equal(all_mappings(&w), window_stats(w.window).mappings);
	window_vm_end(&w);
}

/* The limit is so low that each window's own mapping is more than all may have. */
static void test_windows_beyond_the_limit(void **state)
{
	struct s2_window *windows[LOW_LIMIT + 4];
	struct window_vm w;
	uint64_t value;

	begin(&w);
	for (unsigned i = 0; i < LOW_LIMIT + 4; i++)
		windows[i] = window_of(w.p.vm, 0, 16);
	assert_int_equal(window_load(s2_window_addr(windows[0]), &value), -ENOMEM);
	for (unsigned i = 0; i < LOW_LIMIT + 4; i++)
		s2_window_destroy(windows[i]);
	assert_window_has(&w, 0, 0);
	window_vm_end(&w);
}

/*
 * A fault that began when there were few mappings, found too many, and comes to make room when
 * another has just done so: there is nothing left to give up, and no want of room.
 */
static void test_room_that_others_have_made(void **state)
{
	struct s2_windows_room before;
	struct s2_mm *mm;
	struct window_vm w;
	uint64_t value;

	begin(&w);
	mm = s2_pool_mm(w.p.pool);
	before = s2_windows_room(mm);
	assert_int_equal(window_load(s2_window_addr(w.window), &value), 0);
	assert_true(s2_windows_make_room(mm, &(struct s2_windows_room){ .mappings = 0 }));
	assert_int_equal(s2_windows_room(mm).mappings, before.mappings);
	assert_true(s2_windows_make_room(mm, &before));
	before = s2_windows_room(mm);
	assert_false(s2_windows_make_room(mm, &before));
	window_vm_end(&w);
}

struct scatterer {
	volatile uint64_t *page;
	uint64_t first;
	bool wrong;
	pthread_t thread;
};

/* Its own pages: no two that lie together. */
static void *scatter(void *arg)
{
	struct scatterer *s = arg;

	for (uint64_t round = 1; round < 6; round++)
		for (uint64_t gfn = s->first; gfn < PAGES; gfn += 8) {
			if (s->page[gfn * WORDS + 1] != (round - 1) * gfn)
				s->wrong = true;
			s->page[gfn * WORDS + 1] = round * gfn;
		}
	return NULL;
}

static void test_threads_at_the_limit(void **state)
{
	struct scatterer scatterers[4];
	struct window_vm w;

	begin(&w);
	for (unsigned i = 0; i < 4; i++) {
		scatterers[i] = (struct scatterer){
			.page = s2_window_addr(w.window),
			.first = 2 * i,
		};
		assert_int_equal(pthread_create(&scatterers[i].thread, NULL, scatter,
						&scatterers[i]),
				 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(scatterers[i].thread, NULL), 0);
		assert_false(scatterers[i].wrong);
	}
	assert_true(window_stats(w.window).limit_zaps > 0);
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

/* ---- the kernel's own limit ---- */

/* Of zeroes, which take no frame. */
static void begin_many(struct window_vm *w)
{
	window_vm_begin(w, S2_GATE_RANGE, FRAMES, MANY_PAGES, 0, 1);
}

static void test_more_pages_than_the_kernel_allows_mappings(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin_many(&w);
	for (uint64_t gfn = 0; gfn < MANY_PAGES; gfn += 2) {
		assert_int_equal(window_load(window_page(&w, gfn), &value), 0);
		assert_int_equal(value, 0);
	}
	assert_true(window_stats(w.window).limit_zaps > 0);
	assert_mappings_agree(w.window, MANY_PAGES);
	window_vm_end(&w);
}

struct crowd {
	char *memory;
	size_t size;
};

/* The program's own mappings, up to what the kernel allows; the last @spare it gives back. */
static void crowd_in(struct crowd *crowd, unsigned spare)
{
	size_t page;

	crowd->size = (size_t)2 * MANY_PAGES * S2_PAGE_SIZE;
	crowd->memory = mmap(NULL, crowd->size, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(crowd->memory != MAP_FAILED);
	for (page = 1; page < 2 * MANY_PAGES; page += 2)
		if (mprotect(crowd->memory + page * S2_PAGE_SIZE, S2_PAGE_SIZE, PROT_READ))
			break;
	assert_true(page < 2 * MANY_PAGES);
	for (unsigned i = 0; i < spare; i += 2) {
		page -= 2;
		assert_int_equal(mprotect(crowd->memory + page * S2_PAGE_SIZE, S2_PAGE_SIZE,
					  PROT_NONE), 0);
	}
}

/* The kernel lets mmap() go one further than what splits a mapping; then it refuses that, too. */
static unsigned crowd_out(void *last[], unsigned most)
{
	unsigned n = 0;

	while (n < most) {
		last[n] = mmap(NULL, S2_PAGE_SIZE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (last[n] == MAP_FAILED)
			break;
		n++;
	}
	return n;
}

static void test_a_program_that_needs_all_mappings_itself(void **state)
{
	struct crowd crowd;
	struct window_vm w;
	bool right = true;
	int wrong = 0;

	begin_many(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn += 2)
		window_fill(&w, gfn, 1);
	/* Nothing is asserted meanwhile: what fails may need memory to say so. */
	crowd_in(&crowd, 8);
	for (uint64_t gfn = 0; gfn < 2 * PAGES; gfn += 2) {
		uint64_t value = 0;
		int ret = window_load(window_page(&w, gfn) + 1, &value);

		wrong = ret ? ret : wrong;
		right &= value == (gfn < PAGES ? gfn << 40 | 1 << 16 | 1 : 0);
	}
	munmap(crowd.memory, crowd.size);
	assert_int_equal(wrong, 0);
	assert_true(right);
	assert_mappings_agree(w.window, MANY_PAGES);
	window_vm_end(&w);
}

/* What is taken away must go, though the kernel will not split a mapping for it. */
static void test_zaps_when_no_mapping_can_be_split(void **state)
{
	struct crowd crowd;
	struct window_vm w;
	int ret;

	begin_many(&w);
	for (uint64_t gfn = 0; gfn < 32; gfn++)
		window_fill(&w, gfn, 1);
	crowd_in(&crowd, 0);
	ret = s2_pool_discard(w.p.pool, hva_of(&w.p, 13), S2_PAGE_SIZE);
	munmap(crowd.memory, crowd.size);
	assert_int_equal(ret, 0);
	assert_mappings_agree(w.window, MANY_PAGES);
	assert_window_has(&w, 13, 0);
	assert_window_has_pages(&w, 14, 32, 1);
	assert_window_has_pages(&w, 0, 13, 1);
	window_vm_end(&w);
}

static void test_zaps_when_nothing_more_can_be_mapped(void **state)
{
	struct crowd crowd;
	struct window_vm w;
	void *last[16];
	unsigned n;
	int ret;

	if (WITH_THREAD_SANITIZER) {
		print_message("ThreadSanitizer needs mappings of its own at any moment\n");
		skip();
	}
	begin_many(&w);
	for (uint64_t gfn = 0; gfn < 32; gfn++)
		window_fill(&w, gfn, 1);
	crowd_in(&crowd, 0);
	n = crowd_out(last, 16);
	ret = s2_pool_discard(w.p.pool, hva_of(&w.p, 13), S2_PAGE_SIZE);
	munmap(crowd.memory, crowd.size);
	for (unsigned i = 0; i < n; i++)
		munmap(last[i], S2_PAGE_SIZE);
	assert_true(n > 0 && n < 16);
	assert_int_equal(ret, 0);
	assert_window_has(&w, 13, 0);
	assert_window_has_pages(&w, 14, 32, 1);
	assert_mappings_agree(w.window, MANY_PAGES);
	window_vm_end(&w);
}

/* What is only protected or aged, too. */
static void test_protection_when_no_mapping_can_be_split(void **state)
{
	struct kvm_userspace_memory_region slot = {
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.memory_size = 64 * S2_PAGE_SIZE,
	};
	uint64_t bitmap = 0, found = 0;
	const struct kvm_dirty_log log = { .dirty_bitmap = &bitmap };
	struct s2_window *window;
	volatile uint64_t *page;
	struct crowd crowd;
	struct window_vm w;
	struct s2_vm *vm;
	int ret;

	begin_many(&w);
	slot.userspace_addr = w.p.hva;
	assert_int_equal(s2_vm_create(s2_pool_mm(w.p.pool), NULL, &vm), 0);
	assert_int_equal(s2_vm_set_memory_region(vm, &slot), 0);
	window = window_of(vm, 0, 64);
	page = s2_window_addr(window);
	for (uint64_t i = 0; i < 32; i++)
		page[i * WORDS] = i;
	assert_int_equal(s2_vm_get_dirty_log(vm, &log), 0);
	page[7 * WORDS] = 1;
	crowd_in(&crowd, 0);
	ret = s2_vm_get_dirty_log(vm, &log);
	found = bitmap;
	munmap(crowd.memory, crowd.size);
	assert_int_equal(ret, 0);
	assert_int_equal(found, 1 << 7);
	page[7 * WORDS] = 2;
	assert_int_equal(s2_vm_get_dirty_log(vm, &log), 0);
	assert_int_equal(bitmap, 1 << 7);
	assert_mappings_agree(window, 64);
	s2_window_destroy(window);
	s2_vm_put(vm);
	window_vm_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_second_page),
		cmocka_unit_test(test_below_the_limit_nothing_is_given_up),
		cmocka_unit_test(test_what_lies_together_does_not_count),
		cmocka_unit_test(test_the_window_that_has_most_gives_way),
		cmocka_unit_test(test_windows_of_many_vms),
		cmocka_unit_test(test_windows_beyond_the_limit),
		cmocka_unit_test(test_room_that_others_have_made),
		cmocka_unit_test(test_threads_at_the_limit),
		cmocka_unit_test(test_more_pages_than_the_kernel_allows_mappings),
		cmocka_unit_test(test_a_program_that_needs_all_mappings_itself),
		cmocka_unit_test(test_zaps_when_no_mapping_can_be_split),
		cmocka_unit_test(test_zaps_when_nothing_more_can_be_mapped),
		cmocka_unit_test(test_protection_when_no_mapping_can_be_split),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
