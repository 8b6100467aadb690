/* SPDX-License-Identifier: MIT */
/*
 * What an update of the memslots changes, for whom, and when: lookups by gfn, vCPUs, and
 * invalidations, which look by hva. Which updates are allowed is test_region.c's and
 * test_kvm_differential.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "small_vm.h"

#define IN_PROGRESS S2_MEMSLOT_GEN_UPDATE_IN_PROGRESS

/* Each test that says nothing about a gate runs under each of them. */
static void under_each_gate(void (*test)(struct small_vm *small))
{
	for (unsigned gate = 0; gate < S2_NR_GATES; gate++) {
		struct small_vm small;

		small_vm_begin(&small, gate, NULL);
		test(&small);
		small_vm_end(&small);
	}
}

static void under_the_range_gate(void (*test)(struct small_vm *small))
{
	struct small_vm small;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	test(&small);
	small_vm_end(&small);
}

static bool elides(struct small_vm *small)
{
	struct s2_invalidation inv;

	assert_int_equal(
		s2_invalidate_range_start(small->mm, &inv, S2_PAGE_SIZE, 2 * S2_PAGE_SIZE, 0), 0);
	s2_invalidate_range_end(small->mm, &inv);
	return mm_stats(small->mm).elided > 0;
}

/* Under `always` nothing is elided, and there is nothing to compare. */
static void assert_related(struct small_vm *small, unsigned page, unsigned pages, bool related)
{
	if (elides(small))
		assert_int_equal(invalidation_is_related(small->mm, page, pages), related);
}

static void assert_hva(struct s2_vm *vm, uint64_t gfn, unsigned page)
{
	uint64_t hva = 0;

	assert_int_equal(s2_vm_gfn_to_hva(vm, gfn, &hva), 0);
	assert_true(hva == FRAME_HVA_OF(page));
}

static void assert_no_memory_at(struct small_vm *small, uint64_t gfn)
{
	uint64_t value = 77, hva = 77;

	assert_int_equal(s2_vm_gfn_to_hva(small->vm, gfn, &hva), -ENOENT);
	assert_int_equal(hva, 77);
	assert_int_equal(guest_load(small->vcpu, gfn, &value), -ENXIO);
	assert_int_equal(value, 77);
	assert_int_equal(guest_store(small->vcpu, gfn, 1), -ENXIO);
}

/* ---- create, delete, move ---- */

static void created_slot(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 3, 100, 4, 8, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_hva(small->vm, 100 + i, 8 + i);
		assert_guest_reads(small->vcpu, 100 + i, 8 + i);
	}
	assert_no_memory_at(small, 99);
	assert_no_memory_at(small, 104);
	assert_related(small, 8, 1, true);
	assert_related(small, 11, 1, true);
	assert_related(small, 7, 1, false);
	assert_related(small, 12, 1, false);
	assert_related(small, 0, 9, true);
}

static void test_created_slot_is_found_by_gfn_and_by_hva(void **state)
{
	under_each_gate(created_slot);
}

static void deleted_slot(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 10, 4, 0, 0), 0);
	assert_int_equal(set_slot(small->vm, 1, 14, 4, 4, 0), 0);
	for (uint64_t gfn = 10; gfn < 18; gfn++)
		assert_guest_reads(small->vcpu, gfn, gfn - 10);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	for (uint64_t gfn = 10; gfn < 14; gfn++)
		assert_no_memory_at(small, gfn);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 4);
	assert_guest_reads(small->vcpu, 14, 4);
	assert_related(small, 0, 4, false);
	assert_related(small, 4, 1, true);
}

static void test_deleted_slot_is_gone_and_its_neighbour_is_not(void **state)
{
	under_each_gate(deleted_slot);
}

static void moved_slot(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 10, 4, 0, 0), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(guest_store(small->vcpu, 10 + i, 1000 + i), 0);
	assert_int_equal(set_slot(small->vm, 0, 1000, 4, 0, 0), 0);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_no_memory_at(small, 10 + i);
		assert_hva(small->vm, 1000 + i, i);
		assert_guest_reads(small->vcpu, 1000 + i, 1000 + i);
	}
	assert_related(small, 0, 1, true);
	exchange_frame(small, 2, 99);
	assert_guest_reads(small->vcpu, 1002, 99);
}

