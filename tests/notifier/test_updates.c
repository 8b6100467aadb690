/* SPDX-License-Identifier: MIT */
/*
 * Memslots and VMs that come and go between a start and its end: whom an update
 * waits for under each gate, what end() then acts on, and what is refused because
 * the caller would wait for itself.
 */
#include "notifier/fixture.h"

static struct kvm_userspace_memory_region moved_guest_region(const struct world *w)
{
	return region(0, GUEST_GPA + 0x1000000, w->memory, GUEST_PAGES);
}

static struct kvm_userspace_memory_region logged_guest_region(const struct world *w)
{
	struct kvm_userspace_memory_region mem = guest_region(w);

	mem.flags = KVM_MEM_LOG_DIRTY_PAGES;
	return mem;
}

static const struct kvm_userspace_memory_region delete_guest_region = { .slot = 0 };

/* Does the update, made on another thread, wait for the pair that is open on this one? */
static bool waits_for(struct world *w, struct s2_invalidation *inv,
		      struct kvm_userspace_memory_region mem)
{
	struct update up = { 0 };
	bool blocked;

	update_start(&up, w->vm, mem);
	blocked = update_blocked(&up);
	if (!blocked)
		task_join(&up.task);
	end_pair(w, inv);
	if (blocked)
		task_join(&up.task);
	assert_int_equal(up.ret, 0);
	assert_int_equal(in_progress(w->vm), 0);
	return blocked;
}

/* As waits_for(), for an update that must not: it would hang here. */
static void goes_through(struct world *w, struct s2_invalidation *inv,
			 struct kvm_userspace_memory_region mem)
{
	struct update up = { 0 };

	update_start(&up, w->vm, mem);
	assert_int_equal(update_finish(&up), 0);
	end_pair(w, inv);
	assert_int_equal(in_progress(w->vm), 0);
}

static void an_add_waits_for_an_elided_pair_that_overlaps(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_true(waits_for(w, &inv, elsewhere_region(w)));
}

static void an_add_does_not_wait_for_an_overlapping_pair(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	goes_through(w, &inv, elsewhere_region(w));
}

static void an_add_does_not_wait_for_a_pair_beside_it(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	uint64_t behind = address(w->elsewhere) + ELSEWHERE_PAGES * PAGE;

	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, behind, behind + PAGE, 0), 0);
	goes_through(w, &inv, elsewhere_region(w));
}

static void an_add_waits_for_any_pair(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, -1, 1, 0), 0);
	assert_true(waits_for(w, &inv, elsewhere_region(w)));
}

static void a_delete_waits_for_nobody(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	goes_through(w, &inv, delete_guest_region);
}

static void a_delete_waits_for_any_pair(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_true(waits_for(w, &inv, delete_guest_region));
}

static void a_change_of_flags_waits_for_nobody(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	goes_through(w, &inv, logged_guest_region(w));
}

static void a_change_of_flags_waits_for_any_pair(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_true(waits_for(w, &inv, logged_guest_region(w)));
}

static void a_move_waits_for_a_pair_that_overlaps(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_true(waits_for(w, &inv, moved_guest_region(w)));
	assert_int_equal(guest_read(w->vm, GUEST_GPA + 0x1000000), 0);
}

static void a_move_does_not_wait_for_a_pair_that_does_not_overlap(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	goes_through(w, &inv, moved_guest_region(w));
}

static void a_move_in_a_related_pair_leaves_the_count_balanced(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	goes_through(w, &inv, moved_guest_region(w));
}

static void a_waiting_add_cannot_be_seen_by_guests(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct update up = { 0 };
	uint64_t hva;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	assert_int_equal(s2_vm_gfn_to_hva(w->vm, ELSEWHERE_GPA / PAGE, &hva), -ENOENT);
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(s2_vm_gfn_to_hva(w->vm, ELSEWHERE_GPA / PAGE, &hva), 0);
}

