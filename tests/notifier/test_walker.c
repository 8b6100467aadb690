/* SPDX-License-Identifier: MIT */
/*
 * One walker for all VMs: hva ranges of several VMs that overlap, are equal or
 * interleave, and counts that come out even on each of them.
 */
#include "notifier/fixture.h"

#define VMS 3

static void create_vms(struct world *w, struct s2_vm **vms, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(s2_vm_create(w->mm, NULL, &vms[i]), 0);
}

static void put_vms(struct s2_vm **vms, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		s2_vm_put(vms[i]);
}

static void add(struct s2_vm *vm, unsigned slot, const char *hva, unsigned pages)
{
	assert_int_equal(set_region(vm, region(slot, slot * UINT64_C(0x10000000), hva, pages)), 0);
}

static void a_pair_reaches_every_vm_that_maps_the_page(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vm *vms[VMS];

	create_vms(w, vms, VMS);
	for (unsigned i = 0; i < VMS; i++)
		add(vms[i], 0, w->elsewhere, ELSEWHERE_PAGES);
	*(uint64_t *)(void *)w->elsewhere = 0x1111;
	for (unsigned i = 0; i < VMS; i++)
		assert_int_equal(guest_read(vms[i], 0), 0x1111);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	for (unsigned i = 0; i < VMS; i++) {
		assert_int_equal(in_progress(vms[i]), 1);
		assert_int_equal(pages_mapped(vms[i]), 0);
	}
	replace_page(w->elsewhere, 0x2222);
	end_pair(w, &inv);
	for (unsigned i = 0; i < VMS; i++) {
		assert_int_equal(in_progress(vms[i]), 0);
		assert_int_equal(guest_read(vms[i], 0), 0x2222);
	}
	put_vms(vms, VMS);
}

static void a_pair_leaves_the_vms_beside_it_alone(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vm *vms[2];

	create_vms(w, vms, 2);
	add(vms[0], 0, w->elsewhere, 1);
	add(vms[1], 0, w->elsewhere + PAGE, 1);
	(void)guest_read(vms[1], 0);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, address(w->elsewhere),
						   address(w->elsewhere) + PAGE, 0),
			 0);
	assert_int_equal(in_progress(vms[0]), 1);
	assert_int_equal(in_progress(vms[1]), 0);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(pages_mapped(vms[1]), 1);
	end_pair(w, &inv);
	assert_int_equal(sequence(vms[0]), 1);
	assert_int_equal(sequence(vms[1]), 0);
	assert_int_equal(stats_of(w).mmu_lock_acquired, 2);
	put_vms(vms, 2);
}

/* The same page twice in a VM: both of its translations go, and the VM is counted evenly. */
static void a_page_mapped_twice_is_zapped_twice(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	add(w->vm, 1, w->elsewhere, ELSEWHERE_PAGES);
	add(w->vm, 2, w->elsewhere, ELSEWHERE_PAGES);
	*(uint64_t *)(void *)w->elsewhere = 0x1111;
	assert_int_equal(guest_read(w->vm, 0x10000000), 0x1111);
	assert_int_equal(guest_read(w->vm, 0x20000000), 0x1111);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(in_progress(w->vm), 1);
	assert_int_equal(pages_mapped(w->vm), 0);
	replace_page(w->elsewhere, 0x2222);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(guest_read(w->vm, 0x10000000), 0x2222);
	assert_int_equal(guest_read(w->vm, 0x20000000), 0x2222);
}

/* In an index of all VMs the walk meets A, B, A. */
static void interleaved_vms_are_counted_evenly(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vm *vms[2];

	create_vms(w, vms, 2);
	for (unsigned i = 0; i < 6; i++)
		add(vms[i % 2], i, w->elsewhere + i * PAGE, 1);
	for (unsigned i = 0; i < 6; i++)
		(void)guest_read(vms[i % 2], i * UINT64_C(0x10000000));
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(in_progress(vms[i]) >= 1);
		assert_int_equal(pages_mapped(vms[i]), 0);
	}
	end_pair(w, &inv);
	assert_int_equal(in_progress(vms[0]), 0);
	assert_int_equal(in_progress(vms[1]), 0);
	put_vms(vms, 2);
}