static void test_moved_slot_has_its_contents_at_its_new_place_only(void **state)
{
	under_each_gate(moved_slot);
}

static void moved_by_less_than_its_size(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 100, 8, 0, 0), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_guest_reads(small->vcpu, 100 + i, i);
	assert_int_equal(set_slot(small->vm, 0, 103, 8, 0, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_no_memory_at(small, 100 + i);
	for (unsigned i = 0; i < 8; i++)
		assert_guest_reads(small->vcpu, 103 + i, i);
	assert_int_equal(set_slot(small->vm, 0, 98, 8, 0, 0), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_guest_reads(small->vcpu, 98 + i, i);
	assert_no_memory_at(small, 106);
	assert_related(small, 7, 1, true);
	assert_related(small, 8, 1, false);
}

static void test_slot_moves_over_its_own_old_place(void **state)
{
	under_each_gate(moved_by_less_than_its_size);
}

static void tables_freed(struct small_vm *small)
{
	assert_int_equal(vm_stats(small->vm).tables, 1);
	assert_int_equal(set_slot(small->vm, 0, 0, 1500, 0, 0), 0);
	/* Half a tree away, so that nothing but the root is shared. */
	assert_int_equal(set_slot(small->vm, 1, UINT64_C(1) << 35, 4, 1500, 0), 0);
	for (uint64_t gfn = 0; gfn < 1500; gfn += 100)
		assert_guest_reads(small->vcpu, gfn, gfn);
	assert_int_equal(vm_stats(small->vm).tables, 1 + 2 + 3);
	assert_guest_reads(small->vcpu, UINT64_C(1) << 35, 1500);
	assert_int_equal(vm_stats(small->vm).tables, 1 + 2 + 3 + 3);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	assert_int_equal(vm_stats(small->vm).tables, 1 + 3);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 1);
	assert_int_equal(set_slot(small->vm, 1, 0, 0, 0, 0), 0);
	assert_int_equal(vm_stats(small->vm).tables, 1);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 0);
}

static void test_delete_frees_the_stage_2_tables(void **state)
{
	under_each_gate(tables_freed);
}

/* ---- what one hva may stand for ---- */

static void shared_hva(struct small_vm *small)
{
	struct s2_vcpu *other_vcpu;
	struct s2_vm *other;

	assert_int_equal(s2_vm_create(small->mm, NULL, &other), 0);
	assert_int_equal(s2_vcpu_create(other, test_vcpu_config(), &other_vcpu), 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	assert_int_equal(set_slot(small->vm, 1, 50, 4, 2, 0), 0); /* page 2 is gfn 2 and 50 */
	assert_int_equal(set_slot(other, 7, 200, 4, 1, 0), 0);	  /* ... and 201 of another VM */
	assert_guest_reads(small->vcpu, 2, 2);
	assert_guest_reads(small->vcpu, 50, 2);
	assert_guest_reads(other_vcpu, 201, 2);
	exchange_frame(small, 2, 500);
	assert_guest_reads(small->vcpu, 2, 500);
	assert_guest_reads(small->vcpu, 50, 500);
	assert_guest_reads(other_vcpu, 201, 500);

	/* Deleting one leaves the others. */
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	exchange_frame(small, 2, 501);
	assert_guest_reads(small->vcpu, 50, 501);
	assert_guest_reads(other_vcpu, 201, 501);
	assert_int_equal(s2_vcpu_destroy(other_vcpu), 0);
	s2_vm_put(other);
	exchange_frame(small, 2, 502);
	assert_guest_reads(small->vcpu, 50, 502);
	assert_int_equal(set_slot(small->vm, 1, 0, 0, 0, 0), 0);
	assert_related(small, 0, 8, false);
}

static void test_every_slot_and_vm_on_one_hva_is_invalidated(void **state)
{
	under_each_gate(shared_hva);
}

/* ---- flags ---- */

static void read_only(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, KVM_MEM_READONLY), 0);
	assert_int_equal(guest_store(small->vcpu, 1, 77), -EROFS);
	assert_guest_reads(small->vcpu, 1, 1);
	/* Also when the page is in the TLB already. */
	assert_int_equal(guest_store(small->vcpu, 1, 77), -EROFS);
	assert_int_equal(*frame_provider_word(&small->host, 1), 1);
	assert_true(s2_is_mmio(-EROFS));
}