/* The mutation of the design: an end() that looks again drops what was never raised. */
static void end_of_an_elided_pair_drops_nothing_for_a_memslot_added_since(void **state)
{
	struct world *w = *state;
	struct s2_invalidation elided, related;
	struct update up = { 0 };

	assert_int_equal(start_pages(w, &related, 0, 1, 0), 0);
	assert_int_equal(start_elsewhere(w, &elided, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	/* Published by hva, and waiting. */
	assert_true(update_blocked(&up));
	end_pair(w, &elided);
	assert_int_equal(in_progress(w->vm), 1);
	assert_int_equal(sequence(w->vm), 0);
	end_pair(w, &related);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(in_progress(w->vm), 0);
}

/* Where end() takes the lock without looking, it drops what start() raised without looking. */
static void a_memslot_added_in_the_pair_is_covered_by_its_count(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct update up = { 0 };
	struct load load = { 0 };

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(in_progress(w->vm), 1);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_int_equal(update_finish(&up), 0);
	load_start(&load, w->vm, ELSEWHERE_GPA);
	assert_true(task_blocked(&load.task));
	end_pair(w, &inv);
	load_finish(&load);
	assert_int_equal(in_progress(w->vm), 0);
}

/* A bracket that was elided, a memslot put there, a page replaced: all in their order. */
static void a_guest_never_sees_the_page_from_before_an_elided_pair(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct update up = { 0 };

	*(uint64_t *)(void *)w->elsewhere = 0x1111;
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	replace_page(w->elsewhere, 0x2222);
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(guest_read(w->vm, ELSEWHERE_GPA), 0x2222);
}

/* So that all of the table is looked at, also the entries behind those in use. */
static void use_entries(struct world *w)
{
	struct s2_invalidation inv[S2_INFLIGHT_DEFAULT];

	for (unsigned i = 0; i < S2_INFLIGHT_DEFAULT; i++)
		assert_int_equal(start_pages(w, &inv[i], -1, 1, 0), 0);
	for (unsigned i = 0; i < S2_INFLIGHT_DEFAULT; i++)
		end_pair(w, &inv[i]);
}

/* Such a start has seen the memslot and raised its VM's count: the add need not wait for it. */
static void a_start_that_comes_after_a_waiting_add_is_not_elided(void **state)
{
	struct world *w = *state;
	struct s2_invalidation before, after;
	struct update up = { 0 };

	use_entries(w);
	assert_int_equal(start_elsewhere(w, &before, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	assert_int_equal(start_elsewhere(w, &after, 0), 0);
	assert_int_equal(in_progress(w->vm), 1);
	end_pair(w, &before);
	/* @after saw the memslot; so it is not waited for. */
	assert_int_equal(update_finish(&up), 0);
	end_pair(w, &after);
	assert_int_equal(in_progress(w->vm), 0);
}

static void an_add_does_not_wait_for_later_occupants_of_the_entry(void **state)
{
	struct world *w = world_create((struct s2_mm_config){
		.gate = ((struct world *)*state)->gate, .inflight_entries = 1 });
	struct s2_invalidation first, second;
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &first, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	end_pair(w, &first);
	assert_int_equal(start_elsewhere(w, &second, 0), 0);
	assert_ptr_equal(second.entry, first.entry);
	assert_int_equal(update_finish(&up), 0);
	end_pair(w, &second);
	assert_int_equal(world_destroy(w), 0);
}

/* A world with one entry, and in it a pair on a page of no interest. */
static struct world *overflowing_world(void **state, struct s2_invalidation *occupant)
{
	struct world *w = world_create((struct s2_mm_config){
		.gate = ((struct world *)*state)->gate, .inflight_entries = 1 });

	assert_int_equal(start_pages(w, occupant, GUEST_PAGES, 1, 0), 0);
	return w;
}

static void an_add_waits_for_a_pair_beyond_the_table(void **state)
{
	struct s2_invalidation occupant, inv;
	struct world *w = overflowing_world(state, &occupant);
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(stats_of(w).overflows, 1);
	assert_int_equal(stats_of(w).elided, 2);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
	end_pair(w, &occupant);
	assert_int_equal(world_destroy(w), 0);
}

static void pairs_beyond_the_table_do_not_starve_an_add(void **state)
{
	struct s2_invalidation occupant, inv[2];
	struct world *w = overflowing_world(state, &occupant);
	struct update up = { 0 };
	unsigned i;

	assert_int_equal(start_elsewhere(w, &inv[0], 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	/* One is open at every moment. */
	for (i = 0; !atomic_load(&up.task.done); i++) {
		assert_int_equal(start_elsewhere(w, &inv[(i + 1) % 2], 0), 0);
		end_pair(w, &inv[i % 2]);
		sched_yield();
	}
	assert_int_equal(update_finish(&up), 0);
	end_pair(w, &inv[i % 2]);
	end_pair(w, &occupant);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(world_destroy(w), 0);
}

static void an_add_under_ones_own_pair_beyond_the_table_is_refused(void **state)
{
	struct s2_invalidation occupant, inv;
	struct world *w = overflowing_world(state, &occupant);

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), -EDEADLK);
	end_pair(w, &inv);
	end_pair(w, &occupant);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
	assert_int_equal(world_destroy(w), 0);
}

static void end_drops_the_count_of_a_memslot_deleted_since(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	uint32_t before;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(delete_region(w->vm, 0), 0);
	assert_int_equal(in_progress(w->vm), 1);
	before = sequence(w->vm);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(sequence(w->vm), before + 1);
}

static void end_drops_the_count_of_a_memslot_that_was_freed_and_replaced(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	uint32_t before;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(delete_region(w->vm, 0), 0);
	/* Enough updates for everything to be reclaimed that may be. */
	for (unsigned i = 0; i < 1000; i++) {
		struct kvm_userspace_memory_region mem = elsewhere_region(w);

		assert_int_equal(set_region(w->vm, mem), 0);
		assert_int_equal(delete_region(w->vm, mem.slot), 0);
	}
	before = sequence(w->vm);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(sequence(w->vm), before + 1);
}

static void end_of_a_deleted_memslots_pair_leaves_its_successor_alone(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv, own;
	struct update up = { 0 };

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(delete_region(w->vm, 0), 0);
	update_start(&up, w->vm, guest_region(w));
	if (w->gate == S2_GATE_RANGE)
		assert_true(update_blocked(&up));
	else
		task_join(&up.task);
	assert_int_equal(start_pages(w, &own, 0, 1, 0), 0);
	assert_int_equal(in_progress(w->vm), 2);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 1);
	end_pair(w, &own);
	if (w->gate == S2_GATE_RANGE)
		task_join(&up.task);
	assert_int_equal(up.ret, 0);
	assert_int_equal(in_progress(w->vm), 0);
}

static void an_add_in_ones_own_overlapping_pair_is_refused(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	uint64_t generation = s2_vm_memslots_generation(w->vm);

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), -EDEADLK);
	assert_int_equal(s2_vm_memslots_generation(w->vm), generation);
	end_pair(w, &inv);
	/* It was not put into the hva index either. */
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(in_progress(w->vm), 0);
	end_pair(w, &inv);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
}

static void a_move_in_ones_own_overlapping_pair_is_refused(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	uint64_t hva;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(set_region(w->vm, moved_guest_region(w)), -EDEADLK);
	assert_int_equal(s2_vm_gfn_to_hva(w->vm, GUEST_GPA / PAGE, &hva), 0);
	end_pair(w, &inv);
	assert_int_equal(set_region(w->vm, moved_guest_region(w)), 0);
}

static void an_add_in_ones_own_pair_beside_it_is_allowed(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
}

static void every_update_in_ones_own_pair_is_refused(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	uint64_t generation = s2_vm_memslots_generation(w->vm);

	assert_int_equal(start_pages(w, &inv, -1, 1, 0), 0);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), -EDEADLK);
	assert_int_equal(set_region(w->vm, moved_guest_region(w)), -EDEADLK);
	assert_int_equal(set_region(w->vm, logged_guest_region(w)), -EDEADLK);
	assert_int_equal(delete_region(w->vm, 0), -EDEADLK);
	assert_int_equal(s2_vm_memslots_generation(w->vm), generation);
	end_pair(w, &inv);
	assert_int_equal(delete_region(w->vm, 0), 0);
}