static void interleaved_vms_are_counted_evenly_by_a_nonblocking_start(void **state)
{
	struct world *w = *state;
	struct mmu_lock_holder holder = { 0 };
	struct s2_invalidation inv;
	struct s2_vm *vms[2];

	create_vms(w, vms, 2);
	for (unsigned i = 0; i < 6; i++)
		add(vms[i % 2], i, w->elsewhere + i * PAGE, 1);
	assert_int_equal(start_elsewhere(w, &inv, S2_NONBLOCK), 0);
	end_pair(w, &inv);
	assert_int_equal(in_progress(vms[0]), 0);
	assert_int_equal(in_progress(vms[1]), 0);
	mmu_lock_hold(&holder, vms[1]);
	assert_int_equal(start_elsewhere(w, &inv, S2_NONBLOCK), -EAGAIN);
	mmu_lock_drop(&holder);
	assert_int_equal(in_progress(vms[0]), 0);
	assert_int_equal(in_progress(vms[1]), 0);
	put_vms(vms, 2);
}

/* A flush that fails with A locked twice is undone on A twice. */
static void interleaved_vms_are_counted_evenly_by_a_start_that_fails_to_flush(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };
	struct s2_invalidation inv;
	struct s2_vm *vms[2];

	create_vms(w, vms, 2);
	for (unsigned i = 0; i < 6; i++)
		add(vms[i % 2], i, w->elsewhere + i * PAGE, 1);
	guest_start(&guest, vms[0], UINT64_C(2) * 0x10000000);
	assert_int_equal(start_elsewhere(w, &inv, S2_NONBLOCK), -EAGAIN);
	assert_int_equal(in_progress(vms[0]), 0);
	assert_int_equal(in_progress(vms[1]), 0);
	guest_poll(&guest);
	guest_finish(&guest);
	put_vms(vms, 2);
}

static void a_vm_of_several_that_goes_in_the_pair_does_not_upset_the_others(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vm *vms[VMS];

	create_vms(w, vms, VMS);
	for (unsigned i = 0; i < VMS; i++)
		add(vms[i], 0, w->elsewhere, ELSEWHERE_PAGES);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	s2_vm_put(vms[1]);
	end_pair(w, &inv);
	assert_int_equal(in_progress(vms[0]), 0);
	assert_int_equal(in_progress(vms[2]), 0);
	assert_int_equal(sequence(vms[0]), 1);
	assert_int_equal(sequence(vms[2]), 1);
	s2_vm_put(vms[0]);
	s2_vm_put(vms[2]);
}

static struct s2_vm_stats vm_stats_of(struct s2_vm *vm)
{
	struct s2_vm_stats stats;

	assert_int_equal(s2_vm_get_stats(vm, &stats), 0);
	return stats;
}

static void assert_invalidations(struct s2_vm *vm, uint64_t invalidations, uint64_t elided)
{
	struct s2_vm_stats stats = vm_stats_of(vm);

	assert_int_equal(stats.invalidations, invalidations);
	assert_int_equal(stats.elided, elided);
}

/* One for a page of the first VM, one for a page of nobody's. */
static void each_vm_has_its_own_count_of_what_was_elided(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vm *vms[2];

	create_vms(w, vms, 2);
	add(vms[0], 0, w->elsewhere, 1);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	end_pair(w, &inv);
	assert_int_equal(start_pages(w, &inv, -1, 1, 0), 0);
	end_pair(w, &inv);
	assert_int_equal(stats_of(w).elided, w->gate == S2_GATE_ALWAYS ? 0 : 1);
	assert_invalidations(vms[0], 2, w->gate == S2_GATE_ALWAYS ? 0 : 1);
	assert_invalidations(vms[1], 2, w->gate == S2_GATE_ALWAYS ? 0 : 2);
	put_vms(vms, 2);
}

