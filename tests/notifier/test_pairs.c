/* SPDX-License-Identifier: MIT */
/*
 * start() and end(): what is elided, what is counted, what a vCPU may see before,
 * during and after, and the life of a token.
 */
#include "notifier/fixture.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void an_unrelated_pair_takes_no_mmu_lock(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_mm_stats stats;

	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(in_progress(w->vm), 0);
	end_pair(w, &inv);
	stats = stats_of(w);
	assert_int_equal(stats.invalidations, 1);
	assert_int_equal(stats.elided, 1);
	assert_int_equal(stats.mmu_lock_acquired, 0);
	assert_int_equal(sequence(w->vm), 0);
}

static void an_unrelated_pair_takes_every_mmu_lock_twice(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_mm_stats stats;
	struct s2_vm *other;

	assert_int_equal(s2_vm_create(w->mm, NULL, &other), 0);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	assert_int_equal(in_progress(w->vm), 1);
	assert_int_equal(in_progress(other), 1);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(in_progress(other), 0);
	stats = stats_of(w);
	assert_int_equal(stats.elided, 0);
	assert_int_equal(stats.mmu_lock_acquired, 4);
	s2_vm_put(other);
}

static void a_related_pair_takes_mmu_lock_at_start_and_at_end(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 3, 2, 0), 0);
	assert_int_equal(stats_of(w).mmu_lock_acquired, 1);
	end_pair(w, &inv);
	assert_int_equal(stats_of(w).mmu_lock_acquired, 2);
	assert_int_equal(stats_of(w).invalidations, 1);
	assert_int_equal(stats_of(w).elided, 0);
}

static void a_related_pair_raises_the_count_and_then_the_sequence(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 3, 2, 0), 0);
	assert_int_equal(in_progress(w->vm), 1);
	assert_int_equal(sequence(w->vm), 0);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(sequence(w->vm), 1);
}

static void the_pages_beside_a_memslot_are_unrelated(void **state)
{
	struct world *w = *state;
	struct s2_invalidation before, behind;

	assert_int_equal(start_pages(w, &before, -1, 1, 0), 0);
	assert_int_equal(start_pages(w, &behind, GUEST_PAGES, 1, 0), 0);
	end_pair(w, &before);
	end_pair(w, &behind);
	assert_int_equal(stats_of(w).elided, 2);
}

static void the_first_and_the_last_page_of_a_memslot_are_related(void **state)
{
	struct world *w = *state;
	struct s2_invalidation first, last;

	assert_int_equal(start_pages(w, &first, -1, 2, 0), 0);
	assert_int_equal(start_pages(w, &last, GUEST_PAGES - 1, 2, 0), 0);
	assert_int_equal(in_progress(w->vm), 2);
	end_pair(w, &first);
	end_pair(w, &last);
	assert_int_equal(stats_of(w).elided, 0);
	assert_int_equal(in_progress(w->vm), 0);
}