static void test_read_only_slot_takes_loads_and_refuses_stores(void **state)
{
	under_each_gate(read_only);
}

static void read_only_with_log(struct small_vm *small)
{
	uint64_t bits = ~UINT64_C(0);
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = &bits };

	assert_int_equal(
		set_slot(small->vm, 0, 0, 4, 0, KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(guest_store(small->vcpu, 1, 77), -EROFS);
	assert_guest_reads(small->vcpu, 1, 1);
	assert_int_equal(guest_store(small->vcpu, 1, 77), -EROFS);
	assert_int_equal(s2_vm_get_dirty_log(small->vm, &log), 0);
	assert_int_equal(bits, 0);
	/* The log can be taken off, the write protection cannot. */
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, KVM_MEM_READONLY), 0);
	assert_int_equal(guest_store(small->vcpu, 1, 77), -EROFS);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), -EINVAL);
	assert_int_equal(guest_store(small->vcpu, 1, 77), -EROFS);
}

static void test_read_only_slot_with_a_log_stays_clean(void **state)
{
	under_each_gate(read_only_with_log);
}

static void flags_keep_mappings(struct small_vm *small)
{
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	assert_int_equal(guest_store(small->vcpu, 2, 5), 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, KVM_MEM_LOG_DIRTY_PAGES), 0);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 1);
	assert_guest_reads(small->vcpu, 2, 5);
	assert_related(small, 2, 1, true);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	assert_guest_reads(small->vcpu, 2, 5);
	assert_related(small, 2, 1, true);
	assert_hva(small->vm, 2, 2);
	exchange_frame(small, 2, 600);
	assert_guest_reads(small->vcpu, 2, 600);
}

static void test_changing_flags_keeps_what_is_mapped(void **state)
{
	under_each_gate(flags_keep_mappings);
}

/* ---- the generation ---- */

static void assert_new_generation(struct small_vm *small, uint64_t *generation)
{
	uint64_t now = s2_vm_memslots_generation(small->vm);

	assert_int_equal(now & IN_PROGRESS, 0);
	assert_true(now != *generation);
	*generation = now;
}

static void generations(struct small_vm *small)
{
	uint64_t generation = s2_vm_memslots_generation(small->vm);

	assert_int_equal(generation & IN_PROGRESS, 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	assert_new_generation(small, &generation);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, KVM_MEM_LOG_DIRTY_PAGES), 0);
	assert_new_generation(small, &generation);
	assert_int_equal(set_slot(small->vm, 0, 9, 4, 0, 0), 0);
	assert_new_generation(small, &generation);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	assert_new_generation(small, &generation);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), -EINVAL);
	assert_int_equal(s2_vm_memslots_generation(small->vm), generation);
}

static void test_each_update_has_a_generation_of_its_own(void **state)
{
	under_each_gate(generations);
}

struct update_thread {
	struct s2_vm *vm;
	unsigned page;
	_Atomic bool done;
	pthread_t thread;
};

static void *create_slot_thread(void *arg)
{
	struct update_thread *update = arg;

	assert_int_equal(set_slot(update->vm, 0, 0, 4, update->page, 0), 0);
	atomic_store(&update->done, true);
	return NULL;
}

