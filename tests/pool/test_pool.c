/* SPDX-License-Identifier: MIT */
/*
 * The pool by itself: states of pages, what is reclaimed and what is not, and tiers that
 * fail. With everything at once: test_pool_stress.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "pool/pool_vm.h"

static void begin(struct pool_vm *p, uint64_t pages)
{
	pool_vm_begin(p, S2_GATE_RANGE, POOL_FRAMES, pages, 0, 1);
}

static void test_reading_takes_no_frame(void **state)
{
	struct pool_vm p;

	begin(&p, 64);
	assert_guest_has_pages(p.vcpu, 0, 64, 0);
	assert_host_has(&p, 7, 0);
	assert_int_equal(pool_stats(&p).resident, 0);
	assert_int_equal(pool_stats(&p).free_frames, POOL_FRAMES);
	pool_vm_end(&p);
}

static void test_what_is_written_is_read(void **state)
{
	struct pool_vm p;

	begin(&p, 8);
	guest_fill_pages(p.vcpu, 0, 4, 1);
	assert_guest_has_pages(p.vcpu, 0, 4, 1);
	assert_guest_has_pages(p.vcpu, 4, 8, 0);
	assert_host_has(&p, 2, 1);
	assert_int_equal(host_fill(&p, 2, 2), 0);
	assert_guest_has(p.vcpu, 2, 2);
	assert_int_equal(pool_stats(&p).resident, 4);
	pool_vm_end(&p);
}

static void test_a_frame_used_before_is_zeroed(void **state)
{
	struct pool_vm p;
	uint64_t value;

	begin(&p, POOL_FRAMES);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(s2_pool_discard(p.pool, p.hva, POOL_FRAMES * S2_PAGE_SIZE), 0);
	assert_int_equal(guest_store(p.vcpu, 0, 1), 0);
	assert_int_equal(s2_pool_read(p.pool, p.hva + 8, &value, sizeof(value)), 0);
	assert_int_equal(value, 0);
	assert_int_equal(s2_pool_write(p.pool, hva_of(&p, 1), &value, 1), 0);
	assert_guest_has(p.vcpu, 1, 0);
	pool_vm_end(&p);
}

struct watcher {
	struct s2_vcpu *vcpu;
	_Atomic bool has_zero;
	int ret;
	pthread_t thread;
};

/* Stays in guest mode, and so keeps what it has, until the page is not zero or is gone. */
static void *watch_page(void *arg)
{
	struct watcher *watcher = arg;
	uint64_t value = 0;

	assert_int_equal(s2_vcpu_enter(watcher->vcpu), 0);
	while (!(watcher->ret = s2_vcpu_load64(watcher->vcpu, 0, &value)) && !value) {
		atomic_store(&watcher->has_zero, true);
		s2_vcpu_poll(watcher->vcpu);
	}
	assert_int_equal(s2_vcpu_exit(watcher->vcpu), 0);
	return NULL;
}

static void watcher_begin(struct watcher *watcher, struct pool_vm *p)
{
	memset(watcher, 0, sizeof(*watcher));
	assert_int_equal(s2_vcpu_create(p->vm, test_vcpu_config(), &watcher->vcpu), 0);
	assert_int_equal(pthread_create(&watcher->thread, NULL, watch_page, watcher), 0);
	while (!atomic_load(&watcher->has_zero))
		sched_yield();
}

static int watcher_end(struct watcher *watcher)
{
	assert_int_equal(pthread_join(watcher->thread, NULL), 0);
	assert_int_equal(s2_vcpu_destroy(watcher->vcpu), 0);
	return watcher->ret;
}

static void test_other_vcpus_lose_the_zero_frame(void **state)
{
	struct watcher watcher;
	struct pool_vm p;

	begin(&p, 1);
	watcher_begin(&watcher, &p);
	assert_int_equal(guest_store(p.vcpu, 0, 1), 0);
	assert_int_equal(watcher_end(&watcher), 0);
	pool_vm_end(&p);
}

static void test_the_hosts_write_takes_the_zero_frame_away(void **state)
{
	struct watcher watcher;
	struct pool_vm p;

	begin(&p, 1);
	watcher_begin(&watcher, &p);
	assert_int_equal(host_fill(&p, 0, 1), 0);
	assert_int_equal(watcher_end(&watcher), 0);
	pool_vm_end(&p);
}