static void every_update_in_ones_own_pair_is_allowed(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
	assert_int_equal(set_region(w->vm, moved_guest_region(w)), 0);
	assert_int_equal(set_region(w->vm, region(0, GUEST_GPA + 0x1000000, NULL, 0)), 0);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
}

/* Somebody else's update holds slots_lock and waits for our pair: queueing behind it would hang. */
static void an_update_behind_one_that_waits_for_us_is_refused(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	assert_int_equal(set_region(w->vm, logged_guest_region(w)), -EDEADLK);
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(set_region(w->vm, logged_guest_region(w)), 0);
}

struct create_task {
	struct task task;
	struct s2_mm *mm;
	struct s2_vm *vm;
	int ret;
};

static void create_vm(void *arg)
{
	struct create_task *ct = arg;

	ct->ret = s2_vm_create(ct->mm, NULL, &ct->vm);
}

static void a_new_vm_waits_for_the_pairs_in_flight(void **state)
{
	struct world *w = *state;
	struct create_task ct = { .mm = w->mm };
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	task_start(&ct.task, create_vm, &ct);
	assert_true(task_blocked(&ct.task));
	end_pair(w, &inv);
	task_join(&ct.task);
	assert_int_equal(ct.ret, 0);
	assert_int_equal(in_progress(ct.vm), 0);
	assert_int_equal(ct.vm->mn_active_invalidate_count, 0);
	assert_int_equal(set_region(ct.vm, guest_region(w)), 0);
	s2_vm_put(ct.vm);
}

