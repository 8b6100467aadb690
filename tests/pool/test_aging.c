/* SPDX-License-Identifier: MIT */
/* The clock of ages with shared pages and with regions of several chunks; the rest is in test_pool.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pool/pool_vm.h"

#define FRAMES 64u
#define PAGES 8u
#define CHUNK 512u

struct shared_pages {
	struct pool_vm p;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t clone;
};

/* Eight pages that two VMs share. */
static void begin(struct shared_pages *s)
{
	pool_vm_begin(&s->p, S2_GATE_RANGE, FRAMES, PAGES, 0, 1);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_int_equal(guest_fill(s->p.vcpu, gfn, 1), 0);
	assert_int_equal(s2_pool_clone(s->p.pool, NULL, s->p.hva, &s->clone), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(s->p.pool), NULL, &s->vm), 0);
	assert_int_equal(map_region(s->vm, 0, 0, PAGES, s->clone), 0);
	assert_int_equal(s2_vcpu_create(s->vm, test_vcpu_config(), &s->vcpu), 0);
}

static void end(struct shared_pages *s)
{
	assert_int_equal(s2_vcpu_destroy(s->vcpu), 0);
	s2_vm_put(s->vm);
	assert_int_equal(s2_pool_unmap(s->p.pool, s->clone), 0);
	pool_vm_end(&s->p);
}

static void use_pages(struct s2_vcpu *vcpu, uint64_t first, uint64_t end)
{
	for (uint64_t gfn = first; gfn < end; gfn++)
		assert_guest_reads(vcpu, gfn, gfn << 40 | 1 << 16);
}

static int64_t reclaim(struct shared_pages *s, unsigned min_age)
{
	return s2_pool_reclaim(s->p.pool, UINT64_MAX, min_age) / (int64_t)S2_PAGE_SIZE;
}

/* Two of the pages the one VM uses, two the other. */
static void age_shared_pages(struct shared_pages *s)
{
	for (unsigned i = 0; i < 4; i++) {
		use_pages(s->p.vcpu, 0, 2);
		use_pages(s->vcpu, 2, 4);
		assert_int_equal(s2_pool_age(s->p.pool), 0);
	}
}

static void test_a_page_that_one_of_many_uses_stays_young(void **state)
{
	struct shared_pages s;

	begin(&s);
	use_pages(s.p.vcpu, 0, PAGES);
	use_pages(s.vcpu, 0, PAGES);
	age_shared_pages(&s);
	assert_int_equal(reclaim(&s, 3), PAGES - 4);
	assert_int_equal(reclaim(&s, 1), 0);
	use_pages(s.p.vcpu, 0, 4);
	assert_int_equal(pool_stats(&s.p).swap_ins, 0);
	end(&s);
}

static void test_reclaim_sees_the_use_of_a_shared_page_since_the_last_step(void **state)
{
	struct shared_pages s;

	begin(&s);
	use_pages(s.p.vcpu, 0, PAGES);
	use_pages(s.vcpu, 0, PAGES);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(s2_pool_age(s.p.pool), 0);
	use_pages(s.p.vcpu, 0, 1);
	use_pages(s.vcpu, 1, 2);
	assert_int_equal(reclaim(&s, 1), PAGES - 2);
	assert_int_equal(reclaim(&s, 0), 2);
	end(&s);
}

static void test_an_idle_vms_share_does_not_keep_a_page(void **state)
{
	struct shared_pages s;

	begin(&s);
	use_pages(s.vcpu, 0, PAGES);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(s2_pool_age(s.p.pool), 0);
	assert_int_equal(reclaim(&s, 4), PAGES);
	end(&s);
}

/* Pages at the ends of chunks, every other of which is used on. */
static void test_a_region_of_several_chunks(void **state)
{
	static const uint64_t gfns[] = {
		0, 1, CHUNK - 1, CHUNK, CHUNK + 63, CHUNK + 64, 2 * CHUNK - 1, 2 * CHUNK,
		3 * CHUNK - 2, 3 * CHUNK - 1, 3 * CHUNK, 3 * CHUNK + 6,
	};
	const unsigned nr = sizeof(gfns) / sizeof(*gfns);
	struct s2_pool_stats stats;
	struct pool_vm p;

	pool_vm_begin(&p, S2_GATE_RANGE, FRAMES, 3 * CHUNK + 7, 0, 1);
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(guest_fill(p.vcpu, gfns[i], 1), 0);
	assert_int_equal(s2_pool_age(p.pool), 0);
	for (unsigned step = 0; step < 3; step++) {
		for (unsigned i = 0; i < nr; i += 2)
			use_pages(p.vcpu, gfns[i], gfns[i] + 1);
		assert_int_equal(s2_pool_age(p.pool), 0);
	}
	stats = pool_stats(&p);
	assert_int_equal(stats.by_age[0], nr / 2);
	assert_int_equal(stats.by_age[3], nr / 2);
	assert_int_equal(s2_pool_reclaim(p.pool, UINT64_MAX, 1), (nr / 2) * S2_PAGE_SIZE);
	for (unsigned i = 0; i < nr; i += 2)
		use_pages(p.vcpu, gfns[i], gfns[i] + 1);
	assert_int_equal(pool_stats(&p).swap_ins, 0);
	pool_vm_end(&p);
}

/* Two VMs that have different parts of one region, far apart. */
static void test_each_vm_of_a_region_is_flushed(void **state)
{
	struct s2_vcpu_stats stats;
	struct s2_vcpu *other_vcpu;
	struct s2_vm *other;
	struct pool_vm p;
	uint64_t value;

	pool_vm_begin(&p, S2_GATE_RANGE, FRAMES, 2 * CHUNK, 0, 1);
	assert_int_equal(map_region(p.vm, 0, 0, 0, p.hva), 0);
	assert_int_equal(map_region(p.vm, 0, 0, CHUNK, p.hva), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(p.pool), NULL, &other), 0);
	assert_int_equal(map_region(other, 0, 0, CHUNK, hva_of(&p, CHUNK)), 0);
	assert_int_equal(s2_vcpu_create(other, test_vcpu_config(), &other_vcpu), 0);
	for (unsigned step = 0; step < 3; step++) {
		assert_int_equal(guest_store(p.vcpu, 1, step), 0);
		assert_int_equal(guest_store(other_vcpu, 1, step), 0);
		assert_int_equal(s2_pool_age(p.pool), 0);
	}
	assert_int_equal(guest_load(p.vcpu, 1, &value), 0);
	assert_int_equal(guest_load(other_vcpu, 1, &value), 0);
	assert_int_equal(s2_vcpu_get_stats(p.vcpu, &stats), 0);
	assert_true(stats.tlb_flushes >= 3);
	assert_int_equal(s2_vcpu_get_stats(other_vcpu, &stats), 0);
	assert_true(stats.tlb_flushes >= 3);
	assert_int_equal(pool_stats(&p).by_age[0], 2);
	assert_int_equal(s2_vcpu_destroy(other_vcpu), 0);
	s2_vm_put(other);
	pool_vm_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_page_that_one_of_many_uses_stays_young),
		cmocka_unit_test(test_reclaim_sees_the_use_of_a_shared_page_since_the_last_step),
		cmocka_unit_test(test_an_idle_vms_share_does_not_keep_a_page),
		cmocka_unit_test(test_a_region_of_several_chunks),
		cmocka_unit_test(test_each_vm_of_a_region_is_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
