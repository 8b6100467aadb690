/* SPDX-License-Identifier: MIT */
/*
 * S2_NONBLOCK: a start that may not sleep succeeds, or returns -EAGAIN with nothing
 * changed, and what it left undone is made up for by those that come after.
 */
#include "notifier/fixture.h"

static bool mmu_lock_is_free(struct s2_vm *vm)
{
	bool taken = s2_write_trylock(&vm->mmu_lock);

	if (taken)
		s2_write_unlock(&vm->mmu_lock);
	return taken;
}

static void it_succeeds_when_nothing_is_in_its_way(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	map_pages(w, 2);
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), 0);
	assert_int_equal(in_progress(w->vm), 1);
	assert_int_equal(pages_mapped(w->vm), 1);
	assert_true(mmu_lock_is_free(w->vm));
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(stats_of(w).mmu_lock_acquired, 2);
	assert_int_equal(stats_of(w).nonblock_failed, 0);
}

static void an_unrelated_one_is_elided(void **state)
{
	struct world *w = *state;
	struct mmu_lock_holder holder = { 0 };
	struct s2_invalidation inv;

	mmu_lock_hold(&holder, w->vm);
	assert_int_equal(start_elsewhere(w, &inv, S2_NONBLOCK), 0);
	end_pair(w, &inv);
	mmu_lock_drop(&holder);
	assert_int_equal(stats_of(w).elided, 1);
	assert_int_equal(stats_of(w).mmu_lock_acquired, 0);
}

/* It cannot take the semaphore, so it cannot know that nothing will come: must_lock. */
static void an_unrelated_one_takes_mmu_lock(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_elsewhere(w, &inv, S2_NONBLOCK), 0);
	assert_int_equal(in_progress(w->vm), 1);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(stats_of(w).elided, 0);
	assert_int_equal(stats_of(w).mmu_lock_acquired, 2);
}

static void it_fails_while_mmu_lock_is_held_elsewhere(void **state)
{
	struct world *w = *state;
	struct mmu_lock_holder holder = { 0 };
	struct s2_invalidation inv;

	map_pages(w, 1);
	mmu_lock_hold(&holder, w->vm);
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	mmu_lock_drop(&holder);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(pages_mapped(w->vm), 1);
	assert_int_equal(stats_of(w).nonblock_failed, 1);
	assert_int_equal(stats_of(w).invalidations, 0);
	/* Nothing is left published, counted or held that an update would wait for. */
	assert_int_equal(w->vm->mn_active_invalidate_count, 0);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
	assert_int_equal(set_region(w->vm, region(2, 0x80000000, w->memory, 1)), 0);
}

static void it_fails_while_a_vm_of_several_holds_mmu_lock(void **state)
{
	struct world *w = *state;
	struct mmu_lock_holder holder = { 0 };
	struct s2_invalidation inv;
	struct s2_vm *vms[3];

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(s2_vm_create(w->mm, NULL, &vms[i]), 0);
		assert_int_equal(set_region(vms[i], guest_region(w)), 0);
		(void)guest_read(vms[i], gpa_of(0));
	}
	for (unsigned i = 0; i < 3; i++) {
		holder = (struct mmu_lock_holder){ 0 };
		mmu_lock_hold(&holder, vms[i]);
		assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
		for (unsigned j = 0; j < 3; j++) {
			assert_int_equal(in_progress(vms[j]), 0);
			assert_int_equal(mmu_lock_is_free(vms[j]), j != i);
		}
		mmu_lock_drop(&holder);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pages_mapped(vms[i]), 1);
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(in_progress(vms[i]), 1);
	end_pair(w, &inv);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(in_progress(vms[i]), 0);
		s2_vm_put(vms[i]);
	}
}

static void it_fails_while_a_vcpu_is_in_guest_mode_and_does_not_poll(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };
	struct s2_invalidation inv;

	guest_start(&guest, w->vm, gpa_of(0));
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	assert_int_equal(in_progress(w->vm), 0);
	assert_true(mmu_lock_is_free(w->vm));
	guest_poll(&guest);
	guest_finish(&guest);
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), 0);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
}

static void one_that_failed_leaves_other_counts_as_they_were(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };
	struct s2_invalidation open, inv;

	guest_start(&guest, w->vm, gpa_of(0));
	assert_int_equal(start_pages(w, &open, 9, 1, 0), 0);
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	assert_int_equal(in_progress(w->vm), 1);
	end_pair(w, &open);
	assert_int_equal(in_progress(w->vm), 0);
	guest_poll(&guest);
	guest_finish(&guest);
}

static void a_guest_goes_on_with_its_page_after_one_that_failed(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };
	struct s2_invalidation inv;

	*(uint64_t *)(void *)w->memory = 0x1111;
	guest_start(&guest, w->vm, gpa_of(0));
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	guest_poll(&guest);
	guest_finish(&guest);
	assert_int_equal(guest_read(w->vm, gpa_of(0)), 0x1111);
}

struct start_task {
	struct task task;
	struct world *w;
	struct s2_invalidation inv;
	int ret;
};

static void start_first_page(void *arg)
{
	struct start_task *st = arg;

	st->ret = start_pages(st->w, &st->inv, 0, 1, 0);
}

