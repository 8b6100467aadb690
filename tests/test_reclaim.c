/* SPDX-License-Identifier: MIT */
/*
 * Updates leave old versions behind, which invalidations in flight and vCPUs may still hold. They
 * must be freed in the end, and not only in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>

#include "small_vm.h"

#define LOG KVM_MEM_LOG_DIRTY_PAGES
#define SLOTS 100
#define UPDATES 100000
/* What may wait to be freed; a hundred thousand updates leave some hundred times as much. */
#define BOUND (2UL << 20)

static void fill(struct small_vm *small)
{
	for (unsigned id = 0; id < SLOTS; id++)
		assert_int_equal(set_slot(small->vm, id, 2 * id, 2, 2 * id, 0), 0);
}

/* Of each kind one after the other; four of them leave a slot as it was. */
static void update(struct small_vm *small, unsigned i)
{
	unsigned id = i / 4 % SLOTS;

	switch (i % 4) {
	case 0:
		assert_int_equal(set_slot(small->vm, id, 2 * id, 2, 2 * id, LOG), 0);
		break;
	case 1:
		assert_int_equal(set_slot(small->vm, id, 1000 + 2 * id, 2, 2 * id, 0), 0);
		break;
	case 2:
		assert_int_equal(set_slot(small->vm, id, 0, 0, 0, 0), 0);
		break;
	case 3:
		assert_int_equal(set_slot(small->vm, id, 2 * id, 2, 2 * id, 0), 0);
		break;
	}
}

static void assert_bounded_updates(struct small_vm *small, unsigned nr)
{
	unsigned long limit = small->memory.bytes + BOUND;

	for (unsigned i = 0; i < nr; i++) {
		update(small, i);
		if (small->memory.bytes > limit)
			fail_msg(
				"after %u updates %lu bytes are allocated, and should be below %lu",
				i + 1, small->memory.bytes, limit);
	}
}

static void test_memory_is_bounded_under_updates(void **state)
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
		struct small_vm small;

		small_vm_begin(&small, gate, NULL);
		fill(&small);
		assert_bounded_updates(&small, gate == S2_GATE_RANGE ? UPDATES : UPDATES / 4);
		small_vm_end(&small);
	}
}

/* The pair holds the version it saw, and so all that came after; until it ends. */
static void test_long_pair_delays_the_freeing_and_no_longer(void **state)
{
	struct s2_invalidation inv;
	struct small_vm small;
	unsigned long before;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	fill(&small);
	before = small.memory.bytes;
	assert_int_equal(s2_invalidate_range_start(small.mm, &inv, FRAME_HVA_OF(2 * SLOTS),
						   FRAME_HVA_OF(2 * SLOTS + 1), 0),
			 0);
	for (unsigned i = 0; i < 10000; i++)
		update(&small, i);
	assert_true(small.memory.bytes > before + BOUND);
	s2_invalidate_range_end(small.mm, &inv);
	for (unsigned i = 0; i < 1000; i++)
		update(&small, i);
	assert_true(small.memory.bytes < before + BOUND);
	small_vm_end(&small);
}

/* Whenever an update looks, the entry of the last pair it saw is taken, but by another pair. */
static void test_short_pairs_delay_nothing(void **state)
{
	struct small_vm small;
	unsigned long limit;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	fill(&small);
	limit = small.memory.bytes + BOUND;
	for (unsigned i = 0; i < 10000; i++) {
		struct s2_invalidation inv;

		assert_int_equal(s2_invalidate_range_start(small.mm, &inv, FRAME_HVA_OF(2 * SLOTS),
							   FRAME_HVA_OF(2 * SLOTS + 1), 0),
				 0);
		update(&small, i);
		s2_invalidate_range_end(small.mm, &inv);
		assert_true(small.memory.bytes < limit);
	}
	small_vm_end(&small);
}

