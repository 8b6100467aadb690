/* SPDX-License-Identifier: MIT */
/* When nothing can be reclaimed: who is killed, what that takes from him, and who goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "pool/pool_vm.h"

/* A memcg, a region and a VM of their own, beside the fixture's. */
struct tenant {
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t hva;
	uint64_t pages;
};

static void tenant_map(struct tenant *t, struct pool_vm *p, int priority, uint64_t pages)
{
	const struct s2_memcg_config config = { .oom_priority = priority };

	t->pages = pages;
	assert_int_equal(s2_memcg_create(p->pool, &config, &t->memcg), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(p->pool), NULL, &t->vm), 0);
	assert_int_equal(s2_vcpu_create(t->vm, test_vcpu_config(), &t->vcpu), 0);
	assert_int_equal(s2_pool_map(p->pool, t->memcg, pages * S2_PAGE_SIZE, &t->hva), 0);
	assert_int_equal(map_region(t->vm, 0, 0, pages, t->hva), 0);
}

static void tenant_begin(struct tenant *t, struct pool_vm *p, int priority, uint64_t pages)
{
	tenant_map(t, p, priority, pages);
	for (uint64_t gfn = 0; gfn < pages; gfn++)
		assert_int_equal(guest_fill(t->vcpu, gfn, 1), 0);
}

static void tenant_end(struct tenant *t, struct pool_vm *p)
{
	assert_int_equal(s2_vcpu_destroy(t->vcpu), 0);
	s2_vm_put(t->vm);
	assert_int_equal(s2_pool_unmap(p->pool, t->hva), 0);
	assert_int_equal(memcg_stats(t->memcg).resident, 0);
	assert_int_equal(memcg_stats(t->memcg).shared, 0);
	assert_int_equal(s2_memcg_destroy(t->memcg), 0);
}

static void assert_lost(struct tenant *t, struct pool_vm *p)
{
	uint64_t value;

	assert_int_equal(memcg_stats(t->memcg).killed, 1);
	assert_int_equal(memcg_stats(t->memcg).resident, 0);
	for (uint64_t gfn = 0; gfn < t->pages; gfn++) {
		uint64_t hva = t->hva + gfn * S2_PAGE_SIZE;

		assert_int_equal(guest_load(t->vcpu, gfn, &value), -EFAULT);
		assert_int_equal(guest_store(t->vcpu, gfn, 1), -EFAULT);
		assert_int_equal(s2_pool_read(p->pool, hva, &value, sizeof(value)), -EFAULT);
		assert_int_equal(s2_pool_write(p->pool, hva, &value, sizeof(value)), -EFAULT);
	}
}

static void assert_spared(struct tenant *t)
{
	assert_int_equal(memcg_stats(t->memcg).killed, 0);
	for (uint64_t gfn = 0; gfn < t->pages; gfn++)
		assert_guest_has(t->vcpu, gfn, 1);
}

static void the_victim_loses_its_memory(enum s2_gate gate)
{
	struct tenant victim;
	struct pool_vm p;

	pool_vm_begin(&p, gate, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&victim, &p, 1, 6);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_lost(&victim, &p);
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(pool_stats(&p).oom_kills, 1);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

static void test_the_victim_loses_its_memory_range(void **state)
{
	the_victim_loses_its_memory(S2_GATE_RANGE);
}

static void test_the_victim_loses_its_memory_always(void **state)
{
	the_victim_loses_its_memory(S2_GATE_ALWAYS);
}

static void test_the_victim_loses_its_memory_rwsem(void **state)
{
	the_victim_loses_its_memory(S2_GATE_RWSEM);
}

static void test_the_victim_loses_its_memory_count(void **state)
{
	the_victim_loses_its_memory(S2_GATE_COUNT);
}

static void test_a_tier_that_refuses_is_none(void **state)
{
	struct tenant victim;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 1);
	atomic_store(&p.tiers[0].store_error, -EIO);
	tenant_begin(&victim, &p, 1, 6);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_lost(&victim, &p);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

/* Asked for once, it need not refuse each page of all the others. */
static void test_a_full_tier_is_none(void **state)
{
	struct tenant victim;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES + 4, 0, 1);
	p.tiers[0].capacity = 4;
	tenant_begin(&victim, &p, 1, 6);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES + 4 - 6, 1);
	atomic_store(&p.tiers[0].stores, 0);
	guest_fill_pages(p.vcpu, POOL_FRAMES + 4 - 6, POOL_FRAMES + 4 - 5, 1);
	assert_lost(&victim, &p);
	assert_in_range(atomic_load(&p.tiers[0].stores), 1, 2);
	assert_int_equal(pool_stats(&p).oom_kills, 1);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