static void start_zaps_the_pages_in_the_range_and_no_other(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	map_pages(w, 6);
	assert_int_equal(pages_mapped(w->vm), 6);
	assert_int_equal(start_pages(w, &inv, 1, 2, 0), 0);
	assert_int_equal(pages_mapped(w->vm), 4);
	end_pair(w, &inv);
	assert_int_equal(pages_mapped(w->vm), 4);
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

static void start_waits_until_a_vcpu_that_has_the_page_polls(void **state)
{
	struct start_task st = { .w = *state };
	struct guest guest = { 0 };

	guest_start(&guest, st.w->vm, gpa_of(0));
	task_start(&st.task, start_first_page, &st);
	assert_true(task_blocked(&st.task));
	guest_poll(&guest);
	task_join(&st.task);
	assert_int_equal(st.ret, 0);
	end_pair(st.w, &st.inv);
	guest_finish(&guest);
}

/* Invalidates the page it has just loaded, from inside guest mode, and loads again. */
struct self_invalidator {
	struct task task;
	struct world *w;
	struct s2_vcpu *vcpu;
	uint64_t value;
	int ret;
};

static void invalidate_from_guest_mode(void *arg)
{
	struct self_invalidator *self = arg;
	struct s2_invalidation inv;

	s2_vcpu_enter(self->vcpu);
	self->ret = s2_vcpu_load64(self->vcpu, gpa_of(0), &self->value);
	self->ret |= start_pages(self->w, &inv, 0, 1, 0);
	replace_page(self->w->memory, 0x2222);
	end_pair(self->w, &inv);
	self->ret |= s2_vcpu_load64(self->vcpu, gpa_of(0), &self->value);
	s2_vcpu_exit(self->vcpu);
}

static void a_vcpu_may_invalidate_its_own_page_in_guest_mode(void **state)
{
	struct self_invalidator self = { .w = *state };

	*(uint64_t *)(void *)self.w->memory = 0x1111;
	assert_int_equal(s2_vcpu_create(self.w->vm, NULL, &self.vcpu), 0);
	task_start(&self.task, invalidate_from_guest_mode, &self);
	task_join(&self.task);
	assert_int_equal(self.ret, 0);
	assert_int_equal(self.value, 0x2222);
	assert_int_equal(s2_vcpu_destroy(self.vcpu), 0);
}

static void a_fault_in_the_range_waits_for_end_and_sees_the_new_page(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct load load = { 0 };

	*(uint64_t *)(void *)w->memory = 0x1111;
	assert_int_equal(guest_read(w->vm, gpa_of(0)), 0x1111);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	load_start(&load, w->vm, gpa_of(0));
	assert_true(task_blocked(&load.task));
	assert_int_equal(pages_mapped(w->vm), 0);
	replace_page(w->memory, 0x2222);
	end_pair(w, &inv);
	load_finish(&load);
	assert_int_equal(load.value, 0x2222);
}

static void a_fault_outside_the_range_does_not_wait(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	((uint64_t *)(void *)w->memory)[PAGE / 8] = 0x3333;
	assert_int_equal(guest_read(w->vm, gpa_of(1)), 0x3333);
	end_pair(w, &inv);
}

static void a_fault_in_ones_own_pair_is_refused(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;
	struct s2_vcpu *vcpu;
	uint64_t value;

	assert_int_equal(s2_vcpu_create(w->vm, NULL, &vcpu), 0);
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	assert_int_equal(s2_vcpu_read(vcpu, gpa_of(0), &value, sizeof(value)), -EDEADLK);
	end_pair(w, &inv);
	assert_int_equal(s2_vcpu_read(vcpu, gpa_of(0), &value, sizeof(value)), 0);
	assert_int_equal(s2_vcpu_destroy(vcpu), 0);
}

/* A provider whose first look-up is slow, and stale when it is done. */
struct slow_provider {
	sem_t looking;
	sem_t go_on;
	_Atomic int calls;
	void *old_page;
	void *new_page;
	int old_error;
};

static int slow_fault(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	struct slow_provider *p = ctx;
	bool first = atomic_fetch_add(&p->calls, 1) == 0;

	*page = (struct s2_page){ .addr = p->new_page, .shift = S2_PAGE_SHIFT, .writable = true };
	if (!first)
		return 0;
	page->addr = p->old_page;
	sem_post(&p->looking);
	sem_wait(&p->go_on);
	return p->old_error;
}

static const struct s2_provider_ops slow_ops = { .name = "slow", .fault = slow_fault };

static void *new_page(uint64_t value)
{
	void *page = NULL;

	assert_int_equal(posix_memalign(&page, PAGE, PAGE), 0);
	*(uint64_t *)page = value;
	return page;
}

static void slow_provider_init(struct slow_provider *p)
{
	sem_init(&p->looking, 0, 0);
	sem_init(&p->go_on, 0, 0);
	p->old_page = new_page(0x1111);
	p->new_page = new_page(0x2222);
}

static void slow_provider_destroy(struct slow_provider *p)
{
	sem_destroy(&p->looking);
	sem_destroy(&p->go_on);
	free(p->old_page);
	free(p->new_page);
}

static struct world *slow_world(void **state, struct slow_provider *p)
{
	struct world *w = *state;

	slow_provider_init(p);
	return world_create((struct s2_mm_config){
		.gate = w->gate, .provider = &slow_ops, .provider_ctx = p });
}

static void a_look_up_older_than_a_whole_pair_is_not_installed(void **state)
{
	struct slow_provider p = { 0 };
	struct world *w = slow_world(state, &p);
	struct s2_invalidation inv;
	struct s2_vm_stats stats;
	struct load load = { 0 };

	load_start(&load, w->vm, gpa_of(5));
	sem_wait(&p.looking);
	assert_int_equal(start_pages(w, &inv, 5, 1, 0), 0);
	end_pair(w, &inv);
	sem_post(&p.go_on);
	load_finish(&load);
	assert_int_equal(load.value, 0x2222);
	assert_int_equal(atomic_load(&p.calls), 2);
	assert_int_equal(s2_vm_get_stats(w->vm, &stats), 0);
	assert_int_equal(stats.fault_retries, 1);
	assert_int_equal(world_destroy(w), 0);
	slow_provider_destroy(&p);
}

static void a_look_up_older_than_an_open_pair_is_not_installed(void **state)
{
	struct slow_provider p = { 0 };
	struct world *w = slow_world(state, &p);
	struct s2_invalidation inv;
	struct load load = { 0 };

	load_start(&load, w->vm, gpa_of(5));
	sem_wait(&p.looking);
	assert_int_equal(start_pages(w, &inv, 5, 1, 0), 0);
	sem_post(&p.go_on);
	assert_true(task_blocked(&load.task));
	assert_int_equal(pages_mapped(w->vm), 0);
	end_pair(w, &inv);
	load_finish(&load);
	assert_int_equal(load.value, 0x2222);
	assert_int_equal(world_destroy(w), 0);
	slow_provider_destroy(&p);
}

static void an_error_older_than_a_pair_is_not_believed(void **state)
{
	struct slow_provider p = { .old_error = -EFAULT };
	struct world *w = slow_world(state, &p);
	struct s2_invalidation inv;
	struct load load = { 0 };

	load_start(&load, w->vm, gpa_of(5));
	sem_wait(&p.looking);
	assert_int_equal(start_pages(w, &inv, 5, 1, 0), 0);
	end_pair(w, &inv);
	sem_post(&p.go_on);
	load_finish(&load);
	assert_int_equal(load.value, 0x2222);
	assert_int_equal(world_destroy(w), 0);
	slow_provider_destroy(&p);
}

static void an_unrelated_pair_sends_no_fault_back(void **state)
{
	struct slow_provider p = { 0 };
	struct world *w = slow_world(state, &p);
	struct s2_invalidation inv;
	struct load load = { 0 };

	load_start(&load, w->vm, gpa_of(5));
	sem_wait(&p.looking);
	assert_int_equal(start_elsewhere(w, &inv, 0), 0);
	end_pair(w, &inv);
	sem_post(&p.go_on);
	load_finish(&load);
	assert_int_equal(load.value, 0x1111);
	assert_int_equal(atomic_load(&p.calls), 1);
	assert_int_equal(world_destroy(w), 0);
	slow_provider_destroy(&p);
}

static void the_ranges_in_progress_are_remembered_as_one(void **state)
{
	struct world *w = *state;
	struct s2_invalidation low, high;

	assert_int_equal(start_pages(w, &high, 9, 1, 0), 0);
	assert_int_equal(start_pages(w, &low, 2, 1, 0), 0);
	assert_int_equal(in_progress(w->vm), 2);
	assert_int_equal(atomic_load(&w->vm->mmu_invalidate_range_start), hva_of(w, 2));
	assert_int_equal(atomic_load(&w->vm->mmu_invalidate_range_end), hva_of(w, 10));
	end_pair(w, &low);
	end_pair(w, &high);
	/* Nothing of them is left for the next. */
	assert_int_equal(start_pages(w, &low, 20, 1, 0), 0);
	assert_int_equal(atomic_load(&w->vm->mmu_invalidate_range_start), hva_of(w, 20));
	assert_int_equal(atomic_load(&w->vm->mmu_invalidate_range_end), hva_of(w, 21));
	end_pair(w, &low);
}

static void a_fault_waits_for_the_last_of_nested_pairs(void **state)
{
	struct world *w = *state;
	struct s2_invalidation outer, inner;
	struct load load = { 0 };

	assert_int_equal(start_pages(w, &outer, 0, 4, 0), 0);
	assert_int_equal(start_pages(w, &inner, 0, 1, 0), 0);
	load_start(&load, w->vm, gpa_of(0));
	end_pair(w, &outer);
	assert_true(task_blocked(&load.task));
	end_pair(w, &inner);
	load_finish(&load);
}

static void pairs_may_end_in_the_order_they_started_in(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv[8];

	for (int i = 0; i < 8; i++) {
		assert_int_equal(start_pages(w, &inv[i], i - 4, 3, 0), 0);
		assert_true(in_progress(w->vm) <= (uint64_t)i + 1);
	}
	for (int i = 0; i < 8; i++)
		end_pair(w, &inv[i]);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(stats_of(w).invalidations, 8);
}

struct end_task {
	struct task task;
	struct world *w;
	struct s2_invalidation *inv;
	unsigned nr;
};

static void end_them(void *arg)
{
	struct end_task *et = arg;

	for (unsigned i = 0; i < et->nr; i++)
		end_pair(et->w, &et->inv[i]);
}

static void a_pair_may_end_on_another_thread(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv[3];
	struct end_task et = { .w = w, .inv = inv, .nr = 3 };

	assert_int_equal(start_pages(w, &inv[0], 0, 1, 0), 0);
	assert_int_equal(start_elsewhere(w, &inv[1], 0), 0);
	assert_int_equal(start_pages(w, &inv[2], 3, 1, 0), 0);
	task_start(&et.task, end_them, &et);
	task_join(&et.task);
	assert_int_equal(in_progress(w->vm), 0);
	/* Nor does the starter own them still: an update that would wait for them goes through. */
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
}

#define DEEP 500

/* Under every gate the table pins what start() saw; with 4 entries nearly all are beyond it. */
static void hundreds_of_nested_pairs_are_counted_beyond_the_table(void **state)
{
	struct world *w = world_create((struct s2_mm_config){
		.gate = ((struct world *)*state)->gate, .inflight_entries = 4 });
	struct s2_invalidation *inv = calloc(DEEP, sizeof(*inv));
	struct s2_mm_stats stats;

	for (unsigned i = 0; i < DEEP; i++)
		assert_int_equal(i % 2 ? start_pages(w, &inv[i], i % GUEST_PAGES, 1, 0) :
					 start_elsewhere(w, &inv[i], 0),
				 0);
	assert_int_equal(in_progress(w->vm), w->gate == S2_GATE_ALWAYS ? DEEP : DEEP / 2);
	/* In an order of its own: 7 is prime to DEEP. */
	for (unsigned i = 0; i < DEEP; i++)
		end_pair(w, &inv[i * 7 % DEEP]);
	assert_int_equal(in_progress(w->vm), 0);
	stats = stats_of(w);
	assert_int_equal(stats.invalidations, DEEP);
	assert_int_equal(stats.overflows, DEEP - 4);
	assert_int_equal(stats.elided, w->gate == S2_GATE_ALWAYS ? 0 : DEEP / 2);
	assert_int_equal(stats.mmu_lock_acquired, w->gate == S2_GATE_ALWAYS ? 2 * DEEP : DEEP);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
	free(inv);
	assert_int_equal(world_destroy(w), 0);
}

static void bad_arguments_are_refused_and_change_nothing(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv = { 0 };
	uint64_t hva = hva_of(w, 0);

	assert_int_equal(s2_invalidate_range_start(NULL, &inv, hva, hva + PAGE, 0), -EINVAL);
	assert_int_equal(s2_invalidate_range_start(w->mm, NULL, hva, hva + PAGE, 0), -EINVAL);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, hva, hva, 0), -EINVAL);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, hva + PAGE, hva, 0), -EINVAL);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, hva + 1, hva + PAGE, 0), -EINVAL);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, hva, hva + PAGE + 8, 0), -EINVAL);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, -PAGE, 0, 0), -EINVAL);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, hva, hva + PAGE, 2), -EINVAL);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(stats_of(w).invalidations, 0);
	/* Nothing was published either, that an update would refuse to wait for. */
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
}

