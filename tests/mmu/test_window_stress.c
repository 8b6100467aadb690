/* SPDX-License-Identifier: MIT */
/*
 * Threads that use a window by plain accesses, without a vCPU and without ever stopping, while
 * the pool does to their pages whatever it can. Each thread counts in pages of its own, so that
 * whatever is lost, or written to a page that was taken away, shows in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "mmu/window_vm.h"

#define BLOCK 512u
#define PAGES (2 * BLOCK)
#define FRAMES (3 * BLOCK)
#define COUNTERS 3u
#define STRIDE 4u
#define ROUNDS 40u
#define WORDS (S2_PAGE_SIZE / sizeof(uint64_t))

/* Of every STRIDE pages the first COUNTERS are a counter's each, the last is the host's. */
struct counter {
	volatile uint64_t *page;
	uint64_t first;
	_Atomic uint64_t rounds;
	uint64_t wrong;
	_Atomic bool *stop;
	pthread_t thread;
};

/* Two words far from each other, since what is copied is copied from the beginning to the end. */
static void count_on(struct counter *c, uint64_t gfn, uint64_t round)
{
	volatile uint64_t *first = &c->page[gfn * WORDS], *last = &first[WORDS - 1];

	c->wrong += *first != round || *last != round;
	*first = round + 1;
	*last = round + 1;
}

static void *run_counter(void *arg)
{
	struct counter *c = arg;

	while (!atomic_load(c->stop)) {
		for (uint64_t gfn = c->first; gfn < PAGES; gfn += STRIDE)
			count_on(c, gfn, c->rounds);
		c->rounds++;
	}
	return NULL;
}

static void begin_counters(struct counter counters[], const struct window_vm *w,
			   _Atomic bool *stop)
{
	for (unsigned i = 0; i < COUNTERS; i++) {
		counters[i] = (struct counter){
			.page = s2_window_addr(w->window),
			.first = i,
			.stop = stop,
		};
		assert_int_equal(pthread_create(&counters[i].thread, NULL, run_counter,
						&counters[i]),
				 0);
	}
}

static void end_counters(struct counter counters[], struct window_vm *w)
{
	for (unsigned i = 0; i < COUNTERS; i++) {
		assert_int_equal(pthread_join(counters[i].thread, NULL), 0);
		assert_int_equal(counters[i].wrong, 0);
		for (uint64_t gfn = i; gfn < PAGES; gfn += STRIDE) {
			assert_int_equal(*(volatile uint64_t *)window_page(w, gfn),
					 counters[i].rounds);
			assert_guest_reads(w->p.vcpu, gfn, counters[i].rounds);
		}
	}
}

static bool all_have_counted(struct counter counters[])
{
	for (unsigned i = 0; i < COUNTERS; i++)
		if (counters[i].rounds < 4)
			return false;
	return true;
}

/* What goes on meanwhile; @round is for those that do not do the same each time. */
typedef void disturb_fn(struct window_vm *w, uint64_t round, uint64_t *random);

static void count_under(enum s2_gate gate, disturb_fn *disturb)
{
	struct counter counters[COUNTERS];
	uint64_t random = test_seed();
	_Atomic bool stop = false;
	struct window_vm w;

	window_vm_begin(&w, gate, FRAMES, PAGES, 0, 1);
	assert_int_equal(s2_pool_advise(w.p.pool, w.p.hva, PAGES * S2_PAGE_SIZE, S2_POOL_MERGE), 0);
	begin_counters(counters, &w, &stop);
	for (uint64_t round = 0; round < ROUNDS || !all_have_counted(counters); round++)
		disturb(&w, round, &random);
	atomic_store(&stop, true);
	end_counters(counters, &w);
	assert_mappings_agree(w.window, PAGES);
	window_vm_end(&w);
}

static void swap_out(struct window_vm *w, uint64_t round, uint64_t *random)
{
	assert_true(s2_pool_reclaim(w->p.pool, (1 + test_random(random) % PAGES) * S2_PAGE_SIZE,
				    round % 2) >= 0);
}

static void merge(struct window_vm *w, uint64_t round, uint64_t *random)
{
	assert_true(s2_pool_merge(w->p.pool, PAGES) >= 0);
}

/* The host's pages come, and go for the most part, so that there is something to be moved. */
static void compact(struct window_vm *w, uint64_t round, uint64_t *random)
{
	for (uint64_t gfn = STRIDE - 1; gfn < PAGES; gfn += STRIDE)
		assert_int_equal(host_fill(&w->p, gfn, round), 0);
	for (uint64_t gfn = STRIDE - 1; gfn < PAGES; gfn += STRIDE)
		if (test_random(random) % 8)
			assert_int_equal(s2_pool_discard(w->p.pool, hva_of(&w->p, gfn),
							 S2_PAGE_SIZE), 0);
	assert_true(s2_pool_compact(w->p.pool) >= 0);
}

static void collapse(struct window_vm *w, uint64_t round, uint64_t *random)
{
	int ret = s2_pool_collapse(w->p.pool, w->p.hva, PAGES * S2_PAGE_SIZE);

	assert_true(!ret || ret == -EAGAIN || ret == -ENOMEM);
	assert_int_equal(s2_pool_discard(w->p.pool, hva_of(&w->p, STRIDE - 1), S2_PAGE_SIZE), 0);
}

static void clone_all(struct window_vm *w, uint64_t round, uint64_t *random)
{
	uint64_t other;

	assert_int_equal(s2_pool_clone(w->p.pool, w->p.memcg, w->p.hva, &other), 0);
	assert_int_equal(s2_pool_unmap(w->p.pool, other), 0);
}