static void test_the_highest_priority_first(void **state)
{
	struct tenant tenants[3];
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&tenants[0], &p, 2, 4);
	tenant_begin(&tenants[1], &p, 3, 4);
	tenant_begin(&tenants[2], &p, 1, 4);
	guest_fill_pages(p.vcpu, 0, 5, 1);
	assert_lost(&tenants[1], &p);
	assert_spared(&tenants[0]);
	assert_spared(&tenants[2]);
	guest_fill_pages(p.vcpu, 5, 9, 1);
	assert_lost(&tenants[0], &p);
	assert_spared(&tenants[2]);
	assert_int_equal(pool_stats(&p).oom_kills, 2);
	assert_guest_has_pages(p.vcpu, 0, 9, 1);
	for (unsigned i = 0; i < 3; i++)
		tenant_end(&tenants[i], &p);
	pool_vm_end(&p);
}

/* Who has nothing to give is not killed for nothing. */
static void test_a_memcg_without_memory_is_no_victim(void **state)
{
	struct tenant poor, victim;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_map(&poor, &p, 9, 4);
	tenant_begin(&victim, &p, 1, 4);
	guest_fill_pages(p.vcpu, 0, 13, 1);
	assert_lost(&victim, &p);
	assert_int_equal(memcg_stats(poor.memcg).killed, 0);
	tenant_end(&poor, &p);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

static void test_without_victim_there_is_no_memory(void **state)
{
	struct tenant other;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&other, &p, 0, 6);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES - 6, 1);
	assert_int_equal(guest_fill(p.vcpu, POOL_FRAMES - 6, 1), -ENOMEM);
	assert_int_equal(pool_stats(&p).oom_kills, 0);
	assert_spared(&other);
	tenant_end(&other, &p);
	pool_vm_end(&p);
}

/* Who has no memory left may be the victim itself. */
static void test_a_memcg_that_kills_itself(void **state)
{
	struct tenant victim;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_map(&victim, &p, 1, POOL_FRAMES + 1);
	for (uint64_t gfn = 0; gfn < POOL_FRAMES; gfn++)
		assert_int_equal(guest_fill(victim.vcpu, gfn, 1), 0);
	assert_int_equal(guest_fill(victim.vcpu, POOL_FRAMES, 1), -EFAULT);
	assert_lost(&victim, &p);
	assert_int_equal(pool_stats(&p).free_frames, POOL_FRAMES);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

/* Not even what took no memory. */
static void test_a_victim_reads_no_zeroes(void **state)
{
	struct tenant victim;
	struct pool_vm p;
	uint64_t value;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_map(&victim, &p, 1, 8);
	for (uint64_t gfn = 0; gfn < 4; gfn++)
		assert_int_equal(guest_fill(victim.vcpu, gfn, 1), 0);
	for (uint64_t gfn = 4; gfn < 8; gfn++)
		assert_guest_reads(victim.vcpu, gfn, 0);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	for (uint64_t gfn = 0; gfn < 8; gfn++)
		assert_int_equal(guest_load(victim.vcpu, gfn, &value), -EFAULT);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

static void test_a_victim_of_several_regions(void **state)
{
	struct tenant victim;
	struct pool_vm p;
	uint64_t more[3];

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&victim, &p, 1, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s2_pool_map(p.pool, victim.memcg, 2 * S2_PAGE_SIZE, &more[i]), 0);
		assert_int_equal(s2_pool_write(p.pool, more[i], "x", 1), 0);
	}
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_lost(&victim, &p);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s2_pool_write(p.pool, more[i], "x", 1), -EFAULT);
		assert_int_equal(s2_pool_unmap(p.pool, more[i]), 0);
	}
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

/* Pages that were shared with a region that is gone belong to nobody else. */
static void test_a_victims_pages_may_be_shared_with_nobody(void **state)
{
	struct tenant victim;
	struct pool_vm p;
	uint64_t original;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&victim, &p, 1, 6);
	original = victim.hva;
	assert_int_equal(s2_pool_clone(p.pool, victim.memcg, original, &victim.hva), 0);
	assert_int_equal(map_region(victim.vm, 1, 100, 6, victim.hva), 0);
	assert_guest_reads(victim.vcpu, 100, 1 << 16);
	assert_int_equal(s2_pool_unmap(p.pool, original), 0);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_int_equal(memcg_stats(victim.memcg).killed, 1);
	assert_int_equal(guest_store(victim.vcpu, 100, 1), -EFAULT);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

static void test_what_others_share_stays_theirs(void **state)
{
	struct tenant victim;
	struct pool_vm p;
	uint64_t clone;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&victim, &p, 1, 6);
	assert_int_equal(s2_pool_clone(p.pool, NULL, victim.hva, &clone), 0);
	assert_int_equal(map_region(p.vm, 1, 100, 6, clone), 0);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES - 6, 1);
	assert_int_equal(guest_fill(p.vcpu, POOL_FRAMES - 6, 1), -ENOMEM);
	for (uint64_t i = 0; i < 6; i++) {
		uint64_t word;

		assert_int_equal(guest_load(p.vcpu, 100 + i, &word), 0);
		assert_int_equal(word, i << 40 | 1 << 16);
	}
	tenant_end(&victim, &p);
	assert_int_equal(s2_pool_unmap(p.pool, clone), 0);
	pool_vm_end(&p);
}

