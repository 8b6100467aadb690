/* SPDX-License-Identifier: MIT */
/*
 * What the pool remembers of tiers that refuse pages: none is asked in vain again and again,
 * and none that has room is forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>

#include "pool/pool.h"
#include "pool/pool_vm.h"

#define ROOM 4u
#define FULL (POOL_FRAMES + ROOM)
#define PAGES 256u

/* All frames are in use, and so is the first tier, of @room slots. */
static void begin_full(struct pool_vm *p, unsigned room, unsigned tiers)
{
	pool_vm_begin(p, S2_GATE_RANGE, POOL_FRAMES, PAGES, 0, tiers);
	p->tiers[0].capacity = room;
	guest_fill_pages(p->vcpu, 0, POOL_FRAMES + room, 1);
	assert_int_equal(faulty_tier_used(&p->tiers[0]), room);
	atomic_store(&p->tiers[0].stores, 0);
}

static unsigned stores(struct pool_vm *p)
{
	return atomic_exchange(&p->tiers[0].stores, 0);
}

static bool is_in_the_first_tier(uint64_t word)
{
	return s2_pool_state(word) == S2_POOL_SWAPPED && s2_pool_tier_of(word) == 0;
}

static void drop_a_slot(struct pool_vm *p)
{
	struct s2_pool_region *region = s2_pool_region_get(p->pool, p->hva);
	uint64_t gfn = 0;

	while (!is_in_the_first_tier(atomic_load(&region->pages[gfn].word)))
		assert_in_range(++gfn, 0, PAGES - 1);
	s2_pool_region_put(region);
	assert_int_equal(s2_pool_discard(p->pool, hva_of(p, gfn), S2_PAGE_SIZE), 0);
}

/* Pages say what they need in the middle of the word they are filled with: their number. */
static unsigned number_of(const void *page)
{
	return (unsigned)(*(const uint64_t *)page >> 40);
}

static unsigned odd_numbers_never(const void *page)
{
	return number_of(page) % 2 ? UINT8_MAX : 1;
}

static void test_a_full_tier_is_asked_once_before_a_fault_fails(void **state)
{
	struct pool_vm p;

	begin_full(&p, ROOM, 1);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(guest_fill(p.vcpu, FULL, 1), -ENOMEM);
		assert_in_range(stores(&p), 1, i ? 1 : 2);
	}
	assert_guest_has_pages(p.vcpu, FULL - POOL_FRAMES + 1, FULL, 1);
	pool_vm_end(&p);
}

static void test_over_a_limit_a_full_tier_is_asked_once(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, PAGES, 8, 1);
	p.tiers[0].capacity = ROOM;
	guest_fill_pages(p.vcpu, 0, 8 + ROOM, 1);
	assert_int_equal(guest_fill(p.vcpu, 8 + ROOM, 1), -ENOMEM);
	stores(&p);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(guest_fill(p.vcpu, 8 + ROOM, 1), -ENOMEM);
	assert_int_equal(stores(&p), 20);
	assert_int_equal(s2_memcg_set_limit(p.memcg, 4 * S2_PAGE_SIZE), -ENOMEM);
	assert_int_equal(stores(&p), 1);
	pool_vm_end(&p);
}

static void test_reclaim_asks_a_full_tier_once(void **state)
{
	struct pool_vm p;

	begin_full(&p, ROOM, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 0);
	assert_int_equal(stores(&p), 1);
	assert_int_equal(s2_memcg_reclaim(p.memcg, UINT64_MAX, 0), 0);
	assert_int_equal(stores(&p), 1);
	pool_vm_end(&p);
}

static void test_shared_pages_are_not_offered_to_a_full_tier(void **state)
{
	struct pool_vm p;
	uint64_t clone;

	begin_full(&p, ROOM, 1);
	assert_int_equal(s2_pool_clone(p.pool, NULL, p.hva, &clone), 0);
	assert_int_equal(guest_fill(p.vcpu, FULL, 1), -ENOMEM);
	stores(&p);
	assert_int_equal(guest_fill(p.vcpu, FULL, 1), -ENOMEM);
	assert_int_equal(stores(&p), 1);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	pool_vm_end(&p);
}

static void test_a_page_of_zeroes_goes_though_all_tiers_are_full(void **state)
{
	struct pool_vm p;

	begin_full(&p, ROOM, 1);
	assert_int_equal(guest_fill(p.vcpu, FULL, 1), -ENOMEM);
	assert_int_equal(guest_fill(p.vcpu, FULL - 3, 0), 0);
	stores(&p);
	assert_int_equal(guest_fill(p.vcpu, FULL, 1), 0);
	assert_int_equal(stores(&p), 0);
	assert_int_equal(pool_stats(&p).zero, 1);
	assert_guest_has(p.vcpu, FULL - 3, 0);
	assert_guest_has(p.vcpu, FULL, 1);
	pool_vm_end(&p);
}