static void overcommit(enum s2_gate gate)
{
	const uint64_t pages = 4 * POOL_FRAMES;
	struct s2_pool_stats stats;
	struct pool_vm p;

	pool_vm_begin(&p, gate, POOL_FRAMES, pages, 0, 1);
	for (uint64_t generation = 1; generation < 4; generation++) {
		guest_fill_pages(p.vcpu, 0, pages, generation);
		assert_guest_has_pages(p.vcpu, 0, pages, generation);
	}
	stats = pool_stats(&p);
	assert_int_equal(stats.resident, POOL_FRAMES);
	assert_int_equal(stats.free_frames, 0);
	assert_int_equal(stats.swapped, pages - POOL_FRAMES);
	assert_int_equal(stats.tier_pages[0], pages - POOL_FRAMES);
	assert_int_equal(faulty_tier_used(&p.tiers[0]), pages - POOL_FRAMES);
	assert_int_equal(stats.swap_outs - stats.swap_ins, stats.swapped);
	/* Each page in a full pool, of whatever kind, had to make room first. */
	assert_int_equal(stats.direct_reclaims, stats.swap_outs);
	pool_vm_end(&p);
}

static void test_overcommit_range(void **state)
{
	overcommit(S2_GATE_RANGE);
}

static void test_overcommit_always(void **state)
{
	overcommit(S2_GATE_ALWAYS);
}

static void test_overcommit_rwsem(void **state)
{
	overcommit(S2_GATE_RWSEM);
}

static void test_overcommit_count(void **state)
{
	overcommit(S2_GATE_COUNT);
}

/* Eight pages, of which the first four are used again after each step. */
static void age_pages(struct pool_vm *p, unsigned steps)
{
	guest_fill_pages(p->vcpu, 0, 8, 1);
	assert_int_equal(s2_pool_age(p->pool), 0);
	for (unsigned i = 0; i < steps; i++) {
		uint64_t value;

		for (uint64_t gfn = 0; gfn < 4; gfn++)
			assert_int_equal(guest_load(p->vcpu, gfn, &value), 0);
		assert_int_equal(s2_pool_age(p->pool), 0);
	}
}

static void test_idle_pages_age(void **state)
{
	struct s2_pool_stats stats;
	struct pool_vm p;

	begin(&p, 8);
	age_pages(&p, 3);
	stats = pool_stats(&p);
	assert_int_equal(stats.by_age[0], 4);
	assert_int_equal(stats.by_age[3], 4);
	stats = memcg_stats(p.memcg);
	assert_int_equal(stats.by_age[0], 4);
	assert_int_equal(stats.by_age[3], 4);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(s2_pool_age(p.pool), 0);
	assert_int_equal(pool_stats(&p).by_age[S2_POOL_AGES - 1], 8);
	pool_vm_end(&p);
}

static void test_reclaim_by_age_takes_idle_pages_only(void **state)
{
	struct pool_vm p;

	begin(&p, 8);
	age_pages(&p, 3);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 4), 0);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 2), 4 * S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).resident, 4);
	assert_guest_has_pages(p.vcpu, 0, 4, 1);
	assert_int_equal(pool_stats(&p).swap_ins, 0);
	assert_guest_has_pages(p.vcpu, 4, 8, 1);
	assert_int_equal(pool_stats(&p).swap_ins, 4);
	pool_vm_end(&p);
}

static void test_reclaim_sees_use_since_the_last_step(void **state)
{
	struct pool_vm p;

	begin(&p, 8);
	age_pages(&p, 3);
	assert_guest_has(p.vcpu, 4, 1);
	assert_host_has(&p, 5, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 1), 2 * S2_PAGE_SIZE);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 6 * S2_PAGE_SIZE);
	pool_vm_end(&p);
}

static void test_reclaim_takes_the_oldest_first_and_no_more_than_asked(void **state)
{
	struct pool_vm p;

	begin(&p, 8);
	age_pages(&p, 3);
	assert_int_equal(s2_pool_reclaim(p.pool, 0, 0), 0);
	assert_int_equal(s2_pool_reclaim(p.pool, 3 * S2_PAGE_SIZE - 1, 0), 3 * S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).by_age[0], 4);
	assert_int_equal(pool_stats(&p).by_age[3], 1);
	pool_vm_end(&p);
}

static void test_pages_of_zeroes_need_no_tier(void **state)
{
	struct pool_vm p;

	begin(&p, 4);
	guest_fill_pages(p.vcpu, 0, 4, 1);
	guest_fill_pages(p.vcpu, 1, 3, 0);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 4 * S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).zero, 2);
	assert_int_equal(pool_stats(&p).swapped, 2);
	assert_int_equal(faulty_tier_used(&p.tiers[0]), 2);
	assert_guest_has_pages(p.vcpu, 1, 3, 0);
	assert_guest_has(p.vcpu, 0, 1);
	pool_vm_end(&p);
}