struct idler {
	struct s2_vcpu *vcpu;
	uint64_t pages;
	_Atomic bool holds;
	_Atomic bool go_on;
	int ret;
	pthread_t thread;
};

/* Has all its pages in its TLB, and does not come to a safepoint. */
static void *stay_in_guest_mode(void *arg)
{
	struct idler *idler = arg;
	uint64_t value;

	assert_int_equal(s2_vcpu_enter(idler->vcpu), 0);
	for (uint64_t gfn = 0; gfn < idler->pages; gfn++)
		assert_int_equal(s2_vcpu_load64(idler->vcpu, gfn << S2_PAGE_SHIFT, &value), 0);
	atomic_store(&idler->holds, true);
	while (!atomic_load(&idler->go_on))
		sched_yield();
	s2_vcpu_poll(idler->vcpu);
	idler->ret = s2_vcpu_load64(idler->vcpu, 0, &value);
	assert_int_equal(s2_vcpu_exit(idler->vcpu), 0);
	return NULL;
}

/* Nobody waits for it; when it comes out its memory is to be had. */
static void test_a_victim_that_does_not_come_out_of_guest_mode(void **state)
{
	struct tenant victim;
	struct idler idler = { .pages = 6 };
	struct pool_vm p;
	int ret;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&victim, &p, 1, 6);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES - 6, 1);
	idler.vcpu = victim.vcpu;
	assert_int_equal(pthread_create(&idler.thread, NULL, stay_in_guest_mode, &idler), 0);
	while (!atomic_load(&idler.holds))
		sched_yield();
	ret = guest_fill(p.vcpu, POOL_FRAMES - 6, 1);
	assert_int_equal(memcg_stats(victim.memcg).killed, 1);
	/* A vCPU that is shot down by restartable sequences need not be waited for. */
	if (s2_vcpu_shootdown(victim.vcpu) == S2_SHOOTDOWN_SAFEPOINT)
		assert_int_equal(ret, -ENOMEM);
	else
		assert_int_equal(ret, 0);
	atomic_store(&idler.go_on, true);
	assert_int_equal(pthread_join(idler.thread, NULL), 0);
	assert_int_equal(idler.ret, -EFAULT);
	guest_fill_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_lost(&victim, &p);
	assert_int_equal(pool_stats(&p).oom_kills, 1);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

struct writer {
	struct pool_vm *p;
	struct s2_vcpu *vcpu;
	uint64_t first;
	_Atomic unsigned wrong;
	pthread_t thread;
};

static void *write_pages(void *arg)
{
	struct writer *w = arg;

	for (uint64_t gfn = w->first; gfn < w->first + POOL_FRAMES / 4; gfn++)
		if (guest_fill(w->vcpu, gfn, 1))
			atomic_fetch_add(&w->wrong, 1);
	return NULL;
}

/* Many are out of memory at once; one victim is enough for all of them. */
static void test_all_others_finish_their_writes(void **state)
{
	struct writer writers[4];
	struct tenant victim;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, POOL_FRAMES, POOL_FRAMES, 0, 0);
	tenant_begin(&victim, &p, 1, POOL_FRAMES);
	for (unsigned i = 0; i < 4; i++) {
		writers[i] = (struct writer){ .p = &p, .first = i * POOL_FRAMES / 4 };
		assert_int_equal(s2_vcpu_create(p.vm, test_vcpu_config(), &writers[i].vcpu), 0);
		assert_int_equal(pthread_create(&writers[i].thread, NULL, write_pages, &writers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
		assert_int_equal(writers[i].wrong, 0);
		assert_int_equal(s2_vcpu_destroy(writers[i].vcpu), 0);
	}
	assert_guest_has_pages(p.vcpu, 0, POOL_FRAMES, 1);
	assert_lost(&victim, &p);
	assert_int_equal(pool_stats(&p).oom_kills, 1);
	tenant_end(&victim, &p);
	pool_vm_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_victim_loses_its_memory_range),
		cmocka_unit_test(test_the_victim_loses_its_memory_always),
		cmocka_unit_test(test_the_victim_loses_its_memory_rwsem),
		cmocka_unit_test(test_the_victim_loses_its_memory_count),
		cmocka_unit_test(test_a_tier_that_refuses_is_none),
		cmocka_unit_test(test_a_full_tier_is_none),
		cmocka_unit_test(test_the_highest_priority_first),
		cmocka_unit_test(test_a_memcg_without_memory_is_no_victim),
		cmocka_unit_test(test_without_victim_there_is_no_memory),
		cmocka_unit_test(test_a_memcg_that_kills_itself),
		cmocka_unit_test(test_a_victim_reads_no_zeroes),
		cmocka_unit_test(test_a_victim_of_several_regions),
		cmocka_unit_test(test_a_victims_pages_may_be_shared_with_nobody),
		cmocka_unit_test(test_what_others_share_stays_theirs),
		cmocka_unit_test(test_a_victim_that_does_not_come_out_of_guest_mode),
		cmocka_unit_test(test_all_others_finish_their_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