static void age(struct window_vm *w, uint64_t round, uint64_t *random)
{
	assert_int_equal(s2_pool_age(w->p.pool), 0);
}

static void invalidate(struct window_vm *w, uint64_t round, uint64_t *random)
{
	uint64_t first = test_random(random) % PAGES;
	uint64_t n = 1 + test_random(random) % (PAGES - first);
	struct s2_invalidation inv;

	assert_int_equal(s2_invalidate_range_start(s2_pool_mm(w->p.pool), &inv,
						   hva_of(&w->p, first),
						   hva_of(&w->p, first + n), 0),
			 0);
	s2_invalidate_range_end(s2_pool_mm(w->p.pool), &inv);
}

static void log_dirty(struct window_vm *w, uint64_t round, uint64_t *random)
{
	const struct kvm_userspace_memory_region slot = {
		.flags = round % 2 ? 0 : KVM_MEM_LOG_DIRTY_PAGES,
		.memory_size = PAGES * S2_PAGE_SIZE,
		.userspace_addr = w->p.hva,
	};
	uint64_t bitmap[PAGES / 64];
	const struct kvm_dirty_log log = { .dirty_bitmap = bitmap };

	assert_int_equal(s2_vm_set_memory_region(w->p.vm, &slot), 0);
	if (!(round % 2))
		assert_int_equal(s2_vm_get_dirty_log(w->p.vm, &log), 0);
}

/* Another window of the same pages comes, is used, and goes. */
static void show_again(struct window_vm *w, uint64_t round, uint64_t *random)
{
	struct s2_window *window = window_of(w->p.vm, 0, PAGES);
	volatile uint64_t *page = s2_window_addr(window);

	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		(void)page[gfn * WORDS];
	s2_window_destroy(window);
}

static void everything(struct window_vm *w, uint64_t round, uint64_t *random)
{
	static disturb_fn *const all[] = { swap_out, merge, compact, collapse, clone_all,
					   age, invalidate, log_dirty, show_again };

	all[test_random(random) % (sizeof(all) / sizeof(all[0]))](w, round, random);
}

#define UNDER(what)                                                                                \
	static void test_counters_while_we_##what(void **state)                                   \
	{                                                                                          \
		count_under(S2_GATE_RANGE, what);                                                 \
	}

UNDER(swap_out)
UNDER(merge)
UNDER(compact)
UNDER(collapse)
UNDER(clone_all)
UNDER(age)
UNDER(invalidate)
UNDER(log_dirty)
UNDER(show_again)

static void test_everything_range(void **state)
{
	count_under(S2_GATE_RANGE, everything);
}

static void test_everything_always(void **state)
{
	count_under(S2_GATE_ALWAYS, everything);
}

static void test_everything_rwsem(void **state)
{
	count_under(S2_GATE_RWSEM, everything);
}

static void test_everything_count(void **state)
{
	count_under(S2_GATE_COUNT, everything);
}

/* A log that is read while a thread stores to one page after another misses none. */
struct writer {
	volatile uint64_t *page;
	_Atomic bool done;
	pthread_t thread;
};

static void *write_pages(void *arg)
{
	struct writer *writer = arg;

	for (uint64_t round = 1; round < 20; round++)
		for (uint64_t gfn = 0; gfn < BLOCK; gfn++)
			writer->page[gfn * WORDS] = round;
	atomic_store(&writer->done, true);
	return NULL;
}

/* Copies what is dirty, as a migration does. */
static void copy_dirty(struct window_vm *w, uint64_t copy[BLOCK])
{
	uint64_t bitmap[PAGES / 64];
	const struct kvm_dirty_log log = { .dirty_bitmap = bitmap };

	assert_int_equal(s2_vm_get_dirty_log(w->p.vm, &log), 0);
	for (uint64_t gfn = 0; gfn < BLOCK; gfn++)
		if (bitmap[gfn / 64] >> gfn % 64 & 1)
			assert_int_equal(guest_load(w->p.vcpu, gfn, &copy[gfn]), 0);
}

static void test_the_dirty_log_misses_no_store(void **state)
{
	uint64_t copy[BLOCK] = { 0 };
	struct writer writer;
	struct window_vm w;

	window_vm_begin(&w, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
	log_dirty(&w, 0, NULL);
	writer.page = s2_window_addr(w.window);
	atomic_init(&writer.done, false);
	assert_int_equal(pthread_create(&writer.thread, NULL, write_pages, &writer), 0);
	while (!atomic_load(&writer.done))
		copy_dirty(&w, copy);
	assert_int_equal(pthread_join(writer.thread, NULL), 0);
	copy_dirty(&w, copy);
	for (uint64_t gfn = 0; gfn < BLOCK; gfn++)
		assert_int_equal(copy[gfn], 19);
	window_vm_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters_while_we_swap_out),
		cmocka_unit_test(test_counters_while_we_merge),
		cmocka_unit_test(test_counters_while_we_compact),
		cmocka_unit_test(test_counters_while_we_collapse),
		cmocka_unit_test(test_counters_while_we_clone_all),
		cmocka_unit_test(test_counters_while_we_age),
		cmocka_unit_test(test_counters_while_we_invalidate),
		cmocka_unit_test(test_counters_while_we_log_dirty),
		cmocka_unit_test(test_counters_while_we_show_again),
		cmocka_unit_test(test_everything_range),
		cmocka_unit_test(test_everything_always),
		cmocka_unit_test(test_everything_rwsem),
		cmocka_unit_test(test_everything_count),
		cmocka_unit_test(test_the_dirty_log_misses_no_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