/* A create that overlaps an invalidation waits, visibly, and is not there before it is over. */
static void generation_of_a_waiting_update(struct small_vm *small)
{
	struct update_thread update = { .vm = small->vm };
	uint64_t before = s2_vm_memslots_generation(small->vm);
	struct s2_invalidation inv;

	assert_int_equal(
		s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(1), FRAME_HVA_OF(2), 0), 0);
	assert_int_equal(pthread_create(&update.thread, NULL, create_slot_thread, &update), 0);
	while (s2_vm_memslots_generation(small->vm) != (before | IN_PROGRESS))
		sched_yield();
	for (int i = 0; i < 1000; i++)
		sched_yield();
	assert_false(update.done);
	assert_int_equal(s2_vm_memslots_generation(small->vm), before | IN_PROGRESS);
	assert_no_memory_at(small, 1);
	atomic_store(&small->host.frame_of[1], 700);
	s2_invalidate_range_end(small->mm, &inv);
	assert_int_equal(pthread_join(update.thread, NULL), 0);
	assert_new_generation(small, &before);
	assert_guest_reads(small->vcpu, 1, 700);
}

static void test_waiting_update_shows_in_the_generation(void **state)
{
	static const enum s2_gate waiting[] = { S2_GATE_RANGE, S2_GATE_RWSEM, S2_GATE_COUNT };

	for (unsigned i = 0; i < 3; i++) {
		struct small_vm small;

		small_vm_begin(&small, waiting[i], NULL);
		generation_of_a_waiting_update(&small);
		small_vm_end(&small);
	}
}

/* Under the range gate: what is unrelated is not waited for, nor is any invalidation by the rest.
 */
static void no_waiting(struct small_vm *small)
{
	struct s2_invalidation inv;

	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	assert_int_equal(
		s2_invalidate_range_start(small->mm, &inv, FRAME_HVA_OF(0), FRAME_HVA_OF(4), 0), 0);
	assert_int_equal(set_slot(small->vm, 1, 10, 4, 4, 0), 0);
	assert_int_equal(set_slot(small->vm, 1, 20, 4, 4, 0), 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, KVM_MEM_LOG_DIRTY_PAGES), 0);
	/* It would wait for its own end(). */
	assert_int_equal(set_slot(small->vm, 2, 30, 4, 2, 0), -EDEADLK);
	assert_int_equal(set_slot(small->vm, 0, 40, 4, 0, 0), -EDEADLK);
	assert_hva(small->vm, 0, 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	s2_invalidate_range_end(small->mm, &inv);
	assert_int_equal(set_slot(small->vm, 2, 30, 4, 2, 0), 0);
	assert_guest_reads(small->vcpu, 30, 2);
}

static void test_update_waits_for_nothing_but_what_overlaps(void **state)
{
	under_the_range_gate(no_waiting);
}

/* ---- how many ---- */

static void all_slots(struct small_vm *small)
{
	uint64_t value;

	for (uint32_t id = 0; id < S2_USER_MEM_SLOTS; id++)
		assert_int_equal(set_slot(small->vm, id, 2 * id, 1, id % FRAME_PAGES, 0), 0);
	assert_int_equal(set_slot(small->vm, S2_USER_MEM_SLOTS, 1, 1, 0, 0), -EINVAL);
	assert_int_equal(set_slot(small->vm, 0xffff, 1, 1, 0, 0), -EINVAL);
	assert_int_equal(set_slot(small->vm, 5 | 1 << 16, 1, 1, 0, 0), -EINVAL);
	for (uint32_t id = 0; id < S2_USER_MEM_SLOTS; id += 97) {
		assert_hva(small->vm, 2 * id, id % FRAME_PAGES);
		assert_guest_reads(small->vcpu, 2 * id, id % FRAME_PAGES);
		assert_int_equal(guest_load(small->vcpu, 2 * id + 1, &value), -ENXIO);
	}
	/* Sixteen slots are on this page. */
	exchange_frame(small, 0, 800);
	for (uint32_t id = 0; id < S2_USER_MEM_SLOTS; id += FRAME_PAGES)
		assert_guest_reads(small->vcpu, 2 * id, 800);
	for (uint32_t id = 0; id < S2_USER_MEM_SLOTS; id += 2)
		assert_int_equal(set_slot(small->vm, id, 0, 0, 0, 0), 0);
	for (uint32_t id = 0; id < S2_USER_MEM_SLOTS; id++)
		assert_int_equal(s2_vm_gfn_to_hva(small->vm, 2 * id, &value), id % 2 ? 0 : -ENOENT);
	assert_related(small, 0, 1, false);
	assert_related(small, 1, 1, true);
}

