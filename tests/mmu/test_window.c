/* SPDX-License-Identifier: MIT */
/*
 * Windows: what plain accesses see of a guest's memory, and what becomes of it when the pool
 * changes. What the notifier, memslots and the dirty log do to windows is in
 * test_window_handlers.c, what races with accesses in test_window_stress.c, the number of
 * mappings in test_window_limit.c, the windows' lives in vcpu/test_window_life.c, the signals in
 * vcpu/test_window_signals.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "mmu/window_vm.h"

#define PAGES 16u
#define FRAMES 64u
#define CHUNK 512u
#define WORDS (S2_PAGE_SIZE / sizeof(uint64_t))

static void begin(struct window_vm *w)
{
	window_vm_begin(w, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
}

static int64_t swap_all_out(struct window_vm *w)
{
	return s2_pool_reclaim(w->p.pool, UINT64_MAX, 0);
}

/* ---- contents ---- */

static void test_memory_begins_as_zeroes(void **state)
{
	struct window_vm w;

	begin(&w);
	assert_window_has_pages(&w, 0, PAGES, 0);
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

static void test_stores_are_seen_by_all(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		window_fill(&w, gfn, 1);
	assert_guest_has_pages(w.p.vcpu, 0, PAGES, 1);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_host_has(&w.p, gfn, 1);
	window_vm_end(&w);
}

static void test_what_others_store_is_seen(void **state)
{
	struct window_vm w;

	begin(&w);
	assert_int_equal(guest_fill(w.p.vcpu, 1, 1), 0);
	assert_int_equal(host_fill(&w.p, 2, 1), 0);
	assert_window_has_pages(&w, 1, 3, 1);
	/* With the pages mapped. */
	assert_int_equal(guest_fill(w.p.vcpu, 1, 2), 0);
	assert_int_equal(host_fill(&w.p, 2, 2), 0);
	assert_window_has_pages(&w, 1, 3, 2);
	window_vm_end(&w);
}

static void test_a_page_that_was_read_can_be_written_to(void **state)
{
	struct window_vm w;

	begin(&w);
	assert_window_has(&w, 0, 0);
	window_fill(&w, 0, 1);
	assert_window_has(&w, 0, 1);
	assert_guest_has(w.p.vcpu, 0, 1);
	window_vm_end(&w);
}

static void test_errno_survives_a_fault(void **state)
{
	struct window_vm w;

	begin(&w);
	errno = ENOTTY;
	(void)*(volatile uint64_t *)window_page(&w, 0);
	assert_int_equal(errno, ENOTTY);
	window_vm_end(&w);
}

static void test_an_access_may_cross_pages(void **state)
{
	const struct {
		uint64_t value;
	} __attribute__((packed)) *odd;
	struct window_vm w;

	begin(&w);
	assert_int_equal(guest_fill(w.p.vcpu, 0, 1), 0);
	assert_int_equal(guest_fill(w.p.vcpu, 1, 1), 0);
	odd = (const void *)(w.addr + S2_PAGE_SIZE - 4);
	assert_int_equal(odd->value, UINT64_C(1) << 48);
	window_vm_end(&w);
}

static void test_stores_of_all_kinds(void **state)
{
	struct {
		uint64_t value;
	} __attribute__((packed)) *odd;
	struct window_vm w;

	begin(&w);
	/* Reads and writes at once, where nothing is mapped, and where it is for reading. */
	__atomic_fetch_add(window_page(&w, 0), 5, __ATOMIC_RELAXED);
	assert_window_has(&w, 1, 0);
	__atomic_fetch_add(window_page(&w, 1), 6, __ATOMIC_RELAXED);
	memset(window_page(&w, 2), 7, 4 * S2_PAGE_SIZE);
	odd = (void *)(w.addr + 9 * S2_PAGE_SIZE - 3);
	odd->value = UINT64_C(0x0807060504030201);
	assert_guest_reads(w.p.vcpu, 0, 5);
	assert_guest_reads(w.p.vcpu, 1, 6);
	assert_guest_reads(w.p.vcpu, 5, UINT64_C(0x0707070707070707));
	assert_guest_reads(w.p.vcpu, 9, UINT64_C(0x0807060504));
	window_vm_end(&w);
}

/* ---- what the pool does ---- */

static void test_pages_come_back_from_a_tier(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		window_fill(&w, gfn, 1);
	assert_int_equal(swap_all_out(&w), PAGES * S2_PAGE_SIZE);
	assert_int_equal(window_stats(w.window).pages_mapped, 0);
	assert_int_equal(window_stats(w.window).mappings, 1);
	assert_window_has_pages(&w, 0, PAGES, 1);
	assert_true(pool_stats(&w.p).swap_ins >= PAGES);
	window_vm_end(&w);
}

static void test_more_memory_than_the_pool_has(void **state)
{
	struct window_vm w;

	window_vm_begin(&w, S2_GATE_RANGE, POOL_FRAMES, 4 * POOL_FRAMES, 0, 1);
	for (uint64_t generation = 1; generation < 4; generation++) {
		for (uint64_t gfn = 0; gfn < 4 * POOL_FRAMES; gfn++)
			window_fill(&w, gfn, generation);
		assert_window_has_pages(&w, 0, 4 * POOL_FRAMES, generation);
		assert_mappings_agree(w.window, 4 * POOL_FRAMES);
	}
	window_vm_end(&w);
}

static void test_a_discarded_page_is_zeroes(void **state)
{
	struct window_vm w;

	begin(&w);
	window_fill(&w, 3, 1);
	window_fill(&w, 4, 1);
	assert_int_equal(s2_pool_discard(w.p.pool, hva_of(&w.p, 3), S2_PAGE_SIZE), 0);
	assert_window_has(&w, 3, 0);
	assert_window_has(&w, 4, 1);
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

static void merge(struct window_vm *w, int64_t frames)
{
	assert_int_equal(s2_pool_advise(w->p.pool, w->p.hva, w->p.pages * S2_PAGE_SIZE,
					S2_POOL_MERGE), 0);
	assert_int_equal(s2_pool_merge(w->p.pool, UINT64_MAX), 0);
	assert_int_equal(s2_pool_merge(w->p.pool, UINT64_MAX), frames);
}

static void test_a_store_to_a_merged_page_gets_its_own(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < 4; gfn++)
		page_fill(window_page(&w, gfn), 0, 1);
	merge(&w, 3);
	for (uint64_t gfn = 0; gfn < 4; gfn++)
		assert_true(page_is(window_page(&w, gfn), 0, 1));
	window_fill(&w, 2, 2);
	for (uint64_t gfn = 0; gfn < 4; gfn++)
		assert_true(page_is(window_page(&w, gfn), gfn == 2 ? 2 : 0, gfn == 2 ? 2 : 1));
	assert_int_equal(pool_stats(&w.p).cow_breaks, 1);
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

static void test_a_store_while_the_page_is_merged_counts(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < 2; gfn++)
		page_fill(window_page(&w, gfn), 0, 1);
	assert_int_equal(s2_pool_advise(w.p.pool, w.p.hva, PAGES * S2_PAGE_SIZE, S2_POOL_MERGE), 0);
	assert_int_equal(s2_pool_merge(w.p.pool, UINT64_MAX), 0);
	*(volatile uint64_t *)window_page(&w, 1) = 77;
	assert_int_equal(s2_pool_merge(w.p.pool, UINT64_MAX), 0);
	assert_true(page_is(window_page(&w, 0), 0, 1));
	assert_int_equal(*(volatile uint64_t *)window_page(&w, 1), 77);
	window_vm_end(&w);
}

static void test_pages_of_zeroes_that_were_merged_can_be_written_to(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < 4; gfn++) {
		window_fill(&w, gfn, 1);
		window_fill(&w, gfn, 0);
	}
	assert_int_equal(s2_pool_advise(w.p.pool, w.p.hva, PAGES * S2_PAGE_SIZE, S2_POOL_MERGE), 0);
	assert_int_equal(s2_pool_merge(w.p.pool, UINT64_MAX), 4);
	assert_int_equal(pool_stats(&w.p).resident, 0);
	assert_window_has_pages(&w, 0, 4, 0);
	window_fill(&w, 1, 2);
	assert_window_has(&w, 1, 2);
	assert_window_has(&w, 0, 0);
	assert_window_has_pages(&w, 2, 4, 0);
	window_vm_end(&w);
}