static void write_two(void *arg)
{
	assert_int_equal(guest_fill(arg, 0, 2), 0);
}

static void write_zeroes(void *arg)
{
	assert_int_equal(guest_fill(arg, 0, 0), 0);
}

struct refusal {
	struct s2_vcpu *vcpu;
	struct faulty_tier *tier;
};

static void write_two_and_refuse(void *arg)
{
	struct refusal *refusal = arg;

	write_two(refusal->vcpu);
	atomic_store(&refusal->tier->store_error, -EIO);
}

/* The guest writes to the page while a tier is storing it. */
static void reclaim_while(struct pool_vm *p, void (*meanwhile)(void *arg), void *arg, int64_t freed)
{
	guest_fill_pages(p->vcpu, 0, 1, 1);
	p->tiers[0].meanwhile = meanwhile;
	p->tiers[0].arg = arg;
	assert_int_equal(s2_pool_reclaim(p->pool, UINT64_MAX, 0), freed);
	assert_null(p->tiers[0].meanwhile);
	assert_int_equal(faulty_tier_used(&p->tiers[0]), pool_stats(p).swapped);
	assert_int_equal(pool_stats(p).tier_pages[0], pool_stats(p).swapped);
}

static void test_written_to_while_it_is_stored(void **state)
{
	struct pool_vm p;

	begin(&p, 1);
	reclaim_while(&p, write_two, p.vcpu, S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).swapped, 1);
	assert_guest_has(p.vcpu, 0, 2);
	pool_vm_end(&p);
}

static void write_by_the_host(void *arg)
{
	struct pool_vm *p = arg;

	assert_int_equal(host_fill(p, 0, 2), 0);
	assert_int_equal(s2_pool_discard(p->pool, hva_of(p, 1), S2_PAGE_SIZE), 0);
	assert_int_equal(host_fill(p, 2, 3), 0);
}

/* A batch has none of its pages locked while a tier works: what happens to them is found out. */
static void test_pages_of_a_batch_are_used_while_it_is_stored(void **state)
{
	struct pool_vm p;

	begin(&p, 8);
	guest_fill_pages(p.vcpu, 0, 4, 1);
	p.tiers[0].meanwhile = write_by_the_host;
	p.tiers[0].arg = &p;
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 3 * S2_PAGE_SIZE);
	assert_int_equal(faulty_tier_used(&p.tiers[0]), 3);
	assert_int_equal(pool_stats(&p).swapped, 3);
	assert_guest_has_pages(p.vcpu, 0, 1, 2);
	assert_guest_has_pages(p.vcpu, 1, 2, 0);
	assert_guest_has_pages(p.vcpu, 2, 3, 3);
	assert_guest_has_pages(p.vcpu, 3, 4, 1);
	pool_vm_end(&p);
}

static void test_zeroed_while_it_is_stored(void **state)
{
	struct pool_vm p;

	begin(&p, 1);
	reclaim_while(&p, write_zeroes, p.vcpu, S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).swapped, 0);
	assert_int_equal(pool_stats(&p).zero, 1);
	assert_guest_has(p.vcpu, 0, 0);
	pool_vm_end(&p);
}

static void test_written_to_and_then_refused(void **state)
{
	struct refusal refusal;
	struct pool_vm p;

	begin(&p, 1);
	refusal = (struct refusal){ p.vcpu, &p.tiers[0] };
	reclaim_while(&p, write_two_and_refuse, &refusal, 0);
	assert_int_equal(pool_stats(&p).resident, 1);
	assert_guest_has(p.vcpu, 0, 2);
	pool_vm_end(&p);
}

static void test_discard(void **state)
{
	struct pool_vm p;

	begin(&p, 8);
	guest_fill_pages(p.vcpu, 0, 6, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 6 * S2_PAGE_SIZE);
	assert_guest_has_pages(p.vcpu, 0, 2, 1);
	assert_guest_has_pages(p.vcpu, 6, 7, 0);
	/* Two resident, three swapped, the last swapped one left; one zero, one absent. */
	assert_int_equal(s2_pool_discard(p.pool, p.hva, 5 * S2_PAGE_SIZE), 0);
	assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, 6), 2 * S2_PAGE_SIZE), 0);
	assert_int_equal(pool_stats(&p).resident, 0);
	assert_int_equal(pool_stats(&p).swapped, 1);
	assert_guest_has_pages(p.vcpu, 0, 5, 0);
	assert_guest_has_pages(p.vcpu, 5, 6, 1);
	assert_guest_has_pages(p.vcpu, 6, 8, 0);
	pool_vm_end(&p);
}