static void test_all_slots_and_not_one_more(void **state)
{
	under_the_range_gate(all_slots);
}

/* ---- faults that sleep meanwhile ---- */

static void delete_under_a_fault(struct small_vm *small)
{
	struct guest_access access = { .vcpu = small->vcpu, .gfn = 1, .value = 77 };

	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	frame_provider_stop(&small->host);
	guest_access_begin(&access);
	frame_provider_await(&small->host, 1);
	/* Would hang here if it waited for the fault. */
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	frame_provider_go(&small->host);
	assert_int_equal(guest_access_end(&access), -ENXIO);
	assert_int_equal(access.value, 77);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 0);
	assert_int_equal(vm_stats(small->vm).tables, 1);
}

static void test_delete_does_not_wait_for_a_fault_which_then_maps_nothing(void **state)
{
	under_each_gate(delete_under_a_fault);
}

static void another_slot_under_a_fault(struct small_vm *small)
{
	struct guest_access access = { .vcpu = small->vcpu, .gfn = 1 };

	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	frame_provider_stop(&small->host);
	guest_access_begin(&access);
	frame_provider_await(&small->host, 1);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	assert_int_equal(set_slot(small->vm, 9, 0, 8, 100, 0), 0);
	frame_provider_go(&small->host);
	assert_int_equal(guest_access_end(&access), 0);
	assert_int_equal(access.value, 101);
	assert_int_equal(vm_stats(small->vm).pages_mapped, 1);
}

static void test_fault_maps_the_slot_that_is_there_when_it_maps(void **state)
{
	under_each_gate(another_slot_under_a_fault);
}

static void read_only_slot_under_a_store(struct small_vm *small)
{
	struct guest_access access = { .vcpu = small->vcpu, .gfn = 1, .value = 77, .store = true };

	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	frame_provider_stop(&small->host);
	guest_access_begin(&access);
	frame_provider_await(&small->host, 1);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, KVM_MEM_READONLY), 0);
	frame_provider_go(&small->host);
	assert_int_equal(guest_access_end(&access), -EROFS);
	assert_int_equal(*frame_provider_word(&small->host, 1), 1);
}

static void test_store_that_sleeps_does_not_get_through_to_a_read_only_slot(void **state)
{
	under_each_gate(read_only_slot_under_a_store);
}

/*
 * While no memslot is there, invalidations of its pages are unrelated: they raise no count and
 * no sequence. So a fault must not take the slot that came back for the one it started with.
 */
static void same_slot_again_under_a_fault(struct small_vm *small)
{
	struct guest_access access = { .vcpu = small->vcpu, .gfn = 1 };

	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	frame_provider_stop(&small->host);
	guest_access_begin(&access);
	frame_provider_await(&small->host, 1);
	assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
	exchange_frame(small, 1, 900);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	frame_provider_go(&small->host);
	assert_int_equal(guest_access_end(&access), 0);
	assert_int_equal(access.value, 900);
}

static void test_fault_does_not_map_what_it_found_before_the_slot_went_and_came_back(void **state)
{
	under_each_gate(same_slot_again_under_a_fault);
}

static void slot_moved_away_and_back_under_a_fault(struct small_vm *small)
{
	struct guest_access access = { .vcpu = small->vcpu, .gfn = 1 };

	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	frame_provider_stop(&small->host);
	guest_access_begin(&access);
	frame_provider_await(&small->host, 1);
	assert_int_equal(set_slot(small->vm, 0, 50, 4, 0, 0), 0);
	exchange_frame(small, 1, 901);
	assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
	frame_provider_go(&small->host);
	assert_int_equal(guest_access_end(&access), 0);
	assert_int_equal(access.value, 901);
}