static void test_clones_part_when_one_is_written_to(void **state)
{
	struct s2_window *other;
	struct window_vm w;
	uint64_t clone, *page;

	begin(&w);
	window_fill(&w, 0, 1);
	window_fill(&w, 1, 1);
	assert_int_equal(s2_pool_clone(w.p.pool, w.p.memcg, w.p.hva, &clone), 0);
	assert_int_equal(map_region(w.p.vm, 1, 100, PAGES, clone), 0);
	other = window_of(w.p.vm, 100, PAGES);
	page = s2_window_addr(other);
	assert_true(page_is(page, 0, 1));
	window_fill(&w, 0, 2);
	assert_true(page_is(page, 0, 1));
	page_fill(page + WORDS, 1, 3);
	assert_window_has(&w, 0, 2);
	assert_window_has(&w, 1, 1);
	s2_window_destroy(other);
	assert_int_equal(map_region(w.p.vm, 1, 100, 0, clone), 0);
	assert_int_equal(s2_pool_unmap(w.p.pool, clone), 0);
	window_vm_end(&w);
}

static void test_pages_stay_when_frames_move(void **state)
{
	struct window_vm w;

	window_vm_begin(&w, S2_GATE_RANGE, 2 * CHUNK, 2 * CHUNK, 0, 0);
	for (uint64_t gfn = 0; gfn < 2 * CHUNK; gfn++)
		window_fill(&w, gfn, 1);
	for (uint64_t gfn = 0; gfn < 2 * CHUNK; gfn++)
		if (gfn % 4)
			assert_int_equal(s2_pool_discard(w.p.pool, hva_of(&w.p, gfn), S2_PAGE_SIZE),
					 0);
	assert_int_equal(s2_pool_compact(w.p.pool), 1);
	assert_true(pool_stats(&w.p).migrated > 0);
	for (uint64_t gfn = 0; gfn < 2 * CHUNK; gfn++)
		assert_window_has(&w, gfn, gfn % 4 ? 0 : 1);
	assert_mappings_agree(w.window, 2 * CHUNK);
	window_vm_end(&w);
}