static void test_unmapped_under_a_running_vcpu(void **state)
{
	struct watcher watcher;
	struct pool_vm p;

	begin(&p, 4);
	watcher_begin(&watcher, &p);
	assert_int_equal(s2_pool_unmap(p.pool, p.hva), 0);
	assert_int_equal(watcher_end(&watcher), -EFAULT);
	assert_int_equal(guest_fill(p.vcpu, 1, 1), -EFAULT);
	assert_int_equal(s2_pool_unmap(p.pool, p.hva), -ENOENT);
	p.hva = 0;
	pool_vm_end(&p);
}

static void test_a_memcg_has_its_limit(void **state)
{
	struct s2_pool_stats stats;
	struct s2_memcg *memcg;
	struct pool_vm p;
	uint64_t other;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, 12, 4, 1);
	assert_int_equal(s2_memcg_create(p.pool, NULL, &memcg), 0);
	assert_int_equal(s2_pool_map(p.pool, memcg, 8 * S2_PAGE_SIZE, &other), 0);
	assert_int_equal(map_region(p.vm, 1, 100, 8, other), 0);
	guest_fill_pages(p.vcpu, 100, 108, 1);
	guest_fill_pages(p.vcpu, 0, 12, 1);
	stats = memcg_stats(p.memcg);
	assert_int_equal(stats.resident, 4);
	assert_int_equal(stats.swapped, 8);
	assert_int_equal(stats.direct_reclaims, 8);
	stats = memcg_stats(memcg);
	assert_int_equal(stats.resident, 8);
	assert_int_equal(stats.swap_outs, 0);
	assert_guest_has_pages(p.vcpu, 0, 12, 1);
	assert_int_equal(pool_stats(&p).free_frames, POOL_FRAMES - 12);
	assert_int_equal(s2_memcg_destroy(memcg), -EBUSY);
	assert_int_equal(s2_pool_unmap(p.pool, other), 0);
	assert_int_equal(s2_memcg_destroy(memcg), 0);
	pool_vm_end(&p);
}

static void test_without_tier_what_does_not_fit_is_refused(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES + 1, 0, 0);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(guest_fill(p.vcpu, POOL_FRAMES, 1), -ENOMEM);
	assert_int_equal(host_fill(&p, POOL_FRAMES, 1), -ENOMEM);
	assert_guest_has(p.vcpu, POOL_FRAMES, 0);
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES, 1);
	/* A page of zeroes makes room. */
	guest_fill_pages(p.vcpu, 3, 4, 0);
	guest_fill_pages(p.vcpu, POOL_FRAMES, POOL_FRAMES + 1, 1);
	assert_guest_has(p.vcpu, 3, 0);
	pool_vm_end(&p);
}

static void test_what_a_tier_does_not_take_stays(void **state)
{
	struct pool_vm p;

	begin(&p, POOL_FRAMES + 1);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	atomic_store(&p.tiers[0].store_error, -EIO);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 0);
	assert_int_equal(pool_stats(&p).tier_errors, POOL_FRAMES);
	assert_int_equal(guest_fill(p.vcpu, POOL_FRAMES, 1), -ENOMEM);
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(pool_stats(&p).resident, POOL_FRAMES);
	atomic_store(&p.tiers[0].store_error, 0);
	guest_fill_pages(p.vcpu, POOL_FRAMES, POOL_FRAMES + 1, 1);
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES + 1, 1);
	pool_vm_end(&p);
}

static void *write_one_more(void *arg)
{
	assert_int_equal(host_fill(arg, POOL_FRAMES + 1, 1), -ENOMEM);
	return NULL;
}

/* In the middle of a store that has its page locked: no other page can be had either. */
static void refuse_and_write(void *arg)
{
	struct pool_vm *p = arg;
	pthread_t thread;

	atomic_store(&p->tiers[0].store_error, -EIO);
	assert_int_equal(pthread_create(&thread, NULL, write_one_more, p), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	atomic_store(&p->tiers[0].store_error, 0);
}

static void test_who_finds_others_at_work_does_not_wait_for_ever(void **state)
{
	struct pool_vm p;

	begin(&p, 32);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	p.tiers[0].meanwhile = refuse_and_write;
	p.tiers[0].arg = &p;
	assert_int_equal(guest_fill(p.vcpu, POOL_FRAMES, 1), 0);
	assert_null(p.tiers[0].meanwhile);
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES + 1, 1);
	assert_guest_has_pages(p.vcpu, POOL_FRAMES + 1, POOL_FRAMES + 2, 0);
	pool_vm_end(&p);
}