static void test_fault_does_not_map_what_it_found_before_the_slot_moved_and_came_back(void **state)
{
	under_each_gate(slot_moved_away_and_back_under_a_fault);
}

/* ---- vCPUs in guest mode ---- */

struct reader {
	struct s2_vcpu *vcpu;
	_Atomic bool reading; /* it has the page in its TLB */
	_Atomic bool deleted;
	_Atomic bool stop;
	unsigned long stale;
	pthread_t thread;
};

static void *reader_thread(void *arg)
{
	struct reader *reader = arg;

	assert_int_equal(s2_vcpu_enter(reader->vcpu), 0);
	while (!atomic_load(&reader->stop)) {
		bool deleted = atomic_load(&reader->deleted);
		uint64_t value;
		int ret = s2_vcpu_load64(reader->vcpu, S2_PAGE_SIZE, &value);

		if (!ret)
			atomic_store(&reader->reading, true);
		reader->stale += deleted && ret != -ENXIO;
		s2_vcpu_poll(reader->vcpu);
	}
	assert_int_equal(s2_vcpu_exit(reader->vcpu), 0);
	return NULL;
}

static void delete_under_a_reader(struct small_vm *small)
{
	for (int round = 0; round < 50; round++) {
		struct reader reader = { .vcpu = small->vcpu };

		assert_int_equal(set_slot(small->vm, 0, 0, 4, 0, 0), 0);
		assert_int_equal(pthread_create(&reader.thread, NULL, reader_thread, &reader), 0);
		while (!atomic_load(&reader.reading))
			sched_yield();
		assert_int_equal(set_slot(small->vm, 0, 0, 0, 0, 0), 0);
		atomic_store(&reader.deleted, true);
		for (int i = 0; i < 20; i++)
			sched_yield();
		atomic_store(&reader.stop, true);
		assert_int_equal(pthread_join(reader.thread, NULL), 0);
		assert_int_equal(reader.stale, 0);
	}
}

static void test_when_a_delete_returns_no_vcpu_can_read_any_more(void **state)
{
	under_each_gate(delete_under_a_reader);
}

/* ---- all at once ---- */

#define STRESS_VMS 2
#define STRESS_UPDATERS 2 /* per VM, each with slots and a guest range of its own */
#define STRESS_SLOTS 6
#define STRESS_UPDATES 3000

struct stress_vm {
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	_Atomic bool *stop;
	unsigned long wrong;
	pthread_t thread;
};

struct stress_updater {
	struct s2_vm *vm;
	unsigned nr;
	uint64_t random;
	struct {
		uint64_t gfn; /* 0: absent */
		unsigned page;
		uint32_t flags;
	} slots[STRESS_SLOTS];
	pthread_t thread;
};

/* A slot covers 4 pages at a multiple of 4, on pages at a multiple of 4: frame = gfn modulo 4. */
static void *stress_reader(void *arg)
{
	struct stress_vm *stress = arg;
	uint64_t random = (uintptr_t)stress->vcpu;

	assert_int_equal(s2_vcpu_enter(stress->vcpu), 0);
	while (!atomic_load(stress->stop)) {
		uint64_t gfn = test_random(&random) % (STRESS_UPDATERS * 64 + 4), value;
		int ret = s2_vcpu_load64(stress->vcpu, gfn << S2_PAGE_SHIFT, &value);

		stress->wrong += ret ? ret != -ENXIO : value % 4 != gfn % 4;
		s2_vcpu_poll(stress->vcpu);
	}
	assert_int_equal(s2_vcpu_exit(stress->vcpu), 0);
	return NULL;
}

static bool gfn_used(const struct stress_updater *updater, uint64_t gfn)
{
	for (unsigned i = 0; i < STRESS_SLOTS; i++)
		if (updater->slots[i].gfn == gfn)
			return true;
	return false;
}