static void test_2_mib_are_one_mapping(void **state)
{
	struct window_vm w;
	uint64_t faults;

	window_vm_begin(&w, S2_GATE_RANGE, 2 * CHUNK, CHUNK, 0, 1);
	for (uint64_t gfn = CHUNK; gfn-- > 0;)
		assert_int_equal(host_fill(&w.p, gfn, 1), 0);
	assert_int_equal(s2_pool_collapse(w.p.pool, w.p.hva, CHUNK * S2_PAGE_SIZE), 0);
	faults = window_stats(w.window).faults;
	assert_window_has_pages(&w, 0, CHUNK, 1);
	assert_int_equal(window_stats(w.window).faults, faults + 1);
	assert_int_equal(window_stats(w.window).pages_mapped, CHUNK);
	assert_int_equal(window_stats(w.window).mappings, 1);
	assert_mappings_agree(w.window, CHUNK);
	/* One page of it goes. */
	assert_int_equal(s2_pool_discard(w.p.pool, hva_of(&w.p, 7), S2_PAGE_SIZE), 0);
	assert_window_has(&w, 7, 0);
	assert_window_has_pages(&w, 8, CHUNK, 1);
	assert_mappings_agree(w.window, CHUNK);
	window_vm_end(&w);
}

static void test_2_mib_under_a_window_that_shows_part_of_them(void **state)
{
	struct s2_window *part;
	struct window_vm w;
	uint64_t *page;

	window_vm_begin(&w, S2_GATE_RANGE, 2 * CHUNK, CHUNK, 0, 1);
	for (uint64_t gfn = 0; gfn < CHUNK; gfn++)
		assert_int_equal(host_fill(&w.p, gfn, 1), 0);
	assert_int_equal(s2_pool_collapse(w.p.pool, w.p.hva, CHUNK * S2_PAGE_SIZE), 0);
	part = window_of(w.p.vm, 100, 5);
	page = s2_window_addr(part);
	for (uint64_t i = 0; i < 5; i++)
		assert_true(page_is(page + i * WORDS, 100 + i, 1));
	assert_int_equal(window_stats(part).pages_mapped, 5);
	assert_mappings_agree(part, 5);
	assert_int_equal(host_fill(&w.p, 102, 2), 0);
	assert_true(page_is(page + 2 * WORDS, 102, 2));
	assert_int_equal(swap_all_out(&w), CHUNK * S2_PAGE_SIZE);
	assert_int_equal(window_stats(part).pages_mapped, 0);
	assert_true(page_is(page, 100, 1));
	s2_window_destroy(part);
	window_vm_end(&w);
}

