/* SPDX-License-Identifier: MIT */
/* Regions: their addresses, and their end while others are at work in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <time.h>
#include <stdlib.h>

#include "pool/pool.h"
#include "pool/pool_vm.h"
#include "sanitized.h"

static void test_more_than_there_are_addresses_takes_no_memory(void **state)
{
	unsigned long calls;
	struct pool_vm p;
	uint64_t hva;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, 1, 0, 0);
	calls = p.memory.calls;
	assert_int_equal(s2_pool_map(p.pool, NULL, UINT64_C(1) << 44, &hva), -ENOMEM);
	assert_int_equal(s2_pool_map(p.pool, NULL, UINT64_C(1) << 45, &hva), -ENOMEM);
	assert_int_equal(s2_pool_map(p.pool, NULL, -S2_PAGE_SIZE, &hva), -ENOMEM);
	assert_int_equal(p.memory.calls, calls);
	pool_vm_end(&p);
}

static void test_a_region_ends_before_the_last_address(void **state)
{
	const uint64_t size = 3 * S2_PAGE_SIZE;
	struct pool_vm p;
	uint64_t hva;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, 1, 0, 0);
	p.pool->next_hva = S2_POOL_HVA_LAST - S2_POOL_HVA_ALIGN;
	assert_int_equal(s2_pool_map(p.pool, NULL, S2_POOL_HVA_ALIGN, &hva), 0);
	assert_true(hva < p.pool->next_hva);
	assert_int_equal(s2_pool_unmap(p.pool, hva), 0);
	p.pool->next_hva = S2_POOL_HVA_LAST - S2_POOL_HVA_ALIGN;
	assert_int_equal(s2_pool_map(p.pool, NULL, size, &hva), 0);
	assert_int_equal(hva, S2_POOL_HVA_LAST - S2_POOL_HVA_ALIGN);
	assert_int_equal(s2_pool_write(p.pool, hva + size - 1, "x", 1), 0);
	assert_int_equal(s2_pool_write(p.pool, hva + size, "x", 1), -EINVAL);
	assert_int_equal(s2_pool_unmap(p.pool, hva), 0);
	pool_vm_end(&p);
}

/* A memslot that points to addresses which others have by now: they have what is there now. */
static void test_addresses_are_used_again(void **state)
{
	struct pool_vm p;
	uint64_t hva;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, 8, 0, 1);
	guest_fill_pages(p.vcpu, 0, 8, 1);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t first = p.hva;

		assert_int_equal(s2_pool_reclaim(p.pool, 4 * S2_PAGE_SIZE, 0), 4 * S2_PAGE_SIZE);
		assert_int_equal(s2_pool_unmap(p.pool, p.hva), 0);
		assert_int_equal(guest_fill(p.vcpu, 3, 1), -EFAULT);
		p.pool->next_hva = S2_POOL_HVA_LAST;
		assert_int_equal(s2_pool_map(p.pool, p.memcg, 8 * S2_PAGE_SIZE, &hva), 0);
		assert_int_equal(hva, first);
		for (uint64_t gfn = 0; gfn < 8; gfn++)
			assert_guest_has(p.vcpu, gfn, 0);
		guest_fill_pages(p.vcpu, 0, 8, 2);
	}
	pool_vm_end(&p);
}

static void test_gaps_are_found_again(void **state)
{
	uint64_t hvas[20], hva;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, 1, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(s2_pool_map(p.pool, NULL, (i % 3 + 1) * S2_POOL_HVA_ALIGN, &hvas[i]), 0);
	assert_int_equal(s2_pool_unmap(p.pool, hvas[5]), 0);
	p.pool->next_hva = S2_POOL_HVA_LAST;
	assert_int_equal(s2_pool_map(p.pool, NULL, 3 * S2_POOL_HVA_ALIGN, &hva), 0);
	assert_int_equal(hva, hvas[5]);
	p.pool->next_hva = S2_POOL_HVA_LAST;
	assert_int_equal(s2_pool_unmap(p.pool, hvas[6]), 0);
	assert_int_equal(s2_pool_map(p.pool, NULL, 2 * S2_POOL_HVA_ALIGN, &hva), 0);
	assert_true(hva > hvas[19]);
	pool_vm_end(&p);
}

/* A fault that waits for room in a region's own pages is not waited for by who unmaps it. */
struct unmapping {
	struct pool_vm p;
	uint64_t hva;
	pthread_t thread;
};

static void *unmap_it(void *arg)
{
	struct unmapping *u = arg;

	assert_int_equal(s2_pool_unmap(u->p.pool, u->hva), 0);
	return NULL;
}