/* The SPTE is gone already; the vCPU's translation is not: tlbs_dirty. */
static void the_next_start_waits_for_the_flush_of_one_that_failed(void **state)
{
	struct start_task st = { .w = *state };
	struct guest guest = { 0 };

	guest_start(&guest, st.w->vm, gpa_of(0));
	assert_int_equal(start_pages(st.w, &st.inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	task_start(&st.task, start_first_page, &st);
	assert_true(task_blocked(&st.task));
	guest_poll(&guest);
	task_join(&st.task);
	assert_int_equal(st.ret, 0);
	end_pair(st.w, &st.inv);
	guest_finish(&guest);
	assert_false(st.w->vm->tlbs_dirty);
}

static void a_second_nonblocking_start_fails_until_the_flush_is_done(void **state)
{
	struct world *w = *state;
	struct guest guest = { 0 };
	struct s2_invalidation inv;

	guest_start(&guest, w->vm, gpa_of(0));
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(stats_of(w).nonblock_failed, 2);
	guest_poll(&guest);
	guest_finish(&guest);
}

/* What start_logging() protects has no SPTE any more, but a writable translation. */
static void a_dirty_log_begins_after_the_flush_of_one_that_failed(void **state)
{
	struct world *w = *state;
	struct kvm_userspace_memory_region mem = guest_region(w);
	struct guest guest = { .writes = true };
	struct s2_invalidation inv;
	struct update up = { 0 };

	mem.flags = KVM_MEM_LOG_DIRTY_PAGES;
	guest_start(&guest, w->vm, gpa_of(0));
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	update_start(&up, w->vm, mem);
	/* Had it returned, the guest's next store would be missing in the log. */
	assert_true(task_blocked(&up.task));
	guest_poll(&guest);
	assert_int_equal(update_finish(&up), 0);
	guest_finish(&guest);
}

struct log_task {
	struct task task;
	struct s2_vm *vm;
	uint64_t bits;
	int ret;
};

static void get_log(void *arg)
{
	struct log_task *lt = arg;
	struct kvm_dirty_log log = { .slot = 0 };

	log.dirty_bitmap = &lt->bits;
	lt->ret = s2_vm_get_dirty_log(lt->vm, &log);
}

static void reading_the_dirty_log_waits_for_the_flush_of_one_that_failed(void **state)
{
	struct world *w = *state;
	struct kvm_userspace_memory_region mem = guest_region(w);
	struct log_task lt = { .vm = w->vm };
	struct guest guest = { .writes = true };
	struct s2_invalidation inv;

	mem.flags = KVM_MEM_LOG_DIRTY_PAGES;
	assert_int_equal(set_region(w->vm, mem), 0);
	guest_start(&guest, w->vm, gpa_of(0));
	assert_int_equal(start_pages(w, &inv, 0, 1, S2_NONBLOCK), -EAGAIN);
	task_start(&lt.task, get_log, &lt);
	assert_true(task_blocked(&lt.task));
	guest_poll(&guest);
	task_join(&lt.task);
	assert_int_equal(lt.ret, 0);
	assert_int_equal(lt.bits, 1);
	guest_finish(&guest);
}

struct nonblock_task {
	struct task task;
	struct world *w;
	int ret;
};

static void nonblocking_pair(void *arg)
{
	struct nonblock_task *nt = arg;
	struct s2_invalidation inv;

	nt->ret = start_pages(nt->w, &inv, 0, 1, S2_NONBLOCK);
	if (!nt->ret)
		end_pair(nt->w, &inv);
}

/* A blocking start would queue behind the writer; see test_liveness.c. */
static void it_does_not_wait_behind_a_waiting_update(void **state)
{
	struct world *w = *state;
	struct nonblock_task nt = { .w = w };
	struct s2_invalidation open;
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &open, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	task_start(&nt.task, nonblocking_pair, &nt);
	task_join(&nt.task);
	assert_int_equal(nt.ret, 0);
	assert_false(atomic_load(&up.task.done));
	end_pair(w, &open);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(in_progress(w->vm), 0);
}

/* It raised the count of every VM, so whatever memslot appears is covered: the patch. */
static void an_update_does_not_wait_for_a_nonblocking_pair(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct update up = { 0 };
	struct load load = { 0 };

	assert_int_equal(start_elsewhere(w, &inv, S2_NONBLOCK), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_int_equal(update_finish(&up), 0);
	load_start(&load, w->vm, ELSEWHERE_GPA);
	assert_true(task_blocked(&load.task));
	end_pair(w, &inv);
	load_finish(&load);
	assert_int_equal(in_progress(w->vm), 0);
}

static const struct gated_test tests[] = {
	GATED(it_succeeds_when_nothing_is_in_its_way, EVERY_GATE),
	GATED(an_unrelated_one_is_elided, RANGE | COUNT),
	GATED(an_unrelated_one_takes_mmu_lock, RWSEM | ALWAYS),
	GATED(it_fails_while_mmu_lock_is_held_elsewhere, EVERY_GATE),
	GATED(it_fails_while_a_vm_of_several_holds_mmu_lock, EVERY_GATE),
	GATED(it_fails_while_a_vcpu_is_in_guest_mode_and_does_not_poll, EVERY_GATE),
	GATED(one_that_failed_leaves_other_counts_as_they_were, EVERY_GATE),
	GATED(a_guest_goes_on_with_its_page_after_one_that_failed, EVERY_GATE),
	GATED(the_next_start_waits_for_the_flush_of_one_that_failed, EVERY_GATE),
	GATED(a_second_nonblocking_start_fails_until_the_flush_is_done, EVERY_GATE),
	GATED(a_dirty_log_begins_after_the_flush_of_one_that_failed, EVERY_GATE),
	GATED(reading_the_dirty_log_waits_for_the_flush_of_one_that_failed, EVERY_GATE),
	GATED(it_does_not_wait_behind_a_waiting_update, ELIDING),
	GATED(an_update_does_not_wait_for_a_nonblocking_pair, RWSEM | ALWAYS),
};

int main(void)
{
	return RUN_GATED("starts that may not sleep", tests);
}