static void a_range_may_begin_at_zero_and_be_as_long_as_can_be(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, 0, -PAGE, 0), 0);
	assert_int_equal(in_progress(w->vm), 1);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, 0, PAGE, 0), 0);
	end_pair(w, &inv);
	assert_int_equal(s2_invalidate_range_start(w->mm, &inv, -2 * PAGE, -PAGE, 0), 0);
	end_pair(w, &inv);
}

static void end_of_nothing_is_ignored(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	s2_invalidate_range_end(NULL, &inv);
	s2_invalidate_range_end(w->mm, NULL);
	assert_int_equal(in_progress(w->vm), 1);
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
}

static void end_twice(struct world *w)
{
	struct s2_invalidation inv;

	start_pages(w, &inv, 0, 1, 0);
	end_pair(w, &inv);
	end_pair(w, &inv);
}

static void end_elided_twice(struct world *w)
{
	struct s2_invalidation inv;

	start_elsewhere(w, &inv, 0);
	end_pair(w, &inv);
	end_pair(w, &inv);
}

static void end_without_start(struct world *w)
{
	struct s2_invalidation inv = { 0 };

	end_pair(w, &inv);
	memset(&inv, 0xff, sizeof(inv));
	end_pair(w, &inv);
}

static void end_after_refused_start(struct world *w)
{
	struct s2_invalidation inv = { 0 };

	start_pages(w, &inv, 1, 0, 0);
	end_pair(w, &inv);
}