/* While a page is being stored: after that no tier takes it, as it has changed. */
static void unmap_meanwhile(void *arg)
{
	struct unmapping *u = arg;
	char nothing;

	guest_fill_pages(u->p.vcpu, 1, POOL_FRAMES + 1, 2);
	atomic_store(&u->p.tiers[0].store_error, -EIO);
	assert_int_equal(pthread_create(&u->thread, NULL, unmap_it, u), 0);
	while (!s2_pool_read(u->p.pool, u->hva, &nothing, 0))
		sched_yield();
}

static void begin_unmapping(struct unmapping *u)
{
	pool_vm_begin(&u->p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES + 1, 0, 1);
	guest_fill_pages(u->p.vcpu, 0, 1, 1);
	u->hva = u->p.hva;
	u->p.tiers[0].arg = u;
}

static void end_unmapping(struct unmapping *u)
{
	assert_int_equal(pthread_join(u->thread, NULL), 0);
	u->p.hva = 0;
	pool_vm_end(&u->p);
}

static void test_unmapped_while_a_fault_looks_for_room(void **state)
{
	struct unmapping u;
	uint64_t value;

	begin_unmapping(&u);
	assert_int_equal(s2_pool_reclaim(u.p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	guest_fill_pages(u.p.vcpu, 1, POOL_FRAMES + 1, 1);
	u.p.tiers[0].meanwhile = unmap_meanwhile;
	assert_int_equal(s2_pool_read(u.p.pool, u.hva, &value, sizeof(value)), -EFAULT);
	end_unmapping(&u);
}

static void test_unmapped_while_a_shared_page_needs_room(void **state)
{
	struct unmapping u;
	uint64_t value, clone;

	begin_unmapping(&u);
	assert_int_equal(s2_pool_clone(u.p.pool, NULL, u.hva, &clone), 0);
	assert_int_equal(s2_pool_reclaim(u.p.pool, UINT64_MAX, 0), S2_PAGE_SIZE);
	guest_fill_pages(u.p.vcpu, 1, POOL_FRAMES + 1, 1);
	u.p.tiers[0].meanwhile = unmap_meanwhile;
	assert_int_equal(s2_pool_read(u.p.pool, u.hva, &value, sizeof(value)), -EFAULT);
	assert_int_equal(pthread_join(u.thread, NULL), 0);
	assert_int_equal(s2_pool_read(u.p.pool, clone, &value, sizeof(value)), 0);
	assert_int_equal(value, 1 << 16);
	assert_int_equal(s2_pool_unmap(u.p.pool, clone), 0);
	u.p.hva = 0;
	pool_vm_end(&u.p);
}

/* Has something happen in the middle of a clone, when it has its original and no page's lock. */
struct interrupted_clone {
	struct unmapping u;
	struct s2_allocator real;
	bool armed;
	_Atomic bool unmapped;
};

static void *unmap_and_tell(void *arg)
{
	struct interrupted_clone *c = arg;

	unmap_it(&c->u);
	atomic_store(&c->unmapped, true);
	return NULL;
}

/* It does not come to its end, however long that is given: the longer, the surer the test. */
static void *interrupting_alloc(void *ctx, size_t size, size_t align)
{
	const struct timespec tick = { .tv_nsec = 1000000 };
	struct interrupted_clone *c = ctx;

	if (c->armed) {
		c->armed = false;
		assert_int_equal(pthread_create(&c->u.thread, NULL, unmap_and_tell, c), 0);
		for (unsigned i = 0; i < 100; i++)
			nanosleep(&tick, NULL);
		assert_false(atomic_load(&c->unmapped));
	}
	return c->real.alloc(c->real.ctx, size, align);
}

static void interrupting_free(void *ctx, void *ptr)
{
	struct interrupted_clone *c = ctx;

	c->real.free(c->real.ctx, ptr);
}

static void test_who_unmaps_waits_for_who_clones(void **state)
{
	struct interrupted_clone c = { .armed = false };
	uint64_t clone, value;

	begin_unmapping(&c.u);
	c.real = c.u.p.pool->allocator;
	c.u.p.pool->allocator = (struct s2_allocator){
		.alloc = interrupting_alloc, .free = interrupting_free, .ctx = &c,
	};
	c.armed = true;
	assert_int_equal(s2_pool_clone(c.u.p.pool, NULL, c.u.hva, &clone), 0);
	assert_int_equal(s2_pool_read(c.u.p.pool, clone, &value, sizeof(value)), 0);
	assert_int_equal(value, 1 << 16);
	assert_int_equal(s2_pool_unmap(c.u.p.pool, clone), 0);
	end_unmapping(&c.u);
}

/* vCPUs that use a region until it is gone, each its own pages of it. */
struct user {
	struct s2_vcpu *vcpu;
	uint64_t pages;
	unsigned nr;
	_Atomic bool at_work;
	int ret;
	pthread_t thread;
};

static void *use_region(void *arg)
{
	struct user *user = arg;

	for (uint64_t i = 0; !user->ret; i++) {
		user->ret = guest_fill(user->vcpu, i * 15 % user->pages + user->nr, i % 100 + 1);
		atomic_store(&user->at_work, true);
	}
	return NULL;
}

static void unmapped_under_faults(enum s2_gate gate)
{
	const uint64_t pages = 3 * POOL_FRAMES;
	struct user users[3];
	struct pool_vm p;

	for (unsigned round = 0; round < 10; round++) {
		pool_vm_begin(&p, gate, POOL_FRAMES, pages, 0, 1);
		for (unsigned i = 0; i < 3; i++) {
			users[i] = (struct user){ .pages = pages, .nr = i };
			assert_int_equal(s2_vcpu_create(p.vm, test_vcpu_config(), &users[i].vcpu), 0);
			assert_int_equal(pthread_create(&users[i].thread, NULL, use_region, &users[i]), 0);
		}
		for (unsigned i = 0; i < 3; i++)
			while (!atomic_load(&users[i].at_work))
				sched_yield();
		assert_int_equal(s2_pool_unmap(p.pool, p.hva), 0);
		p.hva = 0;
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(pthread_join(users[i].thread, NULL), 0);
			assert_int_equal(users[i].ret, -EFAULT);
			assert_int_equal(s2_vcpu_destroy(users[i].vcpu), 0);
		}
		pool_vm_end(&p);
	}
}

static void test_unmapped_under_faults_range(void **state)
{
	unmapped_under_faults(S2_GATE_RANGE);
}

static void test_unmapped_under_faults_always(void **state)
{
	unmapped_under_faults(S2_GATE_ALWAYS);
}

static void test_unmapped_under_faults_rwsem(void **state)
{
	unmapped_under_faults(S2_GATE_RWSEM);
}

static void test_unmapped_under_faults_count(void **state)
{
	unmapped_under_faults(S2_GATE_COUNT);
}

#define MAPPERS 4u
#define MAPPED_PAGES 8u
#define ROUNDS (WITH_THREAD_SANITIZER || WITH_ADDRESS_SANITIZER ? 60u : 200u)

/*
 * Everyone clones a region that all know, or one of their own, writes to one side and reads
 * the other, while frames run short and a tier fails now and then.
 */
struct mapper {
	struct pool_vm *p;
	struct s2_memcg *memcg;
	uint64_t random;
	unsigned wrong;
	unsigned errors;
	pthread_t thread;
};

static bool may_happen(struct mapper *m, int ret)
{
	m->errors += ret != 0;
	m->wrong += ret && ret != -EIO && ret != -EBADMSG && ret != -ENOMEM;
	return !ret;
}

static void check(struct mapper *m, uint64_t hva, uint64_t page, uint64_t expected)
{
	uint64_t word;

	if (may_happen(m, s2_pool_read(m->p->pool, hva + page * S2_PAGE_SIZE, &word, sizeof(word))))
		m->wrong += word != expected;
}

/* @values: what the pages of the region at @hva hold. */
static void use(struct mapper *m, uint64_t hva, uint64_t values[], uint64_t tag)
{
	for (unsigned i = 0; i < MAPPED_PAGES; i++) {
		uint64_t random = test_random(&m->random), page = random % MAPPED_PAGES;

		if (random >> 32 & 1)
			check(m, hva, page, values[page]);
		else if (may_happen(m, s2_pool_write(m->p->pool, hva + page * S2_PAGE_SIZE, &tag,
						     sizeof(tag))))
			values[page] = tag;
	}
}

static void clone_and_use(struct mapper *m, uint64_t hva, const uint64_t values[], unsigned depth)
{
	uint64_t own[MAPPED_PAGES], clone;

	if (!depth || !may_happen(m, s2_pool_clone(m->p->pool, m->memcg, hva, &clone)))
		return;
	for (unsigned i = 0; i < MAPPED_PAGES; i++)
		own[i] = values[i];
	use(m, clone, own, test_random(&m->random));
	clone_and_use(m, clone, own, depth - 1);
	use(m, clone, own, test_random(&m->random));
	m->wrong += s2_pool_unmap(m->p->pool, clone) != 0;
}

static void *map_and_clone(void *arg)
{
	uint64_t known[MAPPED_PAGES];
	struct mapper *m = arg;

	for (unsigned i = 0; i < MAPPED_PAGES; i++)
		known[i] = (uint64_t)i << 40 | 1 << 16;
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t values[MAPPED_PAGES] = { 0 }, hva;

		clone_and_use(m, m->p->hva, known, 3);
		if (!may_happen(m, s2_pool_map(m->p->pool, m->memcg, MAPPED_PAGES * S2_PAGE_SIZE, &hva)))
			continue;
		use(m, hva, values, test_random(&m->random));
		clone_and_use(m, hva, values, 2);
		use(m, hva, values, test_random(&m->random));
		m->wrong += s2_pool_unmap(m->p->pool, hva) != 0;
		if (round % 16 == 0)
			s2_pool_age(m->p->pool);
	}
	return NULL;
}

