/* SPDX-License-Identifier: MIT */
/*
 * What an unrelated pair promises under the range gate: no system call, no
 * allocation, no lock, and that it may run inside malloc, in a signal handler and
 * on a thread that registered with nothing.
 */
#include "notifier/fixture.h"
#include "sanitized.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#if WITH_ADDRESS_SANITIZER || WITH_THREAD_SANITIZER
#define SANITIZED 1
#endif

static void many_unrelated_pairs(struct world *w)
{
	for (unsigned i = 0; i < 10000; i++) {
		struct s2_invalidation inv, nested;

		if (start_elsewhere(w, &inv, i & S2_NONBLOCK) || start_pages(w, &nested, -1, 1, 0))
			_exit(1);
		end_pair(w, &inv);
		end_pair(w, &nested);
	}
}

#ifndef SANITIZED

/* From here on any system call but exit_group() kills the process. */
static void forbid_system_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
}

static int in_a_child_without_system_calls(void (*run)(struct world *w), struct world *w)
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		forbid_system_calls();
		run(w);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void a_system_call(struct world *w)
{
	(void)w;
	syscall(SYS_getppid);
}

static void unrelated_pairs_make_no_system_call(void **state)
{
	int status = in_a_child_without_system_calls(many_unrelated_pairs, *state);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("skipped: this system does not let us filter system calls\n");
		skip();
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	/* And the filter is one that would have told. */
	status = in_a_child_without_system_calls(a_system_call, *state);
	assert_true(WIFSIGNALED(status));
}

/* Also where the table is full. */
static void unrelated_pairs_beyond_the_table_make_no_system_call(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ .inflight_entries = 1 });
	struct s2_invalidation occupant;
	int status;

	(void)state;
	assert_int_equal(start_pages(w, &occupant, GUEST_PAGES, 1, 0), 0);
	status = in_a_child_without_system_calls(many_unrelated_pairs, w);
	end_pair(w, &occupant);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
	assert_int_equal(world_destroy(w), 0);
}

#else

static void skip_for_system_calls(void)
{
	print_message("a sanitizer makes system calls of its own\n");
	skip();
}

static void unrelated_pairs_make_no_system_call(void **state)
{
	skip_for_system_calls();
}

static void unrelated_pairs_beyond_the_table_make_no_system_call(void **state)
{
	skip_for_system_calls();
}

#endif

static void unrelated_pairs_take_no_lock_that_may_be_held(void **state)
{
	struct world *w = *state;
	struct mmu_lock_holder holder = { 0 };

	mmu_lock_hold(&holder, w->vm);
	s2_mutex_lock(&w->vm->slots_lock);
	s2_mutex_lock(&w->mm->index_lock);
	many_unrelated_pairs(w);
	s2_mutex_unlock(&w->mm->index_lock);
	s2_mutex_unlock(&w->vm->slots_lock);
	mmu_lock_drop(&holder);
	assert_int_equal(stats_of(w).elided, 20000);
}

static void unrelated_pairs_allocate_nothing_from_the_mm(void **state)
{
	struct world *w = *state;
	long live = atomic_load(&w->live);
	struct s2_invalidation inv[600];

	for (unsigned i = 0; i < 600; i++)
		assert_int_equal(start_elsewhere(w, &inv[i], 0), 0);
	assert_int_equal(atomic_load(&w->live), live);
	for (unsigned i = 0; i < 600; i++)
		end_pair(w, &inv[i]);
}

#ifndef SANITIZED

/* This program's malloc() brackets itself, as a VMM's allocator hook would. */
extern void *__libc_malloc(size_t size);

static struct world *_Atomic malloc_world;
static _Atomic unsigned mallocs_bracketed;
static _Atomic unsigned mallocs_inside;
static _Thread_local bool inside_pair;

void *malloc(size_t size)
{
	struct world *w = atomic_load(&malloc_world);
	struct s2_invalidation inv;
	void *ptr;

	if (!w)
		return __libc_malloc(size);
	if (inside_pair) {
		atomic_fetch_add(&mallocs_inside, 1);
		return __libc_malloc(size);
	}
	inside_pair = true;
	start_elsewhere(w, &inv, 0);
	inside_pair = false;
	ptr = __libc_malloc(size);
	inside_pair = true;
	end_pair(w, &inv);
	inside_pair = false;
	atomic_fetch_add(&mallocs_bracketed, 1);
	return ptr;
}

static void allocate_a_lot(void *arg)
{
	void *ptrs[64];

	(void)arg;
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 64; i++)
			ptrs[i] = malloc(16 + 64 * i);
		for (unsigned i = 0; i < 64; i++)
			free(ptrs[i]);
	}
}