/* Made one only when the pages had been mapped by themselves. */
static void test_pages_that_become_2_mib(void **state)
{
	struct window_vm w;

	window_vm_begin(&w, S2_GATE_RANGE, 2 * CHUNK, CHUNK, 0, 1);
	for (uint64_t gfn = CHUNK; gfn-- > 0;)
		window_fill(&w, gfn, 1);
	assert_int_equal(s2_pool_collapse(w.p.pool, w.p.hva, CHUNK * S2_PAGE_SIZE), 0);
	assert_window_has_pages(&w, 0, CHUNK, 1);
	assert_int_equal(window_stats(w.window).mappings, 1);
	assert_mappings_agree(w.window, CHUNK);
	window_fill(&w, 9, 2);
	assert_host_has(&w.p, 9, 2);
	window_vm_end(&w);
}

static void test_neighbours_share_a_mapping(void **state)
{
	struct window_vm w;

	begin(&w);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		window_fill(&w, gfn, 1);
		assert_mappings_agree(w.window, PAGES);
		assert_int_equal(window_stats(w.window).pages_mapped, gfn + 1);
	}
	for (uint64_t gfn = 0; gfn < PAGES; gfn += 3) {
		assert_int_equal(s2_pool_discard(w.p.pool, hva_of(&w.p, gfn), S2_PAGE_SIZE), 0);
		assert_mappings_agree(w.window, PAGES);
	}
	window_vm_end(&w);
}

/* Whatever happens: reads, stores, and pages that go, in any order. */
static void test_mappings_are_counted_exactly(void **state)
{
	uint64_t random = test_seed();
	struct window_vm w;

	begin(&w);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t gfn = test_random(&random) % PAGES, what = test_random(&random) % 8;
		uint64_t n = 1 + test_random(&random) % (PAGES - gfn);

		if (what < 3)
			window_fill(&w, gfn, 1 + what);
		else if (what < 5)
			(void)*(volatile uint64_t *)window_page(&w, gfn);
		else if (what == 5)
			assert_int_equal(s2_pool_discard(w.p.pool, hva_of(&w.p, gfn),
							 n * S2_PAGE_SIZE), 0);
		else if (what == 6)
			s2_clear_flush_young(s2_pool_mm(w.p.pool), hva_of(&w.p, gfn),
					     hva_of(&w.p, gfn + n));
		else
			assert_true(s2_pool_reclaim(w.p.pool, n * S2_PAGE_SIZE, 0) >= 0);
		assert_mappings_agree(w.window, PAGES);
	}
	window_vm_end(&w);
}

/* ---- errors ---- */

static void test_a_tier_that_fails(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin(&w);
	window_fill(&w, 5, 1);
	assert_int_equal(swap_all_out(&w), S2_PAGE_SIZE);
	atomic_store(&w.p.tiers[0].load_error, -EIO);
	assert_int_equal(window_load(window_page(&w, 5), &value), -EIO);
	assert_int_equal(s2_window_fault(w.window, window_page(&w, 5), S2_ACCESS_READ), -EIO);
	atomic_store(&w.p.tiers[0].load_error, 0);
	assert_window_has(&w, 5, 1);
	window_vm_end(&w);
}

static void test_a_full_pool(void **state)
{
	struct window_vm w;

	window_vm_begin(&w, S2_GATE_RANGE, POOL_FRAMES, 2 * POOL_FRAMES, 0, 0);
	for (uint64_t gfn = 0; gfn < POOL_FRAMES; gfn++)
		window_fill(&w, gfn, 1);
	assert_int_equal(window_store(window_page(&w, POOL_FRAMES), 1), -ENOMEM);
	/* Which needs none. */
	assert_window_has(&w, POOL_FRAMES, 0);
	assert_window_has_pages(&w, 0, POOL_FRAMES, 1);
	window_vm_end(&w);
}