static void test_slots_that_do_not_fit_are_given_back(void **state)
{
	struct pool_vm p;

	begin(&p, 1);
	p.tiers[0].slot_base = UINT64_C(1) << S2_POOL_SLOT_BITS;
	guest_fill_pages(p.vcpu, 0, 1, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 0);
	assert_int_equal(faulty_tier_used(&p.tiers[0]), 0);
	assert_int_equal(pool_stats(&p).tier_errors, 1);
	p.tiers[0].slot_base -= FAULTY_TIER_SLOTS;
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	assert_guest_has_pages(p.vcpu, 0, 1, 1);
	pool_vm_end(&p);
}

static void swap_out_four(struct pool_vm *p)
{
	begin(p, 4);
	guest_fill_pages(p->vcpu, 0, 4, 1);
	assert_int_equal(s2_pool_reclaim(p->pool, UINT64_MAX, 0), 4 * S2_PAGE_SIZE);
	assert_guest_has(p->vcpu, 3, 1);
}

/* Whatever went wrong, the page is where it was, and others are not concerned. */
static void assert_fails_and_recovers(struct pool_vm *p, int error)
{
	struct s2_pool_stats before = pool_stats(p), after;
	uint64_t value;

	assert_int_equal(guest_load(p->vcpu, 1, &value), error);
	assert_int_equal(guest_store(p->vcpu, 1, 1), error);
	assert_int_equal(s2_pool_read(p->pool, hva_of(p, 1), &value, sizeof(value)), error);
	assert_int_equal(host_fill(p, 1, 2), error);
	assert_guest_has(p->vcpu, 3, 1);
	after = pool_stats(p);
	assert_int_equal(after.tier_errors, 4);
	after.tier_errors = before.tier_errors;
	assert_memory_equal(&before, &after, sizeof(before));
	atomic_store(&p->tiers[0].load_error, 0);
	atomic_store(&p->tiers[0].damage, false);
	atomic_store(&p->tiers[0].mix_up, false);
	assert_guest_has_pages(p->vcpu, 0, 4, 1);
	pool_vm_end(p);
}

static void test_a_load_that_fails(void **state)
{
	struct pool_vm p;

	swap_out_four(&p);
	atomic_store(&p.tiers[0].load_error, -ETIMEDOUT);
	assert_fails_and_recovers(&p, -EIO);
}

static void test_damaged_bytes_are_found_out(void **state)
{
	struct pool_vm p;

	swap_out_four(&p);
	atomic_store(&p.tiers[0].damage, true);
	assert_fails_and_recovers(&p, -EBADMSG);
}

static void test_another_pages_bytes_are_found_out(void **state)
{
	struct pool_vm p;

	swap_out_four(&p);
	atomic_store(&p.tiers[0].mix_up, true);
	assert_fails_and_recovers(&p, -EBADMSG);
}

static void test_when_a_tier_is_full_the_next_is_asked(void **state)
{
	struct s2_pool_stats stats;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, 12, 0, 2);
	p.tiers[0].capacity = 5;
	p.tiers[1].capacity = 4;
	guest_fill_pages(p.vcpu, 0, 12, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 9 * S2_PAGE_SIZE);
	stats = pool_stats(&p);
	assert_int_equal(stats.tier_pages[0], 5);
	assert_int_equal(stats.tier_pages[1], 4);
	assert_int_equal(stats.resident, 3);
	assert_int_equal(stats.tier_errors, 0);
	assert_guest_has_pages(p.vcpu, 0, 12, 1);
	pool_vm_end(&p);
}

static void test_when_a_tier_fails_the_next_is_asked(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, 4, 0, 2);
	atomic_store(&p.tiers[0].store_error, -EIO);
	guest_fill_pages(p.vcpu, 0, 4, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 4 * S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).tier_pages[1], 4);
	assert_int_equal(pool_stats(&p).tier_errors, 4);
	assert_guest_has_pages(p.vcpu, 0, 4, 1);
	pool_vm_end(&p);
}

static void test_the_hosts_access_crosses_pages(void **state)
{
	char data[3 * S2_PAGE_SIZE], back[sizeof(data)];
	struct pool_vm p;

	begin(&p, 4);
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(s2_pool_write(p.pool, p.hva + 100, data, sizeof(data)), 0);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 4 * S2_PAGE_SIZE);
	assert_int_equal(s2_pool_read(p.pool, p.hva + 100, back, sizeof(back)), 0);
	assert_memory_equal(data, back, sizeof(data));
	assert_int_equal(s2_pool_read(p.pool, p.hva, back, 100), 0);
	assert_int_equal(back[0] | back[99], 0);
	assert_int_equal(s2_pool_write(p.pool, p.hva, data, 0), 0);
	pool_vm_end(&p);
}

