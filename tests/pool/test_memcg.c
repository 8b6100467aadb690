/* SPDX-License-Identifier: MIT */
/* Memcgs: their limits, and whose pages go for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "pool/pool.h"
#include "pool/pool_vm.h"

#define FRAMES 32u

static void begin(struct pool_vm *p, uint64_t pages, uint64_t limit)
{
	pool_vm_begin(p, S2_GATE_RANGE, FRAMES, pages, limit, 1);
	guest_fill_pages(p->vcpu, 0, pages, 1);
}

static void test_a_lower_limit_is_kept_at_once(void **state)
{
	struct pool_vm p;

	begin(&p, 16, 0);
	assert_int_equal(s2_memcg_set_limit(p.memcg, 5 * S2_PAGE_SIZE), 0);
	assert_int_equal(memcg_stats(p.memcg).resident, 5);
	assert_int_equal(memcg_stats(p.memcg).swapped, 11);
	assert_guest_has_pages(p.vcpu, 0, 16, 1);
	assert_int_equal(memcg_stats(p.memcg).resident, 5);
	assert_int_equal(s2_memcg_set_limit(p.memcg, 0), 0);
	assert_guest_has_pages(p.vcpu, 0, 16, 1);
	assert_int_equal(memcg_stats(p.memcg).resident, 16);
	pool_vm_end(&p);
}

static void test_when_no_tier_takes_a_page_the_limit_is_an_error(void **state)
{
	struct pool_vm p;

	begin(&p, 16, 0);
	atomic_store(&p.tiers[0].store_error, -EIO);
	assert_int_equal(s2_memcg_set_limit(p.memcg, 5 * S2_PAGE_SIZE), -ENOMEM);
	assert_int_equal(memcg_stats(p.memcg).resident, 16);
	assert_guest_has_pages(p.vcpu, 0, 16, 1);
	assert_int_equal(s2_pool_discard(p.pool, p.hva, 11 * S2_PAGE_SIZE), 0);
	assert_int_equal(guest_fill(p.vcpu, 0, 1), -ENOMEM);
	assert_int_equal(host_fill(&p, 0, 1), -ENOMEM);
	assert_int_equal(memcg_stats(p.memcg).resident, 5);
	assert_int_equal(pool_stats(&p).free_frames, FRAMES - 5);
	atomic_store(&p.tiers[0].store_error, 0);
	guest_fill_pages(p.vcpu, 0, 11, 1);
	assert_guest_has_pages(p.vcpu, 0, 16, 1);
	assert_int_equal(memcg_stats(p.memcg).resident, 5);
	pool_vm_end(&p);
}

static void test_a_page_of_zeroes_makes_room(void **state)
{
	struct pool_vm p;

	begin(&p, 8, 8);
	atomic_store(&p.tiers[0].store_error, -EIO);
	assert_int_equal(guest_fill(p.vcpu, 3, 0), 0);
	assert_int_equal(s2_memcg_set_limit(p.memcg, 7 * S2_PAGE_SIZE), 0);
	assert_guest_has(p.vcpu, 3, 0);
	assert_int_equal(guest_fill(p.vcpu, 3, 1), -ENOMEM);
	assert_guest_has_pages(p.vcpu, 4, 8, 1);
	pool_vm_end(&p);
}

static void test_each_pays_for_its_own_limit(void **state)
{
	const struct s2_memcg_config config = { .limit = 4 * S2_PAGE_SIZE };
	struct s2_memcg *memcg;
	struct pool_vm p;
	uint64_t other;

	begin(&p, 6, 6);
	assert_int_equal(s2_memcg_create(p.pool, &config, &memcg), 0);
	assert_int_equal(s2_pool_map(p.pool, memcg, 8 * S2_PAGE_SIZE, &other), 0);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(s2_pool_write(p.pool, other + i * S2_PAGE_SIZE, "x", 1), 0);
	assert_int_equal(memcg_stats(memcg).resident, 4);
	assert_int_equal(memcg_stats(memcg).swapped, 4);
	assert_int_equal(memcg_stats(p.memcg).resident, 6);
	assert_int_equal(memcg_stats(p.memcg).swap_outs, 0);
	assert_int_equal(s2_memcg_set_limit(p.memcg, 3 * S2_PAGE_SIZE), 0);
	assert_int_equal(memcg_stats(p.memcg).resident, 3);
	assert_int_equal(memcg_stats(memcg).resident, 4);
	assert_int_equal(s2_pool_unmap(p.pool, other), 0);
	assert_int_equal(s2_memcg_destroy(memcg), 0);
	pool_vm_end(&p);
}

static void test_reclaim_of_one_memcg(void **state)
{
	struct pool_vm p;
	uint64_t other;

	begin(&p, 8, 0);
	assert_int_equal(s2_pool_map(p.pool, NULL, 4 * S2_PAGE_SIZE, &other), 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(s2_pool_write(p.pool, other + i * S2_PAGE_SIZE, "x", 1), 0);
	assert_int_equal(s2_memcg_reclaim(p.memcg, 3 * S2_PAGE_SIZE, 0), 3 * S2_PAGE_SIZE);
	assert_int_equal(memcg_stats(p.memcg).resident, 5);
	assert_int_equal(s2_memcg_reclaim(p.memcg, UINT64_MAX, 0), 5 * S2_PAGE_SIZE);
	assert_int_equal(pool_stats(&p).resident, 4);
	assert_guest_has_pages(p.vcpu, 0, 8, 1);
	assert_int_equal(s2_pool_unmap(p.pool, other), 0);
	pool_vm_end(&p);
}

static void test_a_limit_is_for_all_regions_together(void **state)
{
	uint64_t hvas[4];
	struct pool_vm p;

	begin(&p, 4, 6);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(s2_pool_map(p.pool, p.memcg, 4 * S2_PAGE_SIZE, &hvas[i]), 0);
		for (uint64_t page = 0; page < 4; page++)
			assert_int_equal(s2_pool_write(p.pool, hvas[i] + page * S2_PAGE_SIZE, &i, sizeof(i)), 0);
		assert_true(memcg_stats(p.memcg).resident <= 6);
	}
	assert_guest_has_pages(p.vcpu, 0, 4, 1);
	for (unsigned i = 0; i < 4; i++) {
		unsigned value;

		assert_int_equal(s2_pool_read(p.pool, hvas[i] + 3 * S2_PAGE_SIZE, &value, sizeof(value)), 0);
		assert_int_equal(value, i);
		assert_int_equal(s2_pool_unmap(p.pool, hvas[i]), 0);
	}
	pool_vm_end(&p);
}

static void test_memcgs_sum_up_to_the_pool(void **state)
{
	struct s2_pool_stats a, b, all;
	struct s2_memcg *memcg;
	struct pool_vm p;
	uint64_t clone;

	begin(&p, 16, 7);
	assert_int_equal(s2_memcg_create(p.pool, NULL, &memcg), 0);
	assert_int_equal(s2_pool_clone(p.pool, memcg, p.hva, &clone), 0);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(s2_pool_write(p.pool, clone + i * S2_PAGE_SIZE, "x", 1), 0);
	guest_fill_pages(p.vcpu, 4, 16, 1);
	a = memcg_stats(p.memcg);
	b = memcg_stats(memcg);
	all = pool_stats(&p);
	assert_int_equal(a.resident + b.resident, all.resident);
	assert_int_equal(a.shared + b.shared, all.shared);
	assert_int_equal(a.cow_breaks + b.cow_breaks, all.cow_breaks);
	assert_int_equal(all.resident + all.shared_frames + all.free_frames, FRAMES);
	for (unsigned i = 0; i < S2_POOL_AGES; i++)
		assert_int_equal(a.by_age[i] + b.by_age[i], all.by_age[i]);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	assert_int_equal(s2_memcg_destroy(memcg), 0);
	pool_vm_end(&p);
}

/*
 * Another thread turns the hand at the same time, so that each look of ours is at every other
 * frame. The one page that could go is not among them.
 */
