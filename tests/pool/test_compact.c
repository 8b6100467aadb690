/* SPDX-License-Identifier: MIT */
/* Compaction: blocks come free, and nobody notices but by the statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "pool/pool_vm.h"

#define BLOCK 512u
#define BLOCKS 4u

/* Each page but every @nth. */
static void discard_but(struct pool_vm *p, uint64_t pages, uint64_t nth)
{
	for (uint64_t gfn = 0; gfn < pages; gfn++)
		if (gfn % nth)
			assert_int_equal(s2_pool_discard(p->pool, hva_of(p, gfn), S2_PAGE_SIZE), 0);
}

static void assert_left(struct pool_vm *p, uint64_t pages, uint64_t nth)
{
	for (uint64_t gfn = 0; gfn < pages; gfn++)
		assert_guest_has(p->vcpu, gfn, gfn % nth ? 0 : 1);
}

/* All frames in use, and then one in @nth, so that no block is free. */
static void begin_scattered(struct pool_vm *p, uint64_t nth, unsigned tiers)
{
	pool_vm_begin(p, S2_GATE_RANGE, BLOCKS * BLOCK, BLOCKS * BLOCK, 0, tiers);
	guest_fill_pages(p->vcpu, 0, BLOCKS * BLOCK, 1);
	discard_but(p, BLOCKS * BLOCK, nth);
	assert_int_equal(pool_stats(p).free_blocks, 0);
}

static void test_scattered_frames_become_whole_blocks(void **state)
{
	struct s2_pool_stats stats;
	struct pool_vm p;

	begin_scattered(&p, BLOCKS, 0);
	assert_int_equal(s2_pool_compact(p.pool), BLOCKS - 1);
	stats = pool_stats(&p);
	assert_int_equal(stats.free_blocks, BLOCKS - 1);
	assert_int_equal(stats.resident, BLOCK);
	assert_int_equal(stats.migrated, BLOCK - BLOCK / BLOCKS);
	assert_int_equal(memcg_stats(p.memcg).migrated, stats.migrated);
	assert_left(&p, BLOCKS * BLOCK, BLOCKS);
	pool_vm_end(&p);
}

static void test_nothing_is_moved_without_gain(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, 2 * BLOCK, 2 * BLOCK, 0, 0);
	guest_fill_pages(p.vcpu, 0, 2 * BLOCK, 1);
	assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, 0), 200 * S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, BLOCK), 200 * S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_compact(p.pool), 0);
	assert_int_equal(pool_stats(&p).migrated, 0);
	assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, 200), 112 * S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_compact(p.pool), 1);
	assert_int_equal(pool_stats(&p).migrated, 200);
	pool_vm_end(&p);
}

/* As many blocks as could be are free afterwards: what is in use lies in as few as hold it. */
static void random_frees(unsigned frames, uint64_t seed)
{
	uint64_t generation[5000] = { 0 }, used = 0;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, frames, frames, 0, 0);
	for (uint64_t gfn = 0; gfn < frames; gfn++)
		assert_int_equal(guest_fill(p.vcpu, gfn, generation[gfn] = 1), 0);
	for (uint64_t gfn = 0; gfn < frames; gfn++) {
		/* Some blocks are emptied more than others. */
		if (test_random(&seed) % (gfn / 256 + 2) == 0) {
			used++;
			continue;
		}
		assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, gfn), S2_PAGE_SIZE), 0);
		generation[gfn] = 0;
	}
	assert_int_equal(s2_pool_compact(p.pool), (frames - used) / BLOCK);
	for (uint64_t gfn = 0; gfn < frames; gfn++)
		assert_guest_has(p.vcpu, gfn, generation[gfn]);
	pool_vm_end(&p);
}

static void test_random_frees(void **state)
{
	random_frees(BLOCKS * BLOCK, test_seed());
}

/* So many frames that threads keep some in caches. */
static void test_random_frees_with_caches(void **state)
{
	random_frees(9 * BLOCK, test_seed());
}

/* The frames beyond the last whole block take what the blocks are emptied of. */
static void test_the_rest_of_the_pool_is_used_first(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, BLOCK + 100, BLOCK + 100, 0, 0);
	guest_fill_pages(p.vcpu, 0, BLOCK + 100, 1);
	assert_int_equal(s2_pool_discard(p.pool, p.hva, (BLOCK + 50) * S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_compact(p.pool), 1);
	for (uint64_t gfn = 0; gfn < BLOCK + 100; gfn++)
		assert_guest_has(p.vcpu, gfn, gfn < BLOCK + 50 ? 0 : 1);
	pool_vm_end(&p);
}

