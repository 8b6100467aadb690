/* SPDX-License-Identifier: MIT */
/*
 * Who can be kept waiting by whom: what tells the gates apart once they are all
 * correct. Each is shown in bounded steps; `stage2 torture` shows it at length.
 */
#include "notifier/fixture.h"

/* Two pairs that hand over to each other, so that one is open at every moment. */
struct relay {
	struct s2_invalidation inv[2];
	unsigned turn;
};

static void relay_begin(struct world *w, struct relay *relay)
{
	relay->turn = 0;
	assert_int_equal(start_elsewhere(w, &relay->inv[0], 0), 0);
}

static void relay_hand_over(struct world *w, struct relay *relay)
{
	unsigned next = !relay->turn;

	assert_int_equal(start_elsewhere(w, &relay->inv[next], 0), 0);
	end_pair(w, &relay->inv[relay->turn]);
	relay->turn = next;
}

static void relay_end(struct world *w, struct relay *relay)
{
	end_pair(w, &relay->inv[relay->turn]);
}

static void an_update_starves_while_pairs_overlap_for_ever(void **state)
{
	struct world *w = *state;
	struct update up = { 0 };
	struct relay relay;

	relay_begin(w, &relay);
	update_start(&up, w->vm, elsewhere_region(w));
	for (unsigned i = 0; i < 10000; i++)
		relay_hand_over(w, &relay);
	assert_true(update_blocked(&up));
	for (unsigned i = 0; i < 10000; i++)
		relay_hand_over(w, &relay);
	assert_false(atomic_load(&up.task.done));
	relay_end(w, &relay);
	assert_int_equal(update_finish(&up), 0);
}

static void an_update_finishes_while_pairs_overlap_for_ever(void **state)
{
	struct world *w = *state;
	struct update up = { 0 };
	struct relay relay;

	relay_begin(w, &relay);
	update_start(&up, w->vm, elsewhere_region(w));
	while (!atomic_load(&up.task.done))
		relay_hand_over(w, &relay);
	assert_int_equal(update_finish(&up), 0);
	relay_end(w, &relay);
	assert_int_equal(in_progress(w->vm), 0);
}

struct pair_task {
	struct task task;
	struct world *w;
	struct s2_invalidation inv;
	int ret;
};

static void start_some_pair(void *arg)
{
	struct pair_task *pt = arg;

	pt->ret = start_pages(pt->w, &pt->inv, GUEST_PAGES, 1, 0);
}

/* Fair: so a start waits for the update, which waits for a pair; the patch's defect. */
static void a_start_waits_behind_a_waiting_update(void **state)
{
	struct world *w = *state;
	struct pair_task pt = { .w = w };
	struct s2_invalidation inv;
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	task_start(&pt.task, start_some_pair, &pt);
	assert_true(task_blocked(&pt.task));
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
	task_join(&pt.task);
	assert_int_equal(pt.ret, 0);
	end_pair(w, &pt.inv);
	assert_int_equal(in_progress(w->vm), 0);
}

static void no_start_or_end_waits_for_a_waiting_update(void **state)
{
	struct world *w = *state;
	struct pair_task pt = { .w = w };
	struct s2_invalidation inv;
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	task_start(&pt.task, start_some_pair, &pt);
	task_join(&pt.task);
	assert_int_equal(pt.ret, 0);
	end_pair(w, &pt.inv);
	assert_false(atomic_load(&up.task.done));
	end_pair(w, &inv);
	assert_int_equal(update_finish(&up), 0);
}

/* A lock of the caller's held across start() and wanted before end(): rwsem would deadlock. */
static void a_callers_lock_across_start_does_no_harm(void **state)
{
	struct world *w = *state;
	struct pair_task pt = { .w = w };
	struct s2_invalidation outer, inner;
	struct update up = { 0 };

	assert_int_equal(start_elsewhere(w, &outer, 0), 0);
	update_start(&up, w->vm, elsewhere_region(w));
	assert_true(update_blocked(&up));
	/* A pair inside a pair, with an update waiting between the two starts. */
	assert_int_equal(start_pages(w, &inner, 0, 1, 0), 0);
	task_start(&pt.task, start_some_pair, &pt);
	task_join(&pt.task);
	end_pair(w, &pt.inv);
	end_pair(w, &inner);
	end_pair(w, &outer);
	assert_int_equal(update_finish(&up), 0);
	assert_int_equal(in_progress(w->vm), 0);
}

struct churn {
	struct task task;
	struct world *w;
	_Atomic bool stop;
	_Atomic unsigned rounds;
	int ret;
};

static void churn_other_slot(void *arg)
{
	struct churn *churn = arg;
	struct world *w = churn->w;

	while (!atomic_load(&churn->stop) && !churn->ret) {
		churn->ret = set_region(w->vm, elsewhere_region(w));
		churn->ret |= delete_region(w->vm, 1);
		atomic_fetch_add(&churn->rounds, 1);
	}
}

/* slots_lock is busy, but its holder waits for nobody: that is no reason to refuse. */
static void a_pair_that_nobody_waits_for_is_no_reason_to_refuse_an_update(void **state)
{
	struct world *w = *state;
	struct churn churn = { .w = w };
	struct s2_invalidation inv;
	struct kvm_userspace_memory_region mem = guest_region(w);
	unsigned refused = 0;

	task_start(&churn.task, churn_other_slot, &churn);
	for (unsigned i = 0; i < 3000; i++) {
		mem.flags ^= KVM_MEM_LOG_DIRTY_PAGES;
		assert_int_equal(start_pages(w, &inv, GUEST_PAGES, 1, 0), 0);
		refused += set_region(w->vm, mem) != 0;
		end_pair(w, &inv);
	}
	atomic_store(&churn.stop, true);
	task_join(&churn.task);
	assert_int_equal(churn.ret, 0);
	assert_int_equal(refused, 0);
}

/* A fault asleep on the last count is woken by its end(), in every interleaving of the two. */
static void no_fault_sleeps_through_the_end_it_waits_for(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	for (unsigned i = 0; i < 200; i++) {
		struct load load = { 0 };

		assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
		load_start(&load, w->vm, gpa_of(0));
		if (i % 2)
			AWAIT(atomic_load(&w->vm->fault_waiters) || atomic_load(&load.task.done));
		end_pair(w, &inv);
		load_finish(&load);
	}
}

static const struct gated_test tests[] = {
	GATED(an_update_starves_while_pairs_overlap_for_ever, COUNT),
	GATED(an_update_finishes_while_pairs_overlap_for_ever, RANGE | ALWAYS),
	GATED(a_start_waits_behind_a_waiting_update, RWSEM),
	GATED(no_start_or_end_waits_for_a_waiting_update, RANGE | COUNT),
	GATED(a_callers_lock_across_start_does_no_harm, RANGE | COUNT),
	GATED(a_pair_that_nobody_waits_for_is_no_reason_to_refuse_an_update, RANGE | ALWAYS),
	GATED(no_fault_sleeps_through_the_end_it_waits_for, EVERY_GATE),
};

int main(void)
{
	return RUN_GATED("liveness", tests);
}