static void test_after_a_drop_a_full_tier_takes_pages(void **state)
{
	struct pool_vm p;

	begin_full(&p, ROOM, 2);
	/* The second takes one: the first is known to be full. */
	guest_fill_pages(p.vcpu, FULL, FULL + 1, 1);
	assert_int_equal(stores(&p), 1);
	guest_fill_pages(p.vcpu, FULL + 1, FULL + 2, 1);
	assert_int_equal(stores(&p), 0);
	drop_a_slot(&p);
	guest_fill_pages(p.vcpu, FULL + 2, FULL + 3, 1);
	assert_int_equal(stores(&p), 1);
	assert_int_equal(pool_stats(&p).tier_pages[0], ROOM);
	assert_int_equal(pool_stats(&p).tier_pages[1], 2);
	pool_vm_end(&p);
}

static void *drop_in_a_thread(void *p)
{
	drop_a_slot(p);
	return NULL;
}

/* In the middle of a store, whose thread has pages locked. */
static void drop_meanwhile(void *p)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, drop_in_a_thread, p), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_a_slot_dropped_while_the_tier_says_it_is_full(void **state)
{
	struct pool_vm p;

	begin_full(&p, ROOM, 2);
	p.tiers[0].meanwhile = drop_meanwhile;
	p.tiers[0].arg = &p;
	guest_fill_pages(p.vcpu, FULL, FULL + 1, 1);
	assert_int_equal(pool_stats(&p).tier_pages[0], ROOM - 1);
	assert_int_equal(pool_stats(&p).tier_pages[1], 1);
	guest_fill_pages(p.vcpu, FULL + 1, FULL + 2, 1);
	assert_int_equal(pool_stats(&p).tier_pages[0], ROOM);
	assert_int_equal(pool_stats(&p).tier_pages[1], 1);
	pool_vm_end(&p);
}

static void test_room_that_came_by_itself_is_found_before_a_fault_fails(void **state)
{
	struct pool_vm p;

	begin_full(&p, ROOM, 1);
	assert_int_equal(guest_fill(p.vcpu, FULL, 1), -ENOMEM);
	p.tiers[0].capacity++;
	guest_fill_pages(p.vcpu, FULL, FULL + 1, 1);
	assert_guest_has(p.vcpu, FULL, 1);
	pool_vm_end(&p);
}

static void test_room_that_came_by_itself_is_found_though_others_have_some(void **state)
{
	struct pool_vm p;
	unsigned rounds = 0;

	begin_full(&p, 0, 2);
	guest_fill_pages(p.vcpu, POOL_FRAMES, POOL_FRAMES + 1, 1);
	assert_int_equal(stores(&p), 1);
	p.tiers[0].capacity = FAULTY_TIER_SLOTS;
	while (!faulty_tier_used(&p.tiers[0])) {
		guest_fill_pages(p.vcpu, 0, 100, ++rounds);
		assert_in_range(rounds, 1, 30);
	}
	pool_vm_end(&p);
}

static void test_a_page_that_does_not_fit_is_no_reason_to_call_a_tier_full(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, PAGES, 0, 2);
	p.tiers[0].need = odd_numbers_never;
	p.tiers[0].room = 100;
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), POOL_FRAMES * S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).tier_pages[0], POOL_FRAMES / 2);
	assert_int_equal(pool_stats(&p).tier_pages[1], POOL_FRAMES / 2);
	assert_int_equal(pool_stats(&p).tier_errors, 0);
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES, 1);
	pool_vm_end(&p);
}

static void test_a_page_that_was_refused_is_not_offered_again(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, PAGES, 0, 1);
	p.tiers[0].need = odd_numbers_never;
	p.tiers[0].room = 100;
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), POOL_FRAMES / 2 * S2_PAGE_SIZE);
	assert_int_equal(stores(&p), POOL_FRAMES);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 0);
	assert_int_equal(stores(&p), 0);
	/* Those of an odd number fill the pool: a fault that fails asks for the new ones only. */
	for (uint64_t gfn = 17; gfn < 17 + POOL_FRAMES; gfn += 2)
		assert_int_equal(guest_fill(p.vcpu, gfn, 1), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(guest_fill(p.vcpu, 101, 1), -ENOMEM);
	assert_int_equal(stores(&p), POOL_FRAMES / 2);
	pool_vm_end(&p);
}