/* Memslot updates meanwhile, which allocate: from malloc, from inside which they are waited on. */
static void unrelated_pairs_run_inside_malloc(void **state)
{
	struct world *w = *state;
	struct task tasks[3];
	struct s2_vm *vm;

	assert_int_equal(s2_vm_create(w->mm, NULL, &vm), 0);
	atomic_store(&malloc_world, w);
	for (unsigned i = 0; i < 3; i++)
		task_start(&tasks[i], allocate_a_lot, NULL);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(set_region(vm, guest_region(w)), 0);
		assert_int_equal(delete_region(vm, 0), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		task_join(&tasks[i]);
	atomic_store(&malloc_world, NULL);
	assert_true(atomic_load(&mallocs_bracketed) >= 3 * 200 * 64);
	assert_int_equal(atomic_load(&mallocs_inside), 0);
	assert_int_equal(stats_of(w).invalidations, stats_of(w).elided);
	s2_vm_put(vm);
}

#else

static void unrelated_pairs_run_inside_malloc(void **state)
{
	print_message("a sanitizer has malloc() for itself\n");
	skip();
}

#endif

/* A signal handler's pairs, at whatever instruction of a pair the signal comes. */
static struct world *signal_world;
static volatile unsigned signal_pairs;

static void pairs_in_handler(int sig)
{
	struct s2_invalidation outer, inner;

	(void)sig;
	start_elsewhere(signal_world, &outer, 0);
	start_pages(signal_world, &inner, -1, 1, S2_NONBLOCK);
	end_pair(signal_world, &outer);
	end_pair(signal_world, &inner);
	signal_pairs += 2;
}

static void pairs_under_signals(struct world *w)
{
	const struct itimerval fast = { { 0, 20 }, { 0, 20 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = pairs_in_handler }, old;
	uint64_t pairs = 0;
	struct s2_mm_stats stats;

	signal_world = w;
	signal_pairs = 0;
	sigaction(SIGALRM, &action, &old);
	setitimer(ITIMER_REAL, &fast, NULL);
	while (signal_pairs < 4000) {
		struct s2_invalidation outer, inner;

		assert_int_equal(start_elsewhere(w, &outer, 0), 0);
		assert_int_equal(start_elsewhere(w, &inner, 0), 0);
		end_pair(w, &inner);
		end_pair(w, &outer);
		pairs += 2;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	stats = stats_of(w);
	assert_int_equal(stats.invalidations, pairs + signal_pairs);
	assert_int_equal(stats.elided, pairs + signal_pairs);
	assert_int_equal(stats.mmu_lock_acquired, 0);
	/* Every entry was given back. */
	assert_int_equal(set_region(w->vm, elsewhere_region(w)), 0);
}

static void pairs_in_a_signal_handler_are_counted_exactly(void **state)
{
	pairs_under_signals(*state);
}

static void pairs_in_a_signal_handler_beyond_the_table_are_counted_exactly(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ .inflight_entries = 1 });

	(void)state;
	pairs_under_signals(w);
	assert_true(stats_of(w).overflows > 0);
	assert_int_equal(world_destroy(w), 0);
}

/* These threads do nothing else: they registered with nothing. */
static void pairs_only(void *arg)
{
	many_unrelated_pairs(arg);
}

static void many_threads_count_exactly(void **state)
{
	struct world *w = *state;
	struct task tasks[8];

	for (unsigned i = 0; i < 8; i++)
		task_start(&tasks[i], pairs_only, w);
	for (unsigned i = 0; i < 8; i++)
		task_join(&tasks[i]);
	assert_int_equal(stats_of(w).invalidations, 8 * 20000);
	assert_int_equal(stats_of(w).elided, 8 * 20000);
}

static void many_threads_count_exactly_beyond_the_table(void **state)
{
	struct world *w = world_create((struct s2_mm_config){ .inflight_entries = 4 });
	struct task tasks[8];

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		task_start(&tasks[i], pairs_only, w);
	for (unsigned i = 0; i < 8; i++)
		task_join(&tasks[i]);
	assert_int_equal(stats_of(w).invalidations, 8 * 20000);
	assert_int_equal(stats_of(w).elided, 8 * 20000);
	assert_int_equal(world_destroy(w), 0);
}

/* The errno of whoever was interrupted is his. */
static void pairs_leave_errno_alone(void **state)
{
	struct world *w = *state;
	struct s2_invalidation unrelated, related;

	errno = 4711;
	start_elsewhere(w, &unrelated, 0);
	start_pages(w, &related, 0, 1, 0);
	end_pair(w, &related);
	end_pair(w, &unrelated);
	assert_int_equal(errno, 4711);
}

static const struct gated_test tests[] = {
	GATED(unrelated_pairs_make_no_system_call, RANGE),
	GATED(unrelated_pairs_beyond_the_table_make_no_system_call, RANGE),
	GATED(unrelated_pairs_take_no_lock_that_may_be_held, RANGE),
	GATED(unrelated_pairs_allocate_nothing_from_the_mm, RANGE),
	GATED(unrelated_pairs_run_inside_malloc, RANGE),
	GATED(pairs_in_a_signal_handler_are_counted_exactly, RANGE),
	GATED(pairs_in_a_signal_handler_beyond_the_table_are_counted_exactly, RANGE),
	GATED(many_threads_count_exactly, RANGE | COUNT),
	GATED(many_threads_count_exactly_beyond_the_table, RANGE),
	GATED(pairs_leave_errno_alone, EVERY_GATE),
};

int main(void)
{
	return RUN_GATED("what unrelated pairs promise", tests);
}