static void test_shared_pages_move(void **state)
{
	struct s2_pool_stats stats;
	struct pool_vm p;
	uint64_t clone, value;

	begin_scattered(&p, BLOCKS, 0);
	assert_int_equal(s2_pool_clone(p.pool, p.memcg, p.hva, &clone), 0);
	assert_int_equal(map_region(p.vm, 1, BLOCKS * BLOCK, BLOCKS * BLOCK, clone), 0);
	/* Both have the frames mapped. */
	for (uint64_t gfn = 0; gfn < 2 * BLOCKS * BLOCK; gfn++)
		assert_int_equal(guest_load(p.vcpu, gfn, &value), 0);
	assert_int_equal(s2_pool_compact(p.pool), BLOCKS - 1);
	stats = pool_stats(&p);
	assert_int_equal(stats.shared, 2 * BLOCK);
	assert_int_equal(stats.shared_frames, BLOCK);
	assert_int_equal(stats.migrated, BLOCK - BLOCK / BLOCKS);
	assert_left(&p, BLOCKS * BLOCK, BLOCKS);
	/* They are shared as before: a write is seen by one of them. */
	assert_int_equal(guest_fill(p.vcpu, 0, 2), 0);
	assert_guest_has(p.vcpu, 0, 2);
	assert_int_equal(guest_load(p.vcpu, BLOCKS * BLOCK + BLOCKS, &value), 0);
	assert_int_equal(value, (uint64_t)BLOCKS << 40 | 1 << 16);
	assert_int_equal(guest_load(p.vcpu, BLOCKS * BLOCK, &value), 0);
	assert_int_equal(value, 1 << 16);
	assert_int_equal(map_region(p.vm, 1, BLOCKS * BLOCK, 0, clone), 0);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	pool_vm_end(&p);
}

static void test_pages_in_tiers_stay_there(void **state)
{
	struct s2_pool_stats before, after;
	struct pool_vm p;

	begin_scattered(&p, 2, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, 300 * S2_PAGE_SIZE, 0), 300 * S2_PAGE_SIZE);
	before = pool_stats(&p);
	assert_int_equal(before.swapped, 300);
	assert_int_equal(s2_pool_compact(p.pool), 2);
	after = pool_stats(&p);
	assert_int_equal(after.swapped, 300);
	assert_int_equal(after.swap_ins, before.swap_ins);
	assert_int_equal(after.swap_outs, before.swap_outs);
	assert_left(&p, BLOCKS * BLOCK, 2);
	pool_vm_end(&p);
}

/* What is known of a page's age goes with it. */
static void test_pages_keep_their_age(void **state)
{
	struct pool_vm p;

	begin_scattered(&p, BLOCKS, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(s2_pool_age(p.pool), 0);
	assert_int_equal(pool_stats(&p).by_age[3], BLOCK);
	assert_int_equal(s2_pool_compact(p.pool), BLOCKS - 1);
	assert_int_equal(pool_stats(&p).by_age[3], BLOCK);
	pool_vm_end(&p);
}

static void *compact(void *arg)
{
	struct pool_vm *p = arg;

	return (void *)(intptr_t)s2_pool_compact(p->pool);
}

/* On another thread, while this one has a page locked. */
static void compact_meanwhile(void *arg)
{
	pthread_t thread;
	void *blocks;

	assert_int_equal(pthread_create(&thread, NULL, compact, arg), 0);
	assert_int_equal(pthread_join(thread, &blocks), 0);
	/* All else goes where that page is. */
	assert_int_equal((intptr_t)blocks, BLOCKS - 1);
}

static void test_a_page_in_use_by_others_is_not_waited_for(void **state)
{
	struct pool_vm p;

	begin_scattered(&p, BLOCKS, 1);
	/* The block of the page that is reclaimed is the first to be emptied. */
	for (uint64_t gfn = BLOCKS; gfn < 20 * BLOCKS; gfn++)
		assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, gfn), S2_PAGE_SIZE), 0);
	p.tiers[0].arg = &p;
	p.tiers[0].meanwhile = compact_meanwhile;
	assert_int_equal(s2_pool_reclaim(p.pool, 1, 0), S2_PAGE_SIZE);
	assert_null(p.tiers[0].meanwhile);
	assert_int_equal(pool_stats(&p).free_blocks, BLOCKS - 1);
	assert_guest_has(p.vcpu, 0, 1);
	assert_guest_has(p.vcpu, 20 * BLOCKS, 1);
	pool_vm_end(&p);
}

static void test_compaction_from_guest_mode(void **state)
{
	struct pool_vm p;
	uint64_t value;

	begin_scattered(&p, BLOCKS, 0);
	assert_int_equal(s2_vcpu_enter(p.vcpu), 0);
	assert_int_equal(s2_vcpu_load64(p.vcpu, 0, &value), 0);
	assert_int_equal(s2_pool_compact(p.pool), BLOCKS - 1);
	assert_int_equal(s2_vcpu_store64(p.vcpu, 0, value), 0);
	assert_int_equal(s2_vcpu_exit(p.vcpu), 0);
	assert_left(&p, BLOCKS * BLOCK, BLOCKS);
	pool_vm_end(&p);
}