static void stress_update(struct stress_updater *updater)
{
	unsigned i = test_random(&updater->random) % STRESS_SLOTS;
	uint32_t id = updater->nr * STRESS_SLOTS + i;
	uint64_t gfn = 4 + updater->nr * 64 + test_random(&updater->random) % 16 * 4;
	bool taken = gfn_used(updater, gfn);
	int expected = taken ? -EEXIST : 0;

	if (!updater->slots[i].gfn) {
		updater->slots[i].page = test_random(&updater->random) % 16 * 4;
		updater->slots[i].flags = 0;
		assert_int_equal(set_slot(updater->vm, id, gfn, 4, updater->slots[i].page, 0),
				 expected);
		updater->slots[i].gfn = taken ? 0 : gfn;
	} else if (test_random(&updater->random) % 3 == 0) {
		assert_int_equal(set_slot(updater->vm, id, 0, 0, 0, 0), 0);
		updater->slots[i].gfn = 0;
	} else if (test_random(&updater->random) % 2) {
		if (gfn == updater->slots[i].gfn)
			expected = 0;
		assert_int_equal(set_slot(updater->vm, id, gfn, 4, updater->slots[i].page,
					  updater->slots[i].flags),
				 expected);
		if (!taken)
			updater->slots[i].gfn = gfn;
	} else {
		updater->slots[i].flags ^= KVM_MEM_LOG_DIRTY_PAGES;
		assert_int_equal(set_slot(updater->vm, id, updater->slots[i].gfn, 4,
					  updater->slots[i].page, updater->slots[i].flags),
				 0);
	}
}

static void *stress_update_thread(void *arg)
{
	for (int i = 0; i < STRESS_UPDATES; i++)
		stress_update(arg);
	return NULL;
}

/* The VM has what the updater's own books say, for lookups, vCPUs and invalidations. */
static void assert_as_booked(struct small_vm *small, struct s2_vcpu *vcpu,
			     const struct stress_updater *updater)
{
	for (uint64_t gfn = 4 + updater->nr * 64; gfn < 4 + updater->nr * 64 + 64; gfn++) {
		uint64_t hva, value;
		unsigned i;

		for (i = 0; i < STRESS_SLOTS; i++)
			if (updater->slots[i].gfn && gfn / 4 == updater->slots[i].gfn / 4)
				break;
		if (i == STRESS_SLOTS) {
			assert_int_equal(s2_vm_gfn_to_hva(updater->vm, gfn, &hva), -ENOENT);
			assert_int_equal(guest_load(vcpu, gfn, &value), -ENXIO);
			continue;
		}
		assert_hva(updater->vm, gfn, updater->slots[i].page + gfn % 4);
		assert_guest_reads(vcpu, gfn, updater->slots[i].page + gfn % 4);
		assert_related(small, updater->slots[i].page + gfn % 4, 1, true);
	}
}

static void stress(struct small_vm *small)
{
	struct stress_vm vms[STRESS_VMS];
	struct stress_updater updaters[STRESS_VMS][STRESS_UPDATERS];
	_Atomic bool stop = false;
	uint64_t seed = test_seed();

	for (int v = 0; v < STRESS_VMS; v++) {
		vms[v] = (struct stress_vm){ .stop = &stop };
		assert_int_equal(s2_vm_create(small->mm, NULL, &vms[v].vm), 0);
		assert_int_equal(s2_vcpu_create(vms[v].vm, test_vcpu_config(), &vms[v].vcpu), 0);
		assert_int_equal(pthread_create(&vms[v].thread, NULL, stress_reader, &vms[v]), 0);
	}
	for (int v = 0; v < STRESS_VMS; v++)
		for (int u = 0; u < STRESS_UPDATERS; u++) {
			updaters[v][u] = (struct stress_updater){
				.vm = vms[v].vm,
				.nr = (unsigned)u,
				.random = seed + (uint64_t)(v * 1000 + u),
			};
			assert_int_equal(pthread_create(&updaters[v][u].thread, NULL,
							stress_update_thread, &updaters[v][u]),
					 0);
		}
	for (int v = 0; v < STRESS_VMS; v++)
		for (int u = 0; u < STRESS_UPDATERS; u++)
			assert_int_equal(pthread_join(updaters[v][u].thread, NULL), 0);
	atomic_store(&stop, true);
	for (int v = 0; v < STRESS_VMS; v++) {
		assert_int_equal(pthread_join(vms[v].thread, NULL), 0);
		assert_int_equal(vms[v].wrong, 0);
		for (int u = 0; u < STRESS_UPDATERS; u++)
			assert_as_booked(small, vms[v].vcpu, &updaters[v][u]);
		assert_int_equal(s2_vcpu_destroy(vms[v].vcpu), 0);
		s2_vm_put(vms[v].vm);
	}
	assert_related(small, 0, 64, false);
}