static void a_new_vm_waits_for_nobody(void **state)
{
	struct world *w = *state;
	struct create_task ct = { .mm = w->mm };
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	task_start(&ct.task, create_vm, &ct);
	task_join(&ct.task);
	assert_int_equal(ct.ret, 0);
	end_pair(w, &inv);
	assert_int_equal(in_progress(ct.vm), 0);
	s2_vm_put(ct.vm);
}

static void a_new_vm_in_ones_own_pair_is_refused(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vm *vm = NULL;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(s2_vm_create(w->mm, NULL, &vm), -EDEADLK);
	assert_null(vm);
	end_pair(w, &inv);
	assert_int_equal(s2_vm_create(w->mm, NULL, &vm), 0);
	s2_vm_put(vm);
}

/* Pairs that start while the VM waits see it, so both their ends do. */
static void a_pair_that_starts_while_a_new_vm_waits_is_balanced(void **state)
{
	struct world *w = *state;
	struct create_task ct = { .mm = w->mm };
	struct s2_invalidation before, during;

	assert_int_equal(start_pages(w, &before, 0, 1, 0), 0);
	task_start(&ct.task, create_vm, &ct);
	assert_true(task_blocked(&ct.task));
	assert_int_equal(start_pages(w, &during, 1, 1, 0), 0);
	end_pair(w, &before);
	end_pair(w, &during);
	task_join(&ct.task);
	assert_int_equal(ct.ret, 0);
	assert_int_equal(in_progress(ct.vm), 0);
	assert_int_equal(ct.vm->mn_active_invalidate_count, 0);
	assert_int_equal(set_region(ct.vm, guest_region(w)), 0);
	s2_vm_put(ct.vm);
}

/*
 * Drives the reclaim while the pair is open. Creating VMs would wait for it under
 * three of the gates, so VMs are dropped that were made before.
 */
#define SPARE_VMS 600

static void make_spare_vms(struct world *w, struct s2_vm **vms)
{
	for (unsigned i = 0; i < SPARE_VMS; i++)
		assert_int_equal(s2_vm_create(w->mm, NULL, &vms[i]), 0);
}

/* With the pair @inv open: the world's VM goes, and is freed after end(), not before. */
static void destroy_vm_in_pair(struct world *w, struct s2_invalidation *inv, struct s2_vm **vms)
{
	atomic_store(&w->watched, w->vm);
	s2_vm_put(w->vm);
	for (unsigned i = 1; i < SPARE_VMS; i++)
		s2_vm_put(vms[i]);
	assert_false(atomic_load(&w->watched_freed));
	end_pair(w, inv);
	w->vm = vms[0];
	for (unsigned i = 0; i < 1000 && !atomic_load(&w->watched_freed); i++) {
		assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
		assert_int_equal(delete_region(w->vm, 1), 0);
	}
	assert_true(atomic_load(&w->watched_freed));
	assert_int_equal(in_progress(w->vm), 0);
}

static void a_vm_destroyed_in_an_unrelated_pair_lives_until_its_end(void **state)
{
	struct world *w = *state;
	struct s2_vm *spare[SPARE_VMS];
	struct s2_invalidation inv;

	make_spare_vms(w, spare);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	destroy_vm_in_pair(w, &inv, spare);
}

static void a_vm_destroyed_in_a_related_pair_lives_until_its_end(void **state)
{
	struct world *w = *state;
	struct s2_vm *spare[SPARE_VMS];
	struct s2_invalidation inv;

	make_spare_vms(w, spare);
	map_pages(w, 3);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	destroy_vm_in_pair(w, &inv, spare);
}

static void a_vm_destroyed_in_a_pair_beyond_the_table_lives_until_its_end(void **state)
{
	struct s2_vm *spare[SPARE_VMS];
	struct s2_invalidation occupant, inv;
	struct world *w = overflowing_world(state, &occupant);

	/* A VM comes with no pair in flight, under three of the gates. */
	end_pair(w, &occupant);
	make_spare_vms(w, spare);
	assert_int_equal(start_pages(w, &occupant, GUEST_PAGES, 1, 0), 0);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	end_pair(w, &occupant);
	assert_int_equal(stats_of(w).overflows, 1);
	destroy_vm_in_pair(w, &inv, spare);
	assert_int_equal(world_destroy(w), 0);
}