static void test_no_pool(void **state)
{
	assert_int_equal(s2_pool_compact(NULL), -EINVAL);
}

#define COUNTERS 3u

/* A guest that counts, in one page after another, and stays in guest mode. */
struct counter {
	struct pool_vm *p;
	struct s2_vcpu *vcpu;
	uint64_t first; /* its pages are this and every COUNTERS * BLOCKS-th on */
	uint64_t rounds;
	_Atomic bool *stop;
	int ret;
	pthread_t thread;
};

static int count_on(struct s2_vcpu *vcpu, uint64_t gfn)
{
	uint64_t value;
	int ret = s2_vcpu_load64(vcpu, gfn << S2_PAGE_SHIFT, &value);

	return ret ? ret : s2_vcpu_store64(vcpu, gfn << S2_PAGE_SHIFT, value + 1);
}

static void *run_counter(void *arg)
{
	struct counter *c = arg;
	int ret = s2_vcpu_enter(c->vcpu);

	while (!ret && !atomic_load(c->stop)) {
		for (uint64_t gfn = c->first; !ret && gfn < c->p->pages; gfn += COUNTERS * BLOCKS) {
			ret = count_on(c->vcpu, gfn);
			s2_vcpu_poll(c->vcpu);
		}
		c->rounds++;
	}
	c->ret = ret ? ret : s2_vcpu_exit(c->vcpu);
	return NULL;
}

/* What lies between the counters' pages comes, goes for the most part, and all is compacted. */
static void throw_about(struct pool_vm *p, uint64_t *random)
{
	for (uint64_t gfn = 0; gfn < p->pages; gfn++)
		if (gfn % BLOCKS)
			assert_int_equal(host_fill(p, gfn, 1), 0);
	for (uint64_t gfn = 0; gfn < p->pages; gfn++)
		if (gfn % BLOCKS && test_random(random) % 8)
			assert_int_equal(s2_pool_discard(p->pool, hva_of(p, gfn), S2_PAGE_SIZE), 0);
	assert_true(s2_pool_compact(p->pool) >= 0);
}

static void assert_counted(struct counter *c)
{
	assert_int_equal(pthread_join(c->thread, NULL), 0);
	assert_int_equal(c->ret, 0);
	for (uint64_t gfn = c->first; gfn < c->p->pages; gfn += COUNTERS * BLOCKS) {
		assert_guest_reads(c->vcpu, gfn, c->rounds);
		assert_int_equal(s2_pool_discard(c->p->pool, hva_of(c->p, gfn), S2_PAGE_SIZE), 0);
	}
	assert_int_equal(s2_vcpu_destroy(c->vcpu), 0);
}

static void under_a_running_guest(enum s2_gate gate)
{
	struct counter counters[COUNTERS];
	uint64_t random = test_seed();
	_Atomic bool stop = false;
	struct pool_vm p;

	pool_vm_begin(&p, gate, BLOCKS * BLOCK, BLOCKS * BLOCK, 0, 0);
	for (unsigned i = 0; i < COUNTERS; i++) {
		counters[i] = (struct counter){ .p = &p, .first = i * BLOCKS, .stop = &stop };
		assert_int_equal(s2_vcpu_create(p.vm, test_vcpu_config(), &counters[i].vcpu), 0);
		assert_int_equal(pthread_create(&counters[i].thread, NULL, run_counter, &counters[i]),
				 0);
	}
	for (unsigned i = 0; i < 10; i++)
		throw_about(&p, &random);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < COUNTERS; i++)
		assert_counted(&counters[i]);
	assert_true(pool_stats(&p).migrated > 0);
	pool_vm_end(&p);
}

static void test_frames_move_under_a_running_guest(void **state)
{
	under_a_running_guest(S2_GATE_RANGE);
}

static void test_frames_move_under_a_running_guest_rwsem(void **state)
{
	under_a_running_guest(S2_GATE_RWSEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scattered_frames_become_whole_blocks),
		cmocka_unit_test(test_nothing_is_moved_without_gain),
		cmocka_unit_test(test_random_frees),
		cmocka_unit_test(test_random_frees_with_caches),
		cmocka_unit_test(test_the_rest_of_the_pool_is_used_first),
		cmocka_unit_test(test_shared_pages_move),
		cmocka_unit_test(test_pages_in_tiers_stay_there),
		cmocka_unit_test(test_pages_keep_their_age),
		cmocka_unit_test(test_a_page_in_use_by_others_is_not_waited_for),
		cmocka_unit_test(test_compaction_from_guest_mode),
		cmocka_unit_test(test_no_pool),
		cmocka_unit_test(test_frames_move_under_a_running_guest),
		cmocka_unit_test(test_frames_move_under_a_running_guest_rwsem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
