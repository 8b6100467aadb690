/* SPDX-License-Identifier: MIT */
/*
 * A pool and a VM on a real Redis server: guest memory four times the pool, of which the
 * rest is there and nowhere else. Whatever becomes of the server, a guest gets what it
 * has written, or an error.
 */
#include "pool/pool_vm.h"
#include "pool/redis_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES 32u
#define PAGES (4 * FRAMES)
#define WORDS (S2_PAGE_SIZE / sizeof(uint64_t))

static struct redis_server server;

struct redis_vm {
	struct s2_pool *pool;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t hva;
};

static struct s2_pool_tier *redis_tier(void)
{
	const struct s2_pool_redis_config config = {
		.host = server.socket,
		.size = 2 * PAGES * S2_PAGE_SIZE,
		.timeout_ms = 60000,
	};
	struct s2_pool_tier *tier;

	assert_int_equal(s2_pool_tier_redis(&config, &tier), 0);
	return tier;
}

static void vm_begin(struct redis_vm *r, struct s2_pool_tier *second)
{
	const struct s2_pool_config config = {
		.size = FRAMES * S2_PAGE_SIZE,
		.tiers = { redis_tier(), second },
	};

	assert_int_equal(s2_pool_create(&config, &r->pool), 0);
	assert_int_equal(s2_pool_map(r->pool, NULL, PAGES * S2_PAGE_SIZE, &r->hva), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(r->pool), NULL, &r->vm), 0);
	assert_int_equal(map_region(r->vm, 0, 0, PAGES, r->hva), 0);
	assert_int_equal(s2_vcpu_create(r->vm, test_vcpu_config(), &r->vcpu), 0);
}

static void vm_end(struct redis_vm *r)
{
	assert_int_equal(s2_vcpu_destroy(r->vcpu), 0);
	s2_vm_put(r->vm);
	assert_int_equal(s2_pool_unmap(r->pool, r->hva), 0);
	s2_pool_destroy(r->pool);
}

static struct s2_pool_stats stats_of(struct redis_vm *r)
{
	struct s2_pool_stats stats;

	assert_int_equal(s2_pool_get_stats(r->pool, &stats), 0);
	return stats;
}

static void fill_all(struct redis_vm *r, uint64_t generation)
{
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_int_equal(guest_fill(r->vcpu, gfn, generation), 0);
}

static int guest_read(struct redis_vm *r, uint64_t gfn, uint64_t *page)
{
	return s2_vcpu_read(r->vcpu, gfn << S2_PAGE_SHIFT, page, S2_PAGE_SIZE);
}

static unsigned keys(void)
{
	char answer[REDIS_ANSWER];

	return (unsigned)atoi(redis_server_ask(&server, answer, "DBSIZE") + 1);
}

static void test_a_guest_has_four_times_the_memory(void **state)
{
	struct redis_vm r;

	vm_begin(&r, NULL);
	for (uint64_t generation = 1; generation < 4; generation++) {
		fill_all(&r, generation);
		for (uint64_t gfn = 0; gfn < PAGES; gfn++)
			assert_guest_has(r.vcpu, gfn, generation);
	}
	assert_in_range(stats_of(&r).tier_pages[0], PAGES - FRAMES, PAGES);
	assert_int_equal(stats_of(&r).tier_errors, 0);
	vm_end(&r);
	assert_int_equal(keys(), 0);
}

static void test_a_full_server_is_followed_by_the_next_tier(void **state)
{
	struct faulty_tier second;
	struct redis_vm r;

	faulty_tier_init(&second, FAULTY_TIER_SLOTS);
	vm_begin(&r, &second.tier);
	for (uint64_t gfn = 0; gfn < PAGES / 2; gfn++)
		assert_int_equal(guest_fill(r.vcpu, gfn, 1), 0);
	redis_server_tell(&server, "+OK", "CONFIG SET maxmemory 1");
	for (uint64_t gfn = PAGES / 2; gfn < PAGES; gfn++)
		assert_int_equal(guest_fill(r.vcpu, gfn, 1), 0);
	assert_in_range(stats_of(&r).tier_pages[0], 1, PAGES);
	assert_in_range(stats_of(&r).tier_pages[1], 1, PAGES);
	assert_int_equal(stats_of(&r).tier_errors, 0);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(r.vcpu, gfn, 1);
	vm_end(&r);
	assert_int_equal(keys(), 0);
	faulty_tier_free(&second);
}