static void test_updates_by_many_threads_on_many_vms(void **state)
{
	under_each_gate(stress);
}

#define MANY_SLOTS 2000

/* Enough for trees of three levels, whose nodes split and merge on the way. */
static void many_slots(struct small_vm *small)
{
	for (unsigned i = 0; i < MANY_SLOTS; i++)
		assert_int_equal(set_slot(small->vm, i, 10 + 2 * i, 1, i % 8, 0), 0);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < MANY_SLOTS; i++)
			assert_int_equal(set_slot(small->vm, i, 10 + 2 * i, 1, i % 8,
						  round ? 0 : KVM_MEM_LOG_DIRTY_PAGES), 0);
	for (unsigned i = 0; i < MANY_SLOTS; i++)
		assert_int_equal(set_slot(small->vm, i, 11 + 2 * i, 1, i % 8, 0), 0);
	for (unsigned i = 0; i < MANY_SLOTS; i++)
		assert_hva(small->vm, 11 + 2 * i, i % 8);
	for (unsigned i = 0; i < MANY_SLOTS; i++)
		assert_int_equal(set_slot(small->vm, i, 0, 0, 0, 0), 0);
	assert_related(small, 0, 8, false);
}

/* An update reserves its tree nodes beforehand; too few, and it stops in the middle. */
static void test_each_of_many_slots_is_re_flagged_and_moved(void **state)
{
	under_each_gate(many_slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_created_slot_is_found_by_gfn_and_by_hva),
		cmocka_unit_test(test_each_of_many_slots_is_re_flagged_and_moved),
		cmocka_unit_test(test_deleted_slot_is_gone_and_its_neighbour_is_not),
		cmocka_unit_test(test_moved_slot_has_its_contents_at_its_new_place_only),
		cmocka_unit_test(test_slot_moves_over_its_own_old_place),
		cmocka_unit_test(test_delete_frees_the_stage_2_tables),
		cmocka_unit_test(test_every_slot_and_vm_on_one_hva_is_invalidated),
		cmocka_unit_test(test_read_only_slot_takes_loads_and_refuses_stores),
		cmocka_unit_test(test_read_only_slot_with_a_log_stays_clean),
		cmocka_unit_test(test_changing_flags_keeps_what_is_mapped),
		cmocka_unit_test(test_each_update_has_a_generation_of_its_own),
		cmocka_unit_test(test_waiting_update_shows_in_the_generation),
		cmocka_unit_test(test_update_waits_for_nothing_but_what_overlaps),
		cmocka_unit_test(test_all_slots_and_not_one_more),
		cmocka_unit_test(test_delete_does_not_wait_for_a_fault_which_then_maps_nothing),
		cmocka_unit_test(test_fault_maps_the_slot_that_is_there_when_it_maps),
		cmocka_unit_test(test_store_that_sleeps_does_not_get_through_to_a_read_only_slot),
		cmocka_unit_test(
			test_fault_does_not_map_what_it_found_before_the_slot_went_and_came_back),
		cmocka_unit_test(
			test_fault_does_not_map_what_it_found_before_the_slot_moved_and_came_back),
		cmocka_unit_test(test_when_a_delete_returns_no_vcpu_can_read_any_more),
		cmocka_unit_test(test_updates_by_many_threads_on_many_vms),
	};

	return cmocka_run_group_tests_name("update", tests, NULL, NULL);
}