static void test_a_page_that_was_refused_is_offered_when_it_has_changed(void **state)
{
	struct pool_vm p;
	uint64_t fits = UINT64_C(2) << 40;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, PAGES, 0, 1);
	p.tiers[0].need = odd_numbers_never;
	p.tiers[0].room = 100;
	guest_fill_pages(p.vcpu, 1, 2, 1);
	guest_fill_pages(p.vcpu, 3, 4, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 0);
	assert_int_equal(guest_store(p.vcpu, 3, fits), 0);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	assert_int_equal(stores(&p), 3);
	assert_guest_reads(p.vcpu, 3, fits);
	pool_vm_end(&p);
}

/* By number: @room is for those up to it. */
static void test_a_page_that_was_refused_is_offered_when_there_is_room_for_it(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, PAGES, 0, 1);
	p.tiers[0].need = number_of;
	p.tiers[0].room = 1;
	guest_fill_pages(p.vcpu, 1, 10, 1);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	assert_int_equal(stores(&p), 9);
	p.tiers[0].room = 5;
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 4 * S2_PAGE_SIZE);
	assert_int_equal(stores(&p), 4);
	p.tiers[0].room = 9;
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 4 * S2_PAGE_SIZE);
	assert_int_equal(stores(&p), 4);
	assert_guest_has_pages(p.vcpu, 1, 10, 1);
	pool_vm_end(&p);
}

static void test_who_has_no_room_at_all_is_not_asked(void **state)
{
	struct pool_vm p;

	begin_full(&p, ROOM, 1);
	atomic_store(&p.tiers[0].room, 0);
	assert_int_equal(guest_fill(p.vcpu, FULL, 1), -ENOMEM);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 0), 0);
	assert_int_equal(stores(&p), 0);
	pool_vm_end(&p);
}

struct discarder {
	struct pool_vm *p;
	_Atomic bool locked;
	_Atomic bool ended;
	pthread_t thread;
};

/* Has the last page locked until a fault waits for a frame, or has ended. */
static void *discard_when_awaited(void *arg)
{
	struct discarder *d = arg;
	struct s2_pool_region *region = s2_pool_region_get(d->p->pool, d->p->hva);
	struct s2_pool_page *page = &region->pages[FULL - 1];
	uint64_t word = s2_pool_page_lock(page);

	atomic_store(&d->locked, true);
	while (!atomic_load(&d->p->pool->frames.waiters) && !atomic_load(&d->ended))
		sched_yield();
	s2_pool_page_unlock(page, word);
	s2_pool_region_put(region);
	assert_int_equal(s2_pool_discard(d->p->pool, hva_of(d->p, FULL - 1), S2_PAGE_SIZE), 0);
	return NULL;
}

/* A few milliseconds only: the other thread may be late. */
static void test_a_page_that_somebody_is_discarding_is_waited_for(void **state)
{
	unsigned tries = 0;
	struct pool_vm p;
	int ret;

	begin_full(&p, ROOM, 1);
	do {
		struct discarder d = { .p = &p };

		guest_fill_pages(p.vcpu, FULL - 1, FULL, 1);
		assert_int_equal(pthread_create(&d.thread, NULL, discard_when_awaited, &d), 0);
		while (!atomic_load(&d.locked))
			sched_yield();
		ret = guest_fill(p.vcpu, FULL, 1);
		atomic_store(&d.ended, true);
		assert_int_equal(pthread_join(d.thread, NULL), 0);
		assert_in_range(++tries, 1, 1000);
	} while (ret == -ENOMEM);
	assert_int_equal(ret, 0);
	assert_guest_has(p.vcpu, FULL, 1);
	pool_vm_end(&p);
}

struct user {
	struct pool_vm *p;
	struct s2_vcpu *vcpu;
	uint64_t seed;
	uint64_t first;
	uint64_t generations[PAGES / 4];
	unsigned refused;
	unsigned wrong;
	pthread_t thread;
};

static void use_page(struct user *user, uint64_t i)
{
	uint64_t gfn = user->first + i, value, *generation = &user->generations[i];
	uint64_t next = 1 + test_random(&user->seed) % 1000;
	int ret;

	switch (test_random(&user->seed) % 8) {
	case 0:
		ret = s2_pool_discard(user->p->pool, hva_of(user->p, gfn), S2_PAGE_SIZE);
		*generation = 0;
		break;
	case 1:
	case 2:
	case 3:
		ret = guest_fill(user->vcpu, gfn, next);
		if (!ret)
			*generation = next;
		break;
	default:
		ret = guest_load(user->vcpu, gfn, &value);
		user->wrong += !ret && value != (*generation ? gfn << 40 | *generation << 16 : 0);
	}
	user->refused += ret == -ENOMEM;
	user->wrong += ret && ret != -ENOMEM;
}