static void map_unmap_and_clone(enum s2_gate gate, unsigned one_in, uint64_t watermark)
{
	const struct s2_pool_config config = {
		.size = 24 * S2_PAGE_SIZE,
		.gate = gate,
		.low_watermark = watermark * S2_PAGE_SIZE,
		.high_watermark = 2 * watermark * S2_PAGE_SIZE,
	};
	struct mapper *mappers = calloc(MAPPERS, sizeof(*mappers));
	uint64_t seed = test_seed();
	struct pool_vm p;

	assert_non_null(mappers);
	pool_vm_begin_config(&p, &config, MAPPED_PAGES, NULL, 1);
	guest_fill_pages(p.vcpu, 0, MAPPED_PAGES, 1);
	atomic_store(&p.tiers[0].random, seed);
	atomic_store(&p.tiers[0].one_in, one_in);
	for (unsigned i = 0; i < MAPPERS; i++) {
		const struct s2_memcg_config memcg = { .limit = i * 3 * S2_PAGE_SIZE };

		mappers[i] = (struct mapper){ .p = &p, .random = seed + i };
		assert_int_equal(s2_memcg_create(p.pool, &memcg, &mappers[i].memcg), 0);
		assert_int_equal(pthread_create(&mappers[i].thread, NULL, map_and_clone, &mappers[i]), 0);
	}
	for (unsigned i = 0; i < MAPPERS; i++) {
		assert_int_equal(pthread_join(mappers[i].thread, NULL), 0);
		assert_int_equal(mappers[i].wrong, 0);
		if (!one_in)
			assert_int_equal(mappers[i].errors, 0);
		assert_int_equal(memcg_stats(mappers[i].memcg).resident, 0);
		assert_int_equal(memcg_stats(mappers[i].memcg).shared, 0);
		assert_int_equal(memcg_stats(mappers[i].memcg).swapped, 0);
		assert_int_equal(s2_memcg_destroy(mappers[i].memcg), 0);
	}
	atomic_store(&p.tiers[0].one_in, 0);
	for (uint64_t gfn = 0; gfn < MAPPED_PAGES; gfn++)
		assert_guest_has(p.vcpu, gfn, 1);
	pool_vm_end(&p);
	free(mappers);
}