/* end() finds what its start() found, long after the memslot, and its VM, are gone. */
static void test_pair_outlives_its_memslot_and_a_thousand_updates(void **state)
{
	struct s2_invalidation inv, of_other;
	struct small_vm small;
	struct s2_vm *other;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	fill(&small);
	assert_int_equal(s2_vm_create(small.mm, NULL, &other), 0);
	assert_int_equal(set_slot(other, 0, 0, 2, 1000, 0), 0);
	assert_guest_reads(small.vcpu, 1, 1);
	assert_int_equal(
		s2_invalidate_range_start(small.mm, &inv, FRAME_HVA_OF(0), FRAME_HVA_OF(1), 0), 0);
	assert_int_equal(s2_invalidate_range_start(small.mm, &of_other, FRAME_HVA_OF(1000),
						   FRAME_HVA_OF(1001), 0),
			 0);
	assert_int_equal(set_slot(small.vm, 0, 0, 0, 0, 0), 0);
	s2_vm_put(other);
	for (unsigned i = 0; i < 1000; i++)
		update(&small, 4 + i % (4 * (SLOTS - 1)));
	s2_invalidate_range_end(small.mm, &inv);
	s2_invalidate_range_end(small.mm, &of_other);
	assert_int_equal(set_slot(small.vm, 0, 0, 2, 0, 0), 0);
	/* Would wait for ever if the count had not been dropped. */
	assert_guest_reads(small.vcpu, 0, 0);
	small_vm_end(&small);
}

/* ---- with others at work, so that there is no moment without a reader ---- */

struct churn {
	struct small_vm *small;
	struct s2_vcpu *vcpu;
	unsigned page;
	_Atomic bool *stop;
	unsigned long wrong;
	pthread_t thread;
};

/* Two tokens, of which one is always open. */
static void *pairs_without_a_gap(void *arg)
{
	struct churn *churn = arg;
	struct s2_mm *mm = churn->small->mm;
	struct s2_invalidation inv[2];
	uint64_t hva = FRAME_HVA_OF(churn->page);
	unsigned open = 0;

	assert_int_equal(s2_invalidate_range_start(mm, &inv[open], hva, hva + S2_PAGE_SIZE, 0), 0);
	while (!atomic_load(churn->stop)) {
		assert_int_equal(
			s2_invalidate_range_start(mm, &inv[!open], hva, hva + S2_PAGE_SIZE, 0), 0);
		s2_invalidate_range_end(mm, &inv[open]);
		open = !open;
	}
	s2_invalidate_range_end(mm, &inv[open]);
	return NULL;
}

static void *loads_without_a_gap(void *arg)
{
	struct churn *churn = arg;
	uint64_t random = (uintptr_t)churn->vcpu;

	assert_int_equal(s2_vcpu_enter(churn->vcpu), 0);
	while (!atomic_load(churn->stop)) {
		uint64_t gfn = test_random(&random) % (2 * SLOTS), value;
		int ret = s2_vcpu_load64(churn->vcpu, gfn << S2_PAGE_SHIFT, &value);

		churn->wrong += ret ? ret != -ENXIO : value != gfn;
		s2_vcpu_poll(churn->vcpu);
	}
	assert_int_equal(s2_vcpu_exit(churn->vcpu), 0);
	return NULL;
}

static void test_memory_is_bounded_while_there_are_always_readers(void **state)
{
	_Atomic bool stop = false;
	struct small_vm small;
	struct churn churn[3];

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	fill(&small);
	for (unsigned i = 0; i < 3; i++) {
		churn[i] = (struct churn){
			.small = &small,
			.vcpu = small.vcpu,
			.page = 3 * SLOTS + i,
			.stop = &stop,
		};
		assert_int_equal(pthread_create(&churn[i].thread, NULL,
						i ? pairs_without_a_gap : loads_without_a_gap,
						&churn[i]),
				 0);
	}
	/*
	 * A reader that loses its processor inside a pair holds all the updates up that are made
	 * meanwhile: then let it run.
	 */
	for (unsigned i = 0; i < UPDATES / 4; i++) {
		update(&small, i);
		if (i % 16 == 0)
			sched_yield();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(churn[i].thread, NULL), 0);
		assert_int_equal(churn[i].wrong, 0);
	}
	assert_bounded_updates(&small, 1000);
	small_vm_end(&small);
}

/* ---- VMs and large logs ---- */