static void *user_main(void *arg)
{
	struct user *user = arg;

	for (unsigned i = 0; i < 3000; i++)
		use_page(user, test_random(&user->seed) % (PAGES / 4));
	return NULL;
}

/* As many pages as frames and slots: all find their way in, wherever they were refused before. */
static void assert_all_room_is_found(struct pool_vm *p)
{
	const uint64_t all = POOL_FRAMES + p->tiers[0].capacity + p->tiers[1].capacity;

	assert_int_equal(s2_pool_discard(p->pool, p->hva, PAGES * S2_PAGE_SIZE), 0);
	p->tiers[1].room = UINT_MAX;
	guest_fill_pages(p->vcpu, 0, all, 1);
	assert_int_equal(guest_fill(p->vcpu, all, 1), -ENOMEM);
	assert_int_equal(s2_pool_discard(p->pool, hva_of(p, all - 1), S2_PAGE_SIZE), 0);
	assert_guest_has_pages(p->vcpu, 0, all - 1, 1);
}

/* Four guests with somewhat more pages than there is room for altogether. */
static void use_pages(struct pool_vm *p)
{
	struct user users[4] = { 0 };
	uint64_t seed = test_seed();
	unsigned refused = 0;

	p->tiers[0].capacity = 60;
	p->tiers[1].capacity = 100;
	p->tiers[1].need = odd_numbers_never;
	p->tiers[1].room = 100;
	for (unsigned i = 0; i < 4; i++) {
		users[i].p = p;
		users[i].seed = seed + i;
		users[i].first = i * PAGES / 4;
		assert_int_equal(s2_vcpu_create(p->vm, test_vcpu_config(), &users[i].vcpu), 0);
		assert_int_equal(pthread_create(&users[i].thread, NULL, user_main, &users[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(users[i].thread, NULL), 0);
		assert_int_equal(users[i].wrong, 0);
		assert_int_equal(s2_vcpu_destroy(users[i].vcpu), 0);
		refused += users[i].refused;
	}
	print_message("%u of %u accesses were refused\n", refused, 4 * 3000);
}

static void test_at_the_brink_of_full(void **state)
{
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, PAGES, 0, 2);
	use_pages(&p);
	assert_all_room_is_found(&p);
	pool_vm_end(&p);
}

static void test_at_the_brink_of_full_with_the_pools_thread(void **state)
{
	const struct s2_pool_config config = {
		.size = POOL_FRAMES * S2_PAGE_SIZE,
		.low_watermark = 2 * S2_PAGE_SIZE,
		.high_watermark = 4 * S2_PAGE_SIZE,
	};
	struct pool_vm p;

	pool_vm_begin_config(&p, &config, PAGES, NULL, 2);
	use_pages(&p);
	pool_vm_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_full_tier_is_asked_once_before_a_fault_fails),
		cmocka_unit_test(test_over_a_limit_a_full_tier_is_asked_once),
		cmocka_unit_test(test_reclaim_asks_a_full_tier_once),
		cmocka_unit_test(test_shared_pages_are_not_offered_to_a_full_tier),
		cmocka_unit_test(test_a_page_of_zeroes_goes_though_all_tiers_are_full),
		cmocka_unit_test(test_after_a_drop_a_full_tier_takes_pages),
		cmocka_unit_test(test_a_slot_dropped_while_the_tier_says_it_is_full),
		cmocka_unit_test(test_room_that_came_by_itself_is_found_before_a_fault_fails),
		cmocka_unit_test(test_room_that_came_by_itself_is_found_though_others_have_some),
		cmocka_unit_test(test_a_page_that_does_not_fit_is_no_reason_to_call_a_tier_full),
		cmocka_unit_test(test_a_page_that_was_refused_is_not_offered_again),
		cmocka_unit_test(test_a_page_that_was_refused_is_offered_when_it_has_changed),
		cmocka_unit_test(test_a_page_that_was_refused_is_offered_when_there_is_room_for_it),
		cmocka_unit_test(test_who_has_no_room_at_all_is_not_asked),
		cmocka_unit_test(test_a_page_that_somebody_is_discarding_is_waited_for),
		cmocka_unit_test(test_at_the_brink_of_full),
		cmocka_unit_test(test_at_the_brink_of_full_with_the_pools_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