static void test_map_unmap_and_clone_by_many(void **state)
{
	map_unmap_and_clone(S2_GATE_RANGE, 0, 0);
}

static void test_map_unmap_and_clone_by_many_with_a_tier_that_fails(void **state)
{
	map_unmap_and_clone(S2_GATE_RANGE, 20, 0);
}

static void test_map_unmap_and_clone_by_many_and_kswapd(void **state)
{
	map_unmap_and_clone(S2_GATE_RWSEM, 20, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_more_than_there_are_addresses_takes_no_memory),
		cmocka_unit_test(test_a_region_ends_before_the_last_address),
		cmocka_unit_test(test_addresses_are_used_again),
		cmocka_unit_test(test_gaps_are_found_again),
		cmocka_unit_test(test_unmapped_while_a_fault_looks_for_room),
		cmocka_unit_test(test_unmapped_while_a_shared_page_needs_room),
		cmocka_unit_test(test_who_unmaps_waits_for_who_clones),
		cmocka_unit_test(test_unmapped_under_faults_range),
		cmocka_unit_test(test_unmapped_under_faults_always),
		cmocka_unit_test(test_unmapped_under_faults_rwsem),
		cmocka_unit_test(test_unmapped_under_faults_count),
		cmocka_unit_test(test_map_unmap_and_clone_by_many),
		cmocka_unit_test(test_map_unmap_and_clone_by_many_with_a_tier_that_fails),
		cmocka_unit_test(test_map_unmap_and_clone_by_many_and_kswapd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