/* The host may wait for what waits for this very thread's vCPU, were it still in guest mode. */
static void test_calls_in_guest_mode(void **state)
{
	struct pool_vm p;
	uint64_t value;

	begin(&p, 2);
	assert_int_equal(s2_vcpu_enter(p.vcpu), 0);
	assert_int_equal(s2_vcpu_load64(p.vcpu, 0, &value), 0);
	assert_int_equal(host_fill(&p, 0, 1), 0);
	assert_int_equal(s2_vcpu_load64(p.vcpu, 8, &value), 0);
	assert_int_equal(value, 1 << 16 | 1);
	assert_int_equal(s2_pool_age(p.pool), 0);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	assert_int_equal(s2_vcpu_load64(p.vcpu, 8, &value), 0);
	assert_int_equal(value, 1 << 16 | 1);
	assert_int_equal(s2_pool_discard(p.pool, p.hva, S2_PAGE_SIZE), 0);
	assert_int_equal(s2_vcpu_load64(p.vcpu, 8, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(s2_vcpu_exit(p.vcpu), 0);
	pool_vm_end(&p);
}

static void test_regions_come_and_go(void **state)
{
	uint64_t hvas[100];
	struct pool_vm p;

	begin(&p, 1);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 100; i++) {
			assert_int_equal(s2_pool_map(p.pool, NULL, (i + 1) * S2_PAGE_SIZE, &hvas[i]), 0);
			assert_int_equal(s2_pool_write(p.pool, hvas[i], &i, sizeof(i)), 0);
		}
		/* What lies behind a region is nobody's. */
		assert_int_equal(s2_pool_write(p.pool, hvas[4] + 5 * S2_PAGE_SIZE, &round, 1), -EINVAL);
		counting_allocator_fail_all(&p.memory, true);
		for (unsigned i = 0; i < 100; i++) {
			unsigned value;

			assert_int_equal(s2_pool_read(p.pool, hvas[i], &value, sizeof(value)), 0);
			assert_int_equal(value, i);
			assert_int_equal(s2_pool_unmap(p.pool, hvas[i]), 0);
		}
		counting_allocator_fail_all(&p.memory, false);
	}
	pool_vm_end(&p);
}

/* Creation, mapping and a fault with the n-th allocation failing, until none does. */
static void test_out_of_memory(void **state)
{
	struct counting_allocator memory;
	struct faulty_tier tier;
	struct s2_pool_config config = {
		.size = POOL_FRAMES * S2_PAGE_SIZE,
		.allocator = &memory.ops,
		.tiers = { &tier.tier },
		.low_watermark = S2_PAGE_SIZE,
		.high_watermark = 2 * S2_PAGE_SIZE,
	};
	unsigned failures = 0;
	long n = 0;
	int ret;

	counting_allocator_init(&memory);
	faulty_tier_init(&tier, FAULTY_TIER_SLOTS);
	do {
		struct s2_pool *pool = NULL;
		struct s2_memcg *memcg;
		uint64_t hva;

		counting_allocator_fail_at(&memory, ++n);
		ret = s2_pool_create(&config, &pool);
		if (!ret)
			ret = s2_memcg_create(pool, NULL, &memcg);
		if (!ret)
			ret = s2_pool_map(pool, memcg, 64 * S2_PAGE_SIZE, &hva);
		if (!ret)
			ret = s2_pool_write(pool, hva, "1", 1);
		if (!ret)
			ret = s2_pool_clone(pool, memcg, hva, &hva);
		if (ret) {
			assert_int_equal(ret, -ENOMEM);
			failures++;
		}
		/* A pool that could not be created has not taken its tier. */
		assert_int_equal(atomic_load(&tier.destroyed), 0);
		s2_pool_destroy(pool);
		assert_int_equal(atomic_exchange(&tier.destroyed, 0), pool ? 1 : 0);
		assert_int_equal(memory.blocks, 0);
	} while (ret);
	assert_true(failures > 3);
	faulty_tier_free(&tier);
}