struct turning_tier {
	struct s2_pool_tier tier;
	struct s2_pool *pool;
	struct s2_pool_region *region;
};

static int turn_and_refuse(struct s2_pool_tier *base, const void *page, uint64_t *slot)
{
	struct turning_tier *tier = (struct turning_tier *)(void *)base;

	atomic_fetch_add(&tier->pool->frames.hand, 1);
	atomic_fetch_add(&tier->region->hand, 1);
	return -EIO;
}

static int load_nothing(struct s2_pool_tier *base, uint64_t slot, void *page)
{
	return -EIO;
}

static void drop_nothing(struct s2_pool_tier *base, uint64_t slot)
{
}

static void destroy_nothing(struct s2_pool_tier *base)
{
}

static void room_is_found(uint64_t limit)
{
	static const struct s2_pool_tier_ops ops = {
		.name = "turning",
		.store = turn_and_refuse,
		.load = load_nothing,
		.drop = drop_nothing,
		.destroy = destroy_nothing,
	};
	struct turning_tier tier = { .tier.ops = &ops };
	const struct s2_pool_config config = {
		.size = POOL_FRAMES * S2_PAGE_SIZE,
		.tiers = { &tier.tier },
	};
	const struct s2_memcg_config memcg_config = { .limit = limit * S2_PAGE_SIZE };
	char page[S2_PAGE_SIZE] = { 1 };

	for (uint64_t zero = 0; zero < POOL_FRAMES; zero++) {
		struct s2_memcg *memcg;
		uint64_t hva;

		assert_int_equal(s2_pool_create(&config, &tier.pool), 0);
		assert_int_equal(s2_memcg_create(tier.pool, &memcg_config, &memcg), 0);
		assert_int_equal(s2_pool_map(tier.pool, memcg, 2 * POOL_FRAMES * S2_PAGE_SIZE, &hva), 0);
		tier.region = s2_pool_region_get(tier.pool, hva);
		s2_pool_region_put(tier.region);
		for (uint64_t i = 0; i < POOL_FRAMES; i++) {
			page[0] = i != zero;
			assert_int_equal(s2_pool_write(tier.pool, hva + i * S2_PAGE_SIZE, page, sizeof(page)), 0);
		}
		assert_int_equal(s2_pool_write(tier.pool, hva + POOL_FRAMES * S2_PAGE_SIZE, "x", 1), 0);
		assert_int_equal(s2_pool_write(tier.pool, hva + (POOL_FRAMES + 1) * S2_PAGE_SIZE, "x", 1),
				 -ENOMEM);
		s2_pool_destroy(tier.pool);
	}
}