/* A few bytes of every value. */
static void damage_all(void)
{
	redis_server_tell(&server, "$-1",
			  "EVAL \"for _, key in ipairs(redis.call('keys', '*')) do "
			  "redis.call('setrange', key, 1000, 'xyz') end\" 0");
}

static void test_damaged_values_are_found_out(void **state)
{
	uint64_t page[WORDS], swapped;
	unsigned damaged = 0;
	struct redis_vm r;

	vm_begin(&r, NULL);
	fill_all(&r, 1);
	swapped = stats_of(&r).swapped;
	damage_all();
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		int ret = guest_read(&r, gfn, page);

		assert_true(ret ? ret == -EBADMSG : page_is(page, gfn, 1));
		damaged += ret != 0;
	}
	assert_int_equal(damaged, swapped);
	vm_end(&r);
}

static void test_pages_of_a_server_that_was_killed_are_errors(void **state)
{
	uint64_t page[WORDS], swapped;
	unsigned errors = 0;
	struct redis_vm r;

	vm_begin(&r, NULL);
	fill_all(&r, 1);
	swapped = stats_of(&r).swapped;
	redis_server_kill(&server);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
		int ret = guest_read(&r, gfn, page);

		assert_true(ret || page_is(page, gfn, 1));
		errors += ret != 0;
	}
	assert_int_equal(errors, swapped);
	vm_end(&r);
}

struct guest {
	struct redis_vm *r;
	uint64_t seed, errors, wrong;
	uint64_t generations[PAGES]; /* UNKNOWN: a write has failed, perhaps in the middle */
	_Atomic uint64_t steps;
	_Atomic bool stop;
	pthread_t thread;
};

#define UNKNOWN UINT64_MAX

static void guest_step(struct guest *guest, uint64_t step)
{
	uint64_t page[WORDS], gfn = test_random(&guest->seed) % PAGES;
	int ret;

	if (test_random(&guest->seed) % 2) {
		ret = guest_fill(guest->r->vcpu, gfn, step);
		guest->generations[gfn] = ret ? UNKNOWN : step;
	} else {
		ret = guest_read(guest->r, gfn, page);
		if (!ret && guest->generations[gfn] != UNKNOWN)
			guest->wrong += !page_is(page, gfn, guest->generations[gfn]);
	}
	guest->errors += ret != 0;
}

static void *guest_main(void *arg)
{
	struct guest *guest = arg;

	for (uint64_t step = 1; !atomic_load(&guest->stop); step++) {
		guest_step(guest, step % 0xffffff + 1);
		atomic_store(&guest->steps, step);
	}
	return NULL;
}

static void wait_steps(struct guest *guest, uint64_t more)
{
	uint64_t until = atomic_load(&guest->steps) + more;

	while (atomic_load(&guest->steps) < until)
		sched_yield();
}

/* And one in its place, empty, that is killed as well: in the middle of whatever goes on. */
static void test_a_guest_whose_server_is_killed_gets_errors_but_nothing_wrong(void **state)
{
	static struct guest guest;
	struct redis_vm r;

	vm_begin(&r, NULL);
	memset(&guest, 0, sizeof(guest));
	guest.r = &r;
	guest.seed = test_seed();
	assert_int_equal(pthread_create(&guest.thread, NULL, guest_main, &guest), 0);
	for (unsigned round = 0; round < 5; round++) {
		wait_steps(&guest, 1000);
		redis_server_kill(&server);
		wait_steps(&guest, 1000);
		redis_server_restart(&server);
	}
	atomic_store(&guest.stop, true);
	assert_int_equal(pthread_join(guest.thread, NULL), 0);
	assert_int_equal(guest.wrong, 0);
	assert_true(guest.errors > 0);
	vm_end(&r);
}

static int begin_server(void **state)
{
	redis_server_begin(&server, false);
	return 0;
}

static int end_server(void **state)
{
	redis_server_end(&server);
	return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin_server, end_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_guest_has_four_times_the_memory),
		TEST(test_a_full_server_is_followed_by_the_next_tier),
		TEST(test_damaged_values_are_found_out),
		TEST(test_pages_of_a_server_that_was_killed_are_errors),
		TEST(test_a_guest_whose_server_is_killed_gets_errors_but_nothing_wrong),
	};
	const char *missing = redis_server_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