static void test_bad_configs(void **state)
{
	struct faulty_tier tier;
	struct s2_pool_config good = { .size = 1 << 16 }, config;
	struct s2_pool *pool;

	faulty_tier_init(&tier, 1);
	assert_int_equal(s2_pool_create(NULL, &pool), -EINVAL);
	assert_int_equal(s2_pool_create(&good, NULL), -EINVAL);
#define ASSERT_REFUSED(member, value)                                                              \
	do {                                                                                       \
		config = good;                                                                     \
		config.member = value;                                                             \
		assert_int_equal(s2_pool_create(&config, &pool), -EINVAL);                         \
	} while (0)
	ASSERT_REFUSED(size, 0);
	ASSERT_REFUSED(size, (1 << 16) - S2_PAGE_SIZE);
	ASSERT_REFUSED(size, (1 << 16) + 1);
	ASSERT_REFUSED(size, (UINT64_C(1) << 40) + S2_PAGE_SIZE);
	ASSERT_REFUSED(size, UINT64_MAX - S2_PAGE_SIZE + 1);
	ASSERT_REFUSED(gate, (enum s2_gate)S2_NR_GATES);
	ASSERT_REFUSED(reserved[7], 1);
	ASSERT_REFUSED(read_ahead, S2_POOL_BATCH + 1);
	ASSERT_REFUSED(low_watermark, S2_PAGE_SIZE);
	ASSERT_REFUSED(high_watermark, 1);
	ASSERT_REFUSED(high_watermark, 1 << 16);
	ASSERT_REFUSED(tiers[1], &tier.tier);
	good.tiers[0] = &tier.tier;
	ASSERT_REFUSED(tiers[1], &tier.tier);
	tier.tier.ops = &(const struct s2_pool_tier_ops){ .name = "nothing" };
	assert_int_equal(s2_pool_create(&good, &pool), -EINVAL);
	faulty_tier_free(&tier);
	s2_pool_destroy(NULL);
	assert_null(s2_pool_mm(NULL));
}

static void test_bad_arguments(void **state)
{
	struct s2_pool_stats stats;
	struct s2_memcg *memcg;
	struct pool_vm p;
	char data[8] = { 0 };
	uint64_t hva;

	begin(&p, 4);
	assert_int_equal(s2_pool_map(NULL, NULL, S2_PAGE_SIZE, &hva), -EINVAL);
	assert_int_equal(s2_pool_map(p.pool, NULL, S2_PAGE_SIZE, NULL), -EINVAL);
	assert_int_equal(s2_pool_map(p.pool, NULL, 0, &hva), -EINVAL);
	assert_int_equal(s2_pool_map(p.pool, NULL, 1, &hva), -EINVAL);
	assert_int_equal(s2_pool_map(p.pool, NULL, -S2_PAGE_SIZE, &hva), -ENOMEM);
	assert_int_equal(s2_pool_unmap(NULL, p.hva), -EINVAL);
	assert_int_equal(s2_pool_unmap(p.pool, 0), -ENOENT);
	assert_int_equal(s2_pool_unmap(p.pool, UINT64_MAX), -ENOENT);
	assert_int_equal(s2_pool_unmap(p.pool, hva_of(&p, 1)), -ENOENT);
	assert_int_equal(s2_pool_discard(NULL, p.hva, S2_PAGE_SIZE), -EINVAL);
	assert_int_equal(s2_pool_discard(p.pool, p.hva, 0), -EINVAL);
	assert_int_equal(s2_pool_discard(p.pool, p.hva + 1, S2_PAGE_SIZE), -EINVAL);
	assert_int_equal(s2_pool_discard(p.pool, p.hva, 5 * S2_PAGE_SIZE), -EINVAL);
	assert_int_equal(s2_pool_discard(p.pool, hva_of(&p, 1), -S2_PAGE_SIZE), -EINVAL);
	assert_int_equal(s2_pool_read(NULL, p.hva, data, 8), -EINVAL);
	assert_int_equal(s2_pool_read(p.pool, p.hva, NULL, 8), -EINVAL);
	assert_int_equal(s2_pool_read(p.pool, p.hva - 1, data, 8), -EINVAL);
	assert_int_equal(s2_pool_read(p.pool, hva_of(&p, 4) - 7, data, 8), -EINVAL);
	assert_int_equal(s2_pool_write(p.pool, hva_of(&p, 4), data, 8), -EINVAL);
	assert_int_equal(s2_pool_write(p.pool, p.hva, data, SIZE_MAX), -EINVAL);
	assert_int_equal(s2_pool_age(NULL), -EINVAL);
	assert_int_equal(s2_pool_reclaim(NULL, 1, 0), -EINVAL);
	assert_int_equal(s2_pool_reclaim(p.pool, 1, S2_POOL_AGES), -EINVAL);
	assert_int_equal(s2_pool_get_stats(NULL, &stats), -EINVAL);
	assert_int_equal(s2_pool_get_stats(p.pool, NULL), -EINVAL);
	assert_int_equal(s2_memcg_get_stats(NULL, &stats), -EINVAL);
	assert_int_equal(s2_memcg_get_stats(p.memcg, NULL), -EINVAL);
	assert_int_equal(s2_memcg_create(NULL, NULL, &memcg), -EINVAL);
	assert_int_equal(s2_memcg_create(p.pool, NULL, NULL), -EINVAL);
	assert_int_equal(s2_memcg_create(p.pool, &(struct s2_memcg_config){ .limit = 1 }, &memcg), -EINVAL);
	assert_int_equal(s2_memcg_create(p.pool, &(struct s2_memcg_config){ .oom_priority = -1 }, &memcg),
			 -EINVAL);
	assert_int_equal(s2_memcg_create(p.pool, &(struct s2_memcg_config){ .reserved = { 1 } }, &memcg),
			 -EINVAL);
	assert_int_equal(s2_memcg_set_limit(NULL, 0), -EINVAL);
	assert_int_equal(s2_memcg_set_limit(p.memcg, 1), -EINVAL);
	assert_int_equal(s2_memcg_reclaim(NULL, 1, 0), -EINVAL);
	assert_int_equal(s2_memcg_reclaim(p.memcg, 1, S2_POOL_AGES), -EINVAL);
	assert_int_equal(s2_memcg_destroy(NULL), 0);
	assert_int_equal(s2_pool_clone(NULL, NULL, p.hva, &hva), -EINVAL);
	assert_int_equal(s2_pool_clone(p.pool, NULL, p.hva, NULL), -EINVAL);
	assert_int_equal(s2_pool_clone(p.pool, NULL, hva_of(&p, 1), &hva), -ENOENT);
	assert_int_equal(s2_pool_clone(p.pool, NULL, 0, &hva), -ENOENT);
	assert_int_equal(s2_pool_advise(NULL, p.hva, S2_PAGE_SIZE, S2_POOL_MERGE), -EINVAL);
	assert_int_equal(s2_pool_advise(p.pool, p.hva, 1, S2_POOL_MERGE), -EINVAL);
	assert_int_equal(s2_pool_advise(p.pool, p.hva, S2_PAGE_SIZE, (enum s2_pool_advice)2), -EINVAL);
	pool_vm_end(&p);
}