static void test_memory_is_bounded_under_vms_that_come_and_go(void **state)
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
		struct small_vm small;
		unsigned long limit;

		small_vm_begin(&small, gate, NULL);
		limit = small.memory.bytes + 4 * BOUND;
		for (unsigned i = 0; i < 2000; i++) {
			struct s2_vcpu *vcpu;
			struct s2_vm *vm;

			assert_int_equal(s2_vm_create(small.mm, NULL, &vm), 0);
			assert_int_equal(s2_vcpu_create(vm, test_vcpu_config(), &vcpu), 0);
			assert_int_equal(set_slot(vm, 0, 0, 4, 0, 0), 0);
			assert_guest_reads(vcpu, 1, 1);
			assert_int_equal(s2_vcpu_destroy(vcpu), 0);
			s2_vm_put(vm);
			if (small.memory.bytes > limit)
				fail_msg("after %u VMs %lu bytes are allocated", i + 1,
					 small.memory.bytes);
		}
		small_vm_end(&small);
	}
}

/* Its memslots leave the hva index one by one, each with the nodes that the last one replaced. */
static void test_the_end_of_a_vm_with_many_memslots_hardly_allocates(void **state)
{
	enum { MANY = 5000 };
	struct small_vm small;
	unsigned long calls;
	struct s2_vm *vm;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(s2_vm_create(small.mm, NULL, &vm), 0);
	for (unsigned id = 0; id < MANY; id++)
		assert_int_equal(set_slot(vm, id, 2 * id, 1, 2 * id, 0), 0);
	calls = small.memory.calls;
	s2_vm_put(vm);
	if (small.memory.calls - calls > MANY / 10)
		fail_msg("a VM of %u memslots took %lu allocations to end", MANY,
			 small.memory.calls - calls);
	small_vm_end(&small);
}

/* Each creation replaces the list of VMs; the old lists must not pile up. */
static void test_creating_vms_leaves_no_old_lists(void **state)
{
	enum { VMS = 1000 };
	struct small_vm small;
	struct s2_vm *vm[VMS];
	unsigned long before, per_vm = 0;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	before = small.memory.bytes;
	for (unsigned i = 0; i < VMS; i++) {
		assert_int_equal(s2_vm_create(small.mm, NULL, &vm[i]), 0);
		if (i == 0)
			per_vm = small.memory.bytes - before;
	}
	if (small.memory.bytes > before + VMS * per_vm + BOUND)
		fail_msg("%u VMs take %lu bytes, and one takes %lu", VMS,
			 small.memory.bytes - before, per_vm);
	for (unsigned i = 0; i < VMS; i++)
		s2_vm_put(vm[i]);
	small_vm_end(&small);
}

/* A log of 2 MiB that is turned on and off. What waits is counted in bytes as well. */
static void test_memory_is_bounded_under_large_logs(void **state)
{
	struct small_vm small;
	unsigned long limit;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 0, UINT64_C(1) << 24, 0, 0), 0);
	limit = small.memory.bytes + 16 * BOUND;
	for (unsigned i = 1; i <= 200; i++) {
		assert_int_equal(set_slot(small.vm, 0, 0, UINT64_C(1) << 24, 0, i % 2 ? LOG : 0),
				 0);
		if (small.memory.bytes > limit)
			fail_msg("after %u updates %lu bytes are allocated", i, small.memory.bytes);
	}
	small_vm_end(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory_is_bounded_under_updates),
		cmocka_unit_test(test_long_pair_delays_the_freeing_and_no_longer),
		cmocka_unit_test(test_short_pairs_delay_nothing),
		cmocka_unit_test(test_pair_outlives_its_memslot_and_a_thousand_updates),
		cmocka_unit_test(test_memory_is_bounded_while_there_are_always_readers),
		cmocka_unit_test(test_memory_is_bounded_under_vms_that_come_and_go),
		cmocka_unit_test(test_the_end_of_a_vm_with_many_memslots_hardly_allocates),
		cmocka_unit_test(test_creating_vms_leaves_no_old_lists),
		cmocka_unit_test(test_memory_is_bounded_under_large_logs),
	};

	return cmocka_run_group_tests_name("reclaim", tests, NULL, NULL);
}