static void end_on_another_mm(struct world *w)
{
	struct s2_invalidation inv;
	struct s2_mm *other;

	s2_mm_create(NULL, &other);
	start_pages(w, &inv, 0, 1, 0);
	s2_invalidate_range_end(other, &inv);
	end_pair(w, &inv);
	s2_mm_put(other);
}

static void (*const misuses[])(struct world *w) = {
	end_twice, end_elided_twice, end_without_start, end_after_refused_start, end_on_another_mm,
};

#if S2_DEBUG_CHECKS

/* Runs @misuse in a child with its stderr on a pipe; true if it died of the rule. */
static bool dies_of_the_token_rule(struct world *w, void (*misuse)(struct world *w))
{
	char said[4096] = "";
	int pipes[2], status;
	ssize_t n, at = 0;
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (!child) {
		signal(SIGABRT, SIG_DFL);
		dup2(pipes[1], STDERR_FILENO);
		misuse(w);
		_exit(0);
	}
	close(pipes[1]);
	while ((n = read(pipes[0], said + at, sizeof(said) - 1 - at)) > 0)
		at += n;
	close(pipes[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
	       strstr(said, "token life cycle") != NULL;
}

static void a_debug_build_names_the_rule_a_token_breaks(void **state)
{
	for (unsigned i = 0; i < sizeof(misuses) / sizeof(misuses[0]); i++)
		assert_true(dies_of_the_token_rule(*state, misuses[i]));
}

#else

static void a_token_that_is_not_open_is_ignored_by_end(void **state)
{
	struct world *w = *state;
	struct s2_invalidation inv;

	/* So that a count too many dropped is seen. */
	assert_int_equal(start_pages(w, &inv, 0, 1, 0), 0);
	for (unsigned i = 0; i < sizeof(misuses) / sizeof(misuses[0]); i++) {
		misuses[i](w);
		assert_int_equal(in_progress(w->vm), 1);
	}
	end_pair(w, &inv);
	assert_int_equal(in_progress(w->vm), 0);
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
}

#endif

static const struct gated_test tests[] = {
	GATED(an_unrelated_pair_takes_no_mmu_lock, ELIDING),
	GATED(an_unrelated_pair_takes_every_mmu_lock_twice, ALWAYS),
	GATED(a_related_pair_takes_mmu_lock_at_start_and_at_end, EVERY_GATE),
	GATED(a_related_pair_raises_the_count_and_then_the_sequence, EVERY_GATE),
	GATED(the_pages_beside_a_memslot_are_unrelated, ELIDING),
	GATED(the_first_and_the_last_page_of_a_memslot_are_related, EVERY_GATE),
	GATED(start_zaps_the_pages_in_the_range_and_no_other, EVERY_GATE),
	GATED(start_waits_until_a_vcpu_that_has_the_page_polls, EVERY_GATE),
	GATED(a_vcpu_may_invalidate_its_own_page_in_guest_mode, EVERY_GATE),
	GATED(a_fault_in_the_range_waits_for_end_and_sees_the_new_page, EVERY_GATE),
	GATED(a_fault_outside_the_range_does_not_wait, EVERY_GATE),
	GATED(a_fault_in_ones_own_pair_is_refused, EVERY_GATE),
	GATED(a_look_up_older_than_a_whole_pair_is_not_installed, EVERY_GATE),
	GATED(a_look_up_older_than_an_open_pair_is_not_installed, EVERY_GATE),
	GATED(an_error_older_than_a_pair_is_not_believed, EVERY_GATE),
	GATED(an_unrelated_pair_sends_no_fault_back, ELIDING),
	GATED(the_ranges_in_progress_are_remembered_as_one, EVERY_GATE),
	GATED(a_fault_waits_for_the_last_of_nested_pairs, EVERY_GATE),
	GATED(pairs_may_end_in_the_order_they_started_in, EVERY_GATE),
	GATED(a_pair_may_end_on_another_thread, EVERY_GATE),
	GATED(hundreds_of_nested_pairs_are_counted_beyond_the_table, EVERY_GATE),
	GATED(bad_arguments_are_refused_and_change_nothing, EVERY_GATE),
	GATED(a_range_may_begin_at_zero_and_be_as_long_as_can_be, EVERY_GATE),
	GATED(end_of_nothing_is_ignored, EVERY_GATE),
#if S2_DEBUG_CHECKS
	GATED(a_debug_build_names_the_rule_a_token_breaks, EVERY_GATE),
#else
	GATED(a_token_that_is_not_open_is_ignored_by_end, EVERY_GATE),
#endif
};

int main(void)
{
	return RUN_GATED("start and end", tests);
}