static void test_a_pool_ends_with_regions_mapped(void **state)
{
	struct s2_pool_config config = { .size = 1 << 16 };
	struct s2_pool *pool;
	uint64_t hva;

	assert_int_equal(s2_pool_create(&config, &pool), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s2_pool_map(pool, NULL, S2_PAGE_SIZE, &hva), 0);
		assert_int_equal(s2_pool_write(pool, hva, "1", 1), 0);
	}
	s2_pool_destroy(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reading_takes_no_frame),
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_a_frame_used_before_is_zeroed),
		cmocka_unit_test(test_other_vcpus_lose_the_zero_frame),
		cmocka_unit_test(test_the_hosts_write_takes_the_zero_frame_away),
		cmocka_unit_test(test_overcommit_range),
		cmocka_unit_test(test_overcommit_always),
		cmocka_unit_test(test_overcommit_rwsem),
		cmocka_unit_test(test_overcommit_count),
		cmocka_unit_test(test_idle_pages_age),
		cmocka_unit_test(test_reclaim_by_age_takes_idle_pages_only),
		cmocka_unit_test(test_reclaim_sees_use_since_the_last_step),
		cmocka_unit_test(test_reclaim_takes_the_oldest_first_and_no_more_than_asked),
		cmocka_unit_test(test_pages_of_zeroes_need_no_tier),
		cmocka_unit_test(test_written_to_while_it_is_stored),
		cmocka_unit_test(test_pages_of_a_batch_are_used_while_it_is_stored),
		cmocka_unit_test(test_zeroed_while_it_is_stored),
		cmocka_unit_test(test_written_to_and_then_refused),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_unmapped_under_a_running_vcpu),
		cmocka_unit_test(test_a_memcg_has_its_limit),
		cmocka_unit_test(test_without_tier_what_does_not_fit_is_refused),
		cmocka_unit_test(test_what_a_tier_does_not_take_stays),
		cmocka_unit_test(test_who_finds_others_at_work_does_not_wait_for_ever),
		cmocka_unit_test(test_slots_that_do_not_fit_are_given_back),
		cmocka_unit_test(test_a_load_that_fails),
		cmocka_unit_test(test_damaged_bytes_are_found_out),
		cmocka_unit_test(test_another_pages_bytes_are_found_out),
		cmocka_unit_test(test_when_a_tier_is_full_the_next_is_asked),
		cmocka_unit_test(test_when_a_tier_fails_the_next_is_asked),
		cmocka_unit_test(test_the_hosts_access_crosses_pages),
		cmocka_unit_test(test_calls_in_guest_mode),
		cmocka_unit_test(test_regions_come_and_go),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_bad_configs),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_a_pool_ends_with_regions_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