static void a_vm_counts_no_pair_of_before_its_time(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vm *late;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	end_pair(w, &inv);
	create_vms(w, &late, 1);
	assert_invalidations(late, 0, 0);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	end_pair(w, &inv);
	assert_invalidations(late, 1, w->gate == S2_GATE_ALWAYS ? 0 : 1);
	assert_invalidations(w->vm, 2, 0);
	put_vms(&late, 1);
}

static void a_pair_that_is_open_is_counted(void **state)
{
	struct world *w = *state;
	struct s2_invalidation related, unrelated;

	assert_int_equal(start_pages(w, &related, 0, 1, 0), 0);
	assert_invalidations(w->vm, 1, 0);
	assert_int_equal(start_elsewhere(w, &unrelated, 0), 0);
	assert_invalidations(w->vm, 2, w->gate == S2_GATE_ALWAYS ? 0 : 1);
	end_pair(w, &unrelated);
	end_pair(w, &related);
	assert_invalidations(w->vm, 2, w->gate == S2_GATE_ALWAYS ? 0 : 1);
}

/* It is told of as nothing that was: neither as an invalidation nor as one that took the lock. */
static void a_start_that_failed_is_counted_by_no_vm(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };
	struct s2_invalidation inv;

	guest_start(&guest, w->vm, gpa_of(0));
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	assert_invalidations(w->vm, 0, 0);
	guest_poll(&guest);
	guest_finish(&guest);
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), 0);
	end_pair(w, &inv);
	assert_invalidations(w->vm, 1, 0);
}

/* What ages or looks only takes the lock, too, and is no invalidation. */
static void a_walk_that_is_no_pair_is_counted_by_no_vm(void **state)
{
	struct world *w = *state;

	map_pages(w, 1);
	assert_true(s2_clear_flush_young(w->mm, hva_of(w, 0), hva_of(w, 1)));
	assert_invalidations(w->vm, 0, 0);
}

static void a_mutex_serves_as_mmu_lock_too(void **state)
{
	const struct s2_vm_config config = { .mmu_lock = S2_MMU_LOCK_MUTEX };
	struct world *w = *state;
	struct mmu_lock_holder holder = { 0 };
	struct s2_invalidation inv;
	struct s2_vm *vm;

	assert_int_equal(s2_vm_create(w->mm, &config, &vm), 0);
	add(vm, 0, w->elsewhere, ELSEWHERE_PAGES);
	(void)guest_read(vm, 0);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(in_progress(vm), 1);
	assert_int_equal(pages_mapped(vm), 0);
	end_pair(w, &inv);
	mmu_lock_hold(&holder, vm);
	assert_int_equal(start_elsewhere(w, &inv, S2_NONBLOCK), -EAGAIN);
	mmu_lock_drop(&holder);
	assert_int_equal(in_progress(vm), 0);
	s2_vm_put(vm);
}

static const struct gated_test tests[] = {
	GATED(a_pair_reaches_every_vm_that_maps_the_page, EVERY_GATE),
	GATED(a_pair_leaves_the_vms_beside_it_alone, ELIDING),
	GATED(a_page_mapped_twice_is_zapped_twice, EVERY_GATE),
	GATED(interleaved_vms_are_counted_evenly, EVERY_GATE),
	GATED(interleaved_vms_are_counted_evenly_by_a_nonblocking_start, EVERY_GATE),
	GATED(interleaved_vms_are_counted_evenly_by_a_start_that_fails_to_flush, EVERY_GATE),
	GATED(a_vm_of_several_that_goes_in_the_pair_does_not_upset_the_others, EVERY_GATE),
	GATED(each_vm_has_its_own_count_of_what_was_elided, EVERY_GATE),
	GATED(a_vm_counts_no_pair_of_before_its_time, EVERY_GATE),
	GATED(a_pair_that_is_open_is_counted, EVERY_GATE),
	GATED(a_start_that_failed_is_counted_by_no_vm, EVERY_GATE),
	GATED(a_walk_that_is_no_pair_is_counted_by_no_vm, EVERY_GATE),
	GATED(a_mutex_serves_as_mmu_lock_too, EVERY_GATE),
};

int main(void)
{
	return RUN_GATED("one walker", tests);
}
