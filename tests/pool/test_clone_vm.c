/* SPDX-License-Identifier: MIT */
/* Clones of whole VMs: memslots, configuration and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "pool/pool_vm.h"
#include "sanitized.h"

#define PAGES 8u
#define LARGE_PAGES (UINT64_C(64) << (20 - S2_PAGE_SHIFT))
#define CLONES (WITH_THREAD_SANITIZER || WITH_ADDRESS_SANITIZER ? 100u : 1000u)

struct clone {
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
};

static void begin(struct pool_vm *p)
{
	pool_vm_begin(p, S2_GATE_RANGE, 64, PAGES, 0, 1);
}

static void clone_begin(struct pool_vm *p, struct clone *clone)
{
	assert_int_equal(s2_pool_clone_vm(p->pool, p->memcg, p->vm, &clone->vm), 0);
	assert_int_equal(s2_vcpu_create(clone->vm, test_vcpu_config(), &clone->vcpu), 0);
}

/* @gfn: the first of the clone's region. */
static void unmap_at(struct pool_vm *p, struct s2_vm *vm, uint64_t gfn)
{
	uint64_t hva;

	assert_int_equal(s2_vm_gfn_to_hva(vm, gfn, &hva), 0);
	assert_int_equal(s2_pool_unmap(p->pool, hva), 0);
}

static void clone_end(struct pool_vm *p, struct clone *clone)
{
	assert_int_equal(s2_vcpu_destroy(clone->vcpu), 0);
	unmap_at(p, clone->vm, 0);
	s2_vm_put(clone->vm);
}

static void test_a_clone_has_the_memory_of_its_original(void **state)
{
	struct clone clone;
	struct pool_vm p;

	begin(&p);
	for (uint64_t gfn = 0; gfn < PAGES / 2; gfn++)
		assert_int_equal(guest_fill(p.vcpu, gfn, 1), 0);
	clone_begin(&p, &clone);
	for (uint64_t gfn = 0; gfn < PAGES; gfn++)
		assert_guest_has(clone.vcpu, gfn, gfn < PAGES / 2);
	assert_int_equal(guest_fill(clone.vcpu, 0, 2), 0);
	assert_int_equal(guest_fill(p.vcpu, 1, 3), 0);
	assert_guest_has(p.vcpu, 0, 1);
	assert_guest_has(clone.vcpu, 1, 1);
	clone_end(&p, &clone);
	assert_guest_has(p.vcpu, 1, 3);
	pool_vm_end(&p);
}

/* A second VM over the same region, which has the page from before it is written to. */
static void test_all_vms_of_a_region_see_a_write_to_what_it_shares(void **state)
{
	struct clone clone;
	struct pool_vm p;
	struct s2_vcpu *other_vcpu;
	struct s2_vm *other;

	begin(&p);
	assert_int_equal(guest_fill(p.vcpu, 0, 1), 0);
	assert_int_equal(s2_vm_create(s2_pool_mm(p.pool), NULL, &other), 0);
	assert_int_equal(map_region(other, 0, 0, PAGES, p.hva), 0);
	assert_int_equal(s2_vcpu_create(other, test_vcpu_config(), &other_vcpu), 0);
	clone_begin(&p, &clone);
	assert_guest_has(other_vcpu, 0, 1);
	assert_int_equal(guest_fill(p.vcpu, 0, 2), 0);
	assert_guest_has(other_vcpu, 0, 2);
	assert_guest_has(clone.vcpu, 0, 1);
	clone_end(&p, &clone);
	assert_int_equal(s2_vcpu_destroy(other_vcpu), 0);
	s2_vm_put(other);
	pool_vm_end(&p);
}

/* Two memslots over the two halves of one region, and a third over another. */
static void test_memslots_of_one_region_stay_so(void **state)
{
	struct clone clone;
	struct pool_vm p;
	uint64_t other, hva, first;

	begin(&p);
	assert_int_equal(s2_pool_map(p.pool, NULL, 2 * S2_PAGE_SIZE, &other), 0);
	assert_int_equal(map_region(p.vm, 7, 100, PAGES / 2, hva_of(&p, PAGES / 2)), 0);
	assert_int_equal(map_region(p.vm, 9, 200, 2, other), 0);
	assert_int_equal(guest_fill(p.vcpu, 100, 1), 0);
	assert_int_equal(guest_fill(p.vcpu, 200, 2), 0);
	clone_begin(&p, &clone);
	assert_guest_has(clone.vcpu, 100, 1);
	assert_guest_has(clone.vcpu, 200, 2);
	assert_int_equal(s2_vm_gfn_to_hva(clone.vm, 0, &first), 0);
	assert_int_equal(s2_vm_gfn_to_hva(clone.vm, 100, &hva), 0);
	assert_int_equal(hva, first + PAGES / 2 * S2_PAGE_SIZE);
	/* The deletion of a memslot that the clone must have by the same number. */
	assert_int_equal(map_region(clone.vm, 7, 100, 0, 0), 0);
	assert_int_equal(s2_vm_gfn_to_hva(clone.vm, 100, &hva), -ENOENT);
	assert_int_equal(s2_vm_gfn_to_hva(p.vm, 100, &hva), 0);
	unmap_at(&p, clone.vm, 200);
	clone_end(&p, &clone);
	assert_int_equal(s2_pool_unmap(p.pool, other), 0);
	pool_vm_end(&p);
}