static void a_vm_destroyed_between_nested_pairs_is_safe(void **state)
{
	struct world *w = *state;
	struct s2_invalidation outer, inner;

	assert_int_equal(start_pages(w, &outer, 0, 2, 0), 0);
	s2_vm_put(w->vm);
	w->vm = NULL;
	assert_int_equal(start_pages(w, &inner, 0, 1, 0), 0);
	end_pair(w, &outer);
	end_pair(w, &inner);
}

static const struct gated_test tests[] = {
	GATED(an_add_waits_for_an_elided_pair_that_overlaps, ELIDING),
	GATED(an_add_does_not_wait_for_an_overlapping_pair, ALWAYS),
	GATED(an_add_does_not_wait_for_a_pair_beside_it, RANGE | ALWAYS),
	GATED(an_add_waits_for_any_pair, RWSEM | COUNT),
	GATED(a_delete_waits_for_nobody, RANGE | ALWAYS),
	GATED(a_delete_waits_for_any_pair, RWSEM | COUNT),
	GATED(a_change_of_flags_waits_for_nobody, RANGE | ALWAYS),
	GATED(a_change_of_flags_waits_for_any_pair, RWSEM | COUNT),
	GATED(a_move_waits_for_a_pair_that_overlaps, ELIDING),
	GATED(a_move_does_not_wait_for_a_pair_that_does_not_overlap, RANGE | ALWAYS),
	GATED(a_move_in_a_related_pair_leaves_the_count_balanced, ALWAYS),
	GATED(a_waiting_add_cannot_be_seen_by_guests, ELIDING),
	GATED(end_of_an_elided_pair_drops_nothing_for_a_memslot_added_since, ELIDING),
	GATED(a_memslot_added_in_the_pair_is_covered_by_its_count, ALWAYS),
	GATED(a_guest_never_sees_the_page_from_before_an_elided_pair, ELIDING),
	GATED(a_start_that_comes_after_a_waiting_add_is_not_elided, RANGE),
	GATED(an_add_does_not_wait_for_later_occupants_of_the_entry, RANGE),
	GATED(an_add_waits_for_a_pair_beyond_the_table, RANGE),
	GATED(pairs_beyond_the_table_do_not_starve_an_add, RANGE),
	GATED(an_add_under_ones_own_pair_beyond_the_table_is_refused, ELIDING),
	GATED(end_drops_the_count_of_a_memslot_deleted_since, RANGE | ALWAYS),
	GATED(end_drops_the_count_of_a_memslot_that_was_freed_and_replaced, RANGE | ALWAYS),
	GATED(end_of_a_deleted_memslots_pair_leaves_its_successor_alone, RANGE | ALWAYS),
	GATED(an_add_in_ones_own_overlapping_pair_is_refused, ELIDING),
	GATED(a_move_in_ones_own_overlapping_pair_is_refused, ELIDING),
	GATED(an_add_in_ones_own_pair_beside_it_is_allowed, RANGE | ALWAYS),
	GATED(every_update_in_ones_own_pair_is_refused, RWSEM | COUNT),
	GATED(every_update_in_ones_own_pair_is_allowed, ALWAYS),
	GATED(an_update_behind_one_that_waits_for_us_is_refused, ELIDING),
	GATED(a_new_vm_waits_for_the_pairs_in_flight, ALWAYS | RWSEM | COUNT),
	GATED(a_new_vm_waits_for_nobody, RANGE),
	GATED(a_new_vm_in_ones_own_pair_is_refused, ALWAYS | RWSEM | COUNT),
	GATED(a_pair_that_starts_while_a_new_vm_waits_is_balanced, ALWAYS | COUNT),
	GATED(a_vm_destroyed_in_an_unrelated_pair_lives_until_its_end, EVERY_GATE),
	GATED(a_vm_destroyed_in_a_related_pair_lives_until_its_end, EVERY_GATE),
	GATED(a_vm_destroyed_in_a_pair_beyond_the_table_lives_until_its_end, EVERY_GATE),
	GATED(a_vm_destroyed_between_nested_pairs_is_safe, EVERY_GATE),
};

int main(void)
{
	return RUN_GATED("memslot updates and pairs", tests);
}