static void test_a_memcg_that_is_killed(void **state)
{
	const struct s2_pool_config config = { .size = POOL_FRAMES * S2_PAGE_SIZE };
	const struct s2_memcg_config memcg = { .oom_priority = 1 };
	struct window_vm w;
	uint64_t other, value, data = 1;

	pool_vm_begin_config(&w.p, &config, POOL_FRAMES, &memcg, 0);
	window_vm_show(&w);
	for (uint64_t gfn = 0; gfn < POOL_FRAMES / 2; gfn++)
		window_fill(&w, gfn, 1);
	assert_int_equal(s2_pool_map(w.p.pool, NULL, POOL_FRAMES * S2_PAGE_SIZE, &other), 0);
	for (uint64_t i = 0; i < POOL_FRAMES; i++)
		assert_int_equal(s2_pool_write(w.p.pool, other + i * S2_PAGE_SIZE, &data, 8), 0);
	assert_int_equal(pool_stats(&w.p).oom_kills, 1);
	assert_int_equal(window_load(window_page(&w, 0), &value), -EFAULT);
	assert_int_equal(window_store(window_page(&w, 1), 1), -EFAULT);
	assert_int_equal(window_stats(w.window).pages_mapped, 0);
	assert_int_equal(s2_pool_unmap(w.p.pool, other), 0);
	window_vm_end(&w);
}

static void test_a_system_call_gets_efault(void **state)
{
	struct window_vm w;
	uint64_t word = 0;
	int fds[2];

	begin(&w);
	assert_int_equal(guest_fill(w.p.vcpu, 5, 1), 0);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], window_page(&w, 5) + 1, 8), -1);
	assert_int_equal(errno, EFAULT);
	(void)*(volatile uint64_t *)window_page(&w, 5);
	assert_int_equal(write(fds[1], window_page(&w, 5) + 1, 8), 8);
	assert_int_equal(read(fds[0], &word, 8), 8);
	assert_int_equal(word, UINT64_C(5) << 40 | 1 << 16 | 1);
	close(fds[0]);
	close(fds[1]);
	window_vm_end(&w);
}

/* ---- more than what was asked for ---- */


static void test_pages_that_follow_are_mapped_as_well(void **state)
{
	struct window_vm w;

	begin(&w);
	host_fill_pages(&w.p, 0, PAGES, 1);
	assert_int_equal(s2_window_fault(w.window, window_page(&w, 4), S2_ACCESS_READ), 0);
	assert_int_equal(window_stats(w.window).pages_mapped, PAGES - 4);
	assert_mappings_agree(w.window, PAGES);
	assert_window_has_pages(&w, 0, PAGES, 1);
	/* All by that fault, and one for those before. */
	assert_int_equal(window_stats(w.window).faults, 2);
	assert_int_equal(window_stats(w.window).mappings, 1);
	window_vm_end(&w);
}

static void test_none_that_follow_beyond_the_memslot(void **state)
{
	struct window_vm w;
	uint64_t value;

	begin(&w);
	host_fill_pages(&w.p, 0, PAGES, 1);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	assert_int_equal(map_region(w.p.vm, 0, 0, 6, w.p.hva), 0);
	assert_window_has(&w, 4, 1);
	assert_int_equal(window_stats(w.window).pages_mapped, 2);
	assert_int_equal(window_load(window_page(&w, 6), &value), -ENXIO);
	window_vm_end(&w);
}