static void test_flags_and_configuration_go_along(void **state)
{
	const struct s2_vm_config config = {
		.mmu_lock = S2_MMU_LOCK_MUTEX,
		.manual_dirty_protect = true,
		.dirty_initially_set = true,
	};
	struct kvm_userspace_memory_region slot = {
		.slot = 3,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.memory_size = PAGES * S2_PAGE_SIZE,
	};
	uint64_t bitmap = 0;
	const struct kvm_dirty_log log = { .slot = 3, .dirty_bitmap = &bitmap };
	struct s2_vm *vm, *clone;
	struct pool_vm p;

	begin(&p);
	assert_int_equal(s2_vm_create(s2_pool_mm(p.pool), &config, &vm), 0);
	slot.userspace_addr = p.hva;
	assert_int_equal(s2_vm_set_memory_region(vm, &slot), 0);
	assert_int_equal(s2_pool_clone_vm(p.pool, NULL, vm, &clone), 0);
	assert_int_equal(s2_vm_get_dirty_log(clone, &log), 0);
	assert_int_equal(bitmap, (1 << PAGES) - 1);
	unmap_at(&p, clone, 0);
	s2_vm_put(clone);
	s2_vm_put(vm);
	pool_vm_end(&p);
}

/* As a fuzzer has them: 64 MiB each, alive at the same time, and each writes to a page of its own. */
static void test_a_thousand_clones(void **state)
{
	const struct s2_pool_config config = { .size = UINT64_C(16) << 20 };
	struct clone *clones = calloc(CLONES, sizeof(*clones));
	struct pool_vm p;

	assert_non_null(clones);
	pool_vm_begin_config(&p, &config, LARGE_PAGES, NULL, 1);
	for (uint64_t gfn = 0; gfn < LARGE_PAGES; gfn += LARGE_PAGES / 256)
		assert_int_equal(guest_fill(p.vcpu, gfn, 1), 0);
	for (unsigned i = 0; i < CLONES; i++) {
		clone_begin(&p, &clones[i]);
		assert_int_equal(guest_fill(clones[i].vcpu, i + 1, i + 2), 0);
	}
	for (unsigned i = 0; i < CLONES; i++) {
		assert_guest_has(clones[i].vcpu, i + 1, i + 2);
		assert_guest_has(clones[i].vcpu, 0, 1);
		assert_guest_has(clones[i].vcpu, LARGE_PAGES - LARGE_PAGES / 256, 1);
	}
	assert_int_equal(pool_stats(&p).shared, 256 * (CLONES + 1) - CLONES / (LARGE_PAGES / 256));
	for (unsigned i = 0; i < CLONES; i++)
		clone_end(&p, &clones[i]);
	free(clones);
	pool_vm_end(&p);
}

static void test_a_vm_without_memslots(void **state)
{
	struct s2_vm *vm, *clone;
	struct pool_vm p;

	begin(&p);
	assert_int_equal(s2_vm_create(s2_pool_mm(p.pool), NULL, &vm), 0);
	assert_int_equal(s2_pool_clone_vm(p.pool, NULL, vm, &clone), 0);
	s2_vm_put(clone);
	s2_vm_put(vm);
	pool_vm_end(&p);
}

static void test_a_memslot_over_no_region(void **state)
{
	struct s2_pool_stats before, after;
	struct s2_vm *clone;
	struct pool_vm p;

	begin(&p);
	assert_int_equal(map_region(p.vm, 1, 1000, 1, UINT64_C(1) << 40), 0);
	before = pool_stats(&p);
	assert_int_equal(s2_pool_clone_vm(p.pool, NULL, p.vm, &clone), -EFAULT);
	after = pool_stats(&p);
	assert_int_equal(before.shared, after.shared);
	pool_vm_end(&p);
}

/* With the n-th allocation failing, until none does. */
static void test_out_of_memory(void **state)
{
	struct pool_vm p;
	unsigned failures = 0;
	int ret;

	begin(&p);
	assert_int_equal(guest_fill(p.vcpu, 0, 1), 0);
	for (long n = 1;; n++) {
		struct s2_vm *clone = NULL;

		counting_allocator_fail_at(&p.memory, n);
		ret = s2_pool_clone_vm(p.pool, p.memcg, p.vm, &clone);
		counting_allocator_fail_at(&p.memory, 0);
		assert_guest_has(p.vcpu, 0, 1);
		if (!ret) {
			unmap_at(&p, clone, 0);
			s2_vm_put(clone);
			break;
		}
		assert_int_equal(ret, -ENOMEM);
		assert_null(clone);
		failures++;
	}
	assert_true(failures > 3);
	pool_vm_end(&p);
}

static void test_bad_arguments(void **state)
{
	struct s2_vm *clone, *elsewhere;
	struct s2_mm *mm;
	struct pool_vm p;

	begin(&p);
	assert_int_equal(s2_mm_create(NULL, &mm), 0);
	assert_int_equal(s2_vm_create(mm, NULL, &elsewhere), 0);
	assert_int_equal(s2_pool_clone_vm(NULL, NULL, p.vm, &clone), -EINVAL);
	assert_int_equal(s2_pool_clone_vm(p.pool, NULL, NULL, &clone), -EINVAL);
	assert_int_equal(s2_pool_clone_vm(p.pool, NULL, p.vm, NULL), -EINVAL);
	assert_int_equal(s2_pool_clone_vm(p.pool, NULL, elsewhere, &clone), -EINVAL);
	s2_vm_put(elsewhere);
	s2_mm_put(mm);
	pool_vm_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_clone_has_the_memory_of_its_original),
		cmocka_unit_test(test_all_vms_of_a_region_see_a_write_to_what_it_shares),
		cmocka_unit_test(test_memslots_of_one_region_stay_so),
		cmocka_unit_test(test_flags_and_configuration_go_along),
		cmocka_unit_test(test_a_thousand_clones),
		cmocka_unit_test(test_a_vm_without_memslots),
		cmocka_unit_test(test_a_memslot_over_no_region),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