static void test_room_is_found_while_others_look_for_it(void **state)
{
	room_is_found(0);
}

static void test_room_in_a_memcg_is_found_while_others_look_for_it(void **state)
{
	room_is_found(POOL_FRAMES);
}

struct faulter {
	struct pool_vm *p;
	struct s2_vcpu *vcpu;
	uint64_t first;
	unsigned refused;
	pthread_t thread;
};

static void *fault_in_vain(void *arg)
{
	struct faulter *f = arg;

	for (unsigned i = 0; i < 50; i++)
		f->refused += guest_fill(f->vcpu, f->first + i, 1) == -ENOMEM;
	return NULL;
}

/* Several at once find nothing, and say so, rather than wait for each other. */
static void test_many_at_the_limit_get_an_error(void **state)
{
	struct faulter faulters[4];
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, FRAMES, 1000, 8, 1);
	guest_fill_pages(p.vcpu, 0, 8, 1);
	atomic_store(&p.tiers[0].store_error, -EIO);
	for (unsigned i = 0; i < 4; i++) {
		faulters[i] = (struct faulter){ .p = &p, .first = 100 * (i + 1) };
		assert_int_equal(s2_vcpu_create(p.vm, test_vcpu_config(), &faulters[i].vcpu), 0);
		assert_int_equal(pthread_create(&faulters[i].thread, NULL, fault_in_vain, &faulters[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(faulters[i].thread, NULL), 0);
		assert_int_equal(faulters[i].refused, 50);
		assert_int_equal(s2_vcpu_destroy(faulters[i].vcpu), 0);
	}
	assert_int_equal(memcg_stats(p.memcg).resident, 8);
	assert_guest_has_pages(p.vcpu, 0, 8, 1);
	pool_vm_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_lower_limit_is_kept_at_once),
		cmocka_unit_test(test_when_no_tier_takes_a_page_the_limit_is_an_error),
		cmocka_unit_test(test_a_page_of_zeroes_makes_room),
		cmocka_unit_test(test_each_pays_for_its_own_limit),
		cmocka_unit_test(test_reclaim_of_one_memcg),
		cmocka_unit_test(test_a_limit_is_for_all_regions_together),
		cmocka_unit_test(test_memcgs_sum_up_to_the_pool),
		cmocka_unit_test(test_room_is_found_while_others_look_for_it),
		cmocka_unit_test(test_room_in_a_memcg_is_found_while_others_look_for_it),
		cmocka_unit_test(test_many_at_the_limit_get_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