/* One is away, and one that is there lies elsewhere. */
static void test_only_those_that_follow_there_as_well(void **state)
{
	struct window_vm w;

	begin(&w);
	host_fill_pages(&w.p, 0, PAGES, 1);
	assert_int_equal(s2_pool_discard(w.p.pool, hva_of(&w.p, 6), 2 * S2_PAGE_SIZE), 0);
	assert_int_equal(host_fill(&w.p, 7, 2), 0);
	assert_window_has(&w, 4, 1);
	assert_int_equal(window_stats(w.window).pages_mapped, 2);
	assert_window_has(&w, 6, 0);
	assert_window_has(&w, 7, 2);
	assert_window_has(&w, 8, 1);
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

static void test_none_in_the_place_of_one_that_is_mapped(void **state)
{
	struct window_vm w;

	begin(&w);
	host_fill_pages(&w.p, 0, PAGES, 1);
	assert_window_has(&w, 8, 1);
	assert_int_equal(window_stats(w.window).pages_mapped, PAGES - 8);
	assert_window_has(&w, 4, 1);
	assert_int_equal(window_stats(w.window).pages_mapped, PAGES - 4);
	assert_int_equal(window_stats(w.window).mappings, 2);
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

static void test_a_window_ends_before_those_that_follow(void **state)
{
	struct s2_window *part;
	struct window_vm w;

	begin(&w);
	host_fill_pages(&w.p, 0, PAGES, 1);
	part = window_of(w.p.vm, 2, 4);
	assert_true(page_is(s2_window_addr(part), 2, 1));
	assert_int_equal(window_stats(part).pages_mapped, 4);
	assert_mappings_agree(part, 4);
	s2_window_destroy(part);
	window_vm_end(&w);
}

/* ---- several ---- */

static void test_two_windows_show_the_same(void **state)
{
	struct s2_window *other;
	struct window_vm w;
	uint64_t *page;

	begin(&w);
	other = window_of(w.p.vm, 0, PAGES);
	page = s2_window_addr(other);
	assert_true(page_is(page + 3 * WORDS, 3, 0));
	window_fill(&w, 3, 1);
	assert_true(page_is(page + 3 * WORDS, 3, 1));
	page_fill(page + 3 * WORDS, 3, 2);
	assert_window_has(&w, 3, 2);
	assert_int_equal(s2_pool_discard(w.p.pool, hva_of(&w.p, 3), S2_PAGE_SIZE), 0);
	assert_true(page_is(page + 3 * WORDS, 3, 0));
	assert_window_has(&w, 3, 0);
	s2_window_destroy(w.window);
	page_fill(page, 0, 5);
	assert_host_has(&w.p, 0, 5);
	assert_mappings_agree(other, PAGES);
	w.window = other;
	window_vm_end(&w);
}

/* One page of the pool twice in one window. */
static void test_memslots_that_share_pages(void **state)
{
	struct window_vm w;

	begin(&w);
	assert_int_equal(map_region(w.p.vm, 0, 0, 0, w.p.hva), 0);
	assert_int_equal(map_region(w.p.vm, 0, 0, PAGES / 2, w.p.hva), 0);
	assert_int_equal(map_region(w.p.vm, 1, PAGES / 2, PAGES / 2, w.p.hva), 0);
	assert_window_has(&w, 1, 0);
	assert_window_has(&w, PAGES / 2 + 1, 0);
	window_fill(&w, 1, 1);
	assert_true(page_is(window_page(&w, PAGES / 2 + 1), 1, 1));
	assert_int_equal(swap_all_out(&w), S2_PAGE_SIZE);
	assert_true(page_is(window_page(&w, PAGES / 2 + 1), 1, 1));
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_begins_as_zeroes),
		cmocka_unit_test(test_stores_are_seen_by_all),
		cmocka_unit_test(test_what_others_store_is_seen),
		cmocka_unit_test(test_a_page_that_was_read_can_be_written_to),
		cmocka_unit_test(test_errno_survives_a_fault),
		cmocka_unit_test(test_an_access_may_cross_pages),
		cmocka_unit_test(test_stores_of_all_kinds),
		cmocka_unit_test(test_pages_come_back_from_a_tier),
		cmocka_unit_test(test_more_memory_than_the_pool_has),
		cmocka_unit_test(test_a_discarded_page_is_zeroes),
		cmocka_unit_test(test_a_store_to_a_merged_page_gets_its_own),
		cmocka_unit_test(test_a_store_while_the_page_is_merged_counts),
		cmocka_unit_test(test_pages_of_zeroes_that_were_merged_can_be_written_to),
		cmocka_unit_test(test_clones_part_when_one_is_written_to),
		cmocka_unit_test(test_pages_stay_when_frames_move),
		cmocka_unit_test(test_2_mib_are_one_mapping),
		cmocka_unit_test(test_2_mib_under_a_window_that_shows_part_of_them),
		cmocka_unit_test(test_pages_that_become_2_mib),
		cmocka_unit_test(test_neighbours_share_a_mapping),
		cmocka_unit_test(test_mappings_are_counted_exactly),
		cmocka_unit_test(test_a_tier_that_fails),
		cmocka_unit_test(test_a_full_pool),
		cmocka_unit_test(test_a_memcg_that_is_killed),
		cmocka_unit_test(test_a_system_call_gets_efault),
		cmocka_unit_test(test_pages_that_follow_are_mapped_as_well),
		cmocka_unit_test(test_none_that_follow_beyond_the_memslot),
		cmocka_unit_test(test_only_those_that_follow_there_as_well),
		cmocka_unit_test(test_none_in_the_place_of_one_that_is_mapped),
		cmocka_unit_test(test_a_window_ends_before_those_that_follow),
		cmocka_unit_test(test_two_windows_show_the_same),
		cmocka_unit_test(test_memslots_that_share_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
