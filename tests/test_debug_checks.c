/* SPDX-License-Identifier: MIT */
/*
 * The debug build's rules: each is broken, through the private interface, in a
 * child process, which must abort and say which rule it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#if S2_DEBUG_CHECKS

#include "base/guest_mode.h"
#include "base/lock.h"
#include "memslot/vm.h"
#include "mm/mm.h"
#include "mmu/fault.h"
#include "mmu/flush.h"
#include "mmu/spte.h"
#include "mmu/table.h"
#include "notifier/invalidate.h"
#include "small_vm.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child says on standard error, and how it ended. */
static int break_rule(void (*body)(struct small_vm *small), struct small_vm *small, char *said,
		      size_t size)
{
	const struct rlimit no_core = { 0 };
	size_t length = 0;
	int ends[2], status;
	ssize_t got;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		body(small);
		_exit(0);
	}
	close(ends[1]);
	while (length < size - 1 && (got = read(ends[0], said + length, size - 1 - length)) > 0)
		length += (size_t)got;
	said[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* A VM with a memslot of 8 pages, of which the guest has used the first. */
static void assert_caught(void (*body)(struct small_vm *small), const char *rule)
{
	struct small_vm small;
	char said[4096];
	int status;

	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 0, 8, 0, 0), 0);
	assert_guest_reads(small.vcpu, 0, 0);
	status = break_rule(body, &small, said, sizeof(said));
	small_vm_end(&small);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(said, rule) ||
	    !strstr(said, "rule broken in "))
		fail_msg("not caught: %s; status %#x, it said: %s", rule, status, said);
}

static void visit_unlocked(struct small_vm *small)
{
	const struct s2_gfn_range range = { .start = 0, .end = 8 };

	s2_mmu_unmap_gfn_range(small->vm, &range);
}

static void visit_read_locked(struct small_vm *small)
{
	const struct s2_gfn_range range = { .start = 0, .end = 8 };
	struct s2_brlock_reader reader = { 0 };

	s2_read_lock(&small->vm->mmu_lock, &reader);
	s2_mmu_unmap_gfn_range(small->vm, &range);
}

static void flush_unlocked(struct small_vm *small)
{
	s2_flush_remote_tlbs(small->vm, true);
}

static void prune_unlocked(struct small_vm *small)
{
	s2_table_prune(small->vm, 0, 8);
}

static void reach_unlocked(struct small_vm *small)
{
	struct s2_table *spare = NULL;

	s2_table_reach(small->vm, 0, 1, &spare);
}

static void begin_unlocked(struct small_vm *small)
{
	s2_mmu_invalidate_begin(small->vm, FRAME_HVA_OF(0), FRAME_HVA_OF(1));
}

static void retry_unlocked(struct small_vm *small)
{
	s2_mmu_invalidate_retry(small->vm, 0, FRAME_HVA_OF(0));
}

static void test_functions_that_need_mmu_lock_miss_it(void **state)
{
	(void)state;
	assert_caught(visit_unlocked, "lock not held for write");
	assert_caught(visit_read_locked, "lock not held for write");
	assert_caught(flush_unlocked, "lock not held for write");
	assert_caught(prune_unlocked, "lock not held for write");
	assert_caught(begin_unlocked, "lock not held for write");
	assert_caught(reach_unlocked, "lock not held");
	assert_caught(retry_unlocked, "lock not held");
}

static void lock_against_the_order(struct small_vm *small)
{
	s2_write_lock(&small->vm->mmu_lock);
	s2_mutex_lock(&small->vm->slots_lock);
}

static void lock_two_of_a_rank(struct small_vm *small)
{
	struct s2_vm *other;

	if (s2_vm_create(small->mm, NULL, &other))
		return;
	s2_write_lock(&small->vm->mmu_lock);
	s2_write_lock(&other->mmu_lock);
}

static void test_locks_are_taken_in_their_order(void **state)
{
	(void)state;
	assert_caught(lock_against_the_order, "lock order");
	assert_caught(lock_two_of_a_rank, "lock order");
}

static void unlock_what_is_free(struct small_vm *small)
{
	s2_mutex_unlock(&small->vm->slots_lock);
}

static void test_a_lock_is_released_by_its_holder(void **state)
{
	(void)state;
	assert_caught(unlock_what_is_free, "released that this thread does not hold");
}

static void start(struct small_vm *small, struct s2_invalidation *inv)
{
	s2_invalidate_range_start(small->mm, inv, FRAME_HVA_OF(0), FRAME_HVA_OF(1), 0);
}

static void end_twice(struct small_vm *small)
{
	struct s2_invalidation inv;

	start(small, &inv);
	s2_invalidate_range_end(small->mm, &inv);
	s2_invalidate_range_end(small->mm, &inv);
}

static void end_never_started(struct small_vm *small)
{
	struct s2_invalidation inv = { .token = (uintptr_t)small->mm };

	s2_invalidate_range_end(small->mm, &inv);
}

static void end_after_failed_start(struct small_vm *small)
{
	struct s2_invalidation inv = { .token = (uintptr_t)small->mm };

	s2_invalidate_range_start(small->mm, &inv, 1, 2, 0);
	s2_invalidate_range_end(small->mm, &inv);
}

static void end_on_another_mm(struct small_vm *small)
{
	struct s2_invalidation inv;
	struct s2_mm *other;

	if (s2_mm_create(NULL, &other))
		return;
	start(small, &inv);
	s2_invalidate_range_end(other, &inv);
}

static void test_a_token_is_ended_once_where_it_was_started(void **state)
{
	(void)state;
	assert_caught(end_twice, "token life cycle");
	assert_caught(end_never_started, "token life cycle");
	assert_caught(end_after_failed_start, "token life cycle");
	assert_caught(end_on_another_mm, "token life cycle");
}

static void update_in_guest_mode(struct small_vm *small)
{
	s2_vcpu_enter(small->vcpu);
	set_slot(small->vm, 1, 8, 1, 8, 0);
}

static void read_log_in_guest_mode(struct small_vm *small)
{
	uint64_t bits;
	const struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = &bits };

	s2_vcpu_enter(small->vcpu);
	s2_vm_get_dirty_log(small->vm, &log);
}

static void read_lock_in_guest_mode(struct small_vm *small)
{
	struct s2_brlock_reader reader = { 0 };

	s2_vcpu_enter(small->vcpu);
	s2_read_lock(&small->vm->mmu_lock, &reader);
}

static void write_lock_in_guest_mode(struct small_vm *small)
{
	s2_vcpu_enter(small->vcpu);
	s2_write_lock(&small->vm->mmu_lock);
}

static void fault_in_guest_mode(struct small_vm *small)
{
	struct s2_fault_state faults = { 0 };

	s2_vcpu_enter(small->vcpu);
	s2_mmu_fault(small->vm, &faults, 1, S2_ACCESS_READ);
}

static void flush_in_guest_mode(struct small_vm *small)
{
	s2_write_lock(&small->vm->mmu_lock);
	s2_vcpu_enter(small->vcpu);
	s2_flush_remote_tlbs(small->vm, true);
}

static void test_nobody_blocks_in_guest_mode(void **state)
{
	(void)state;
	assert_caught(update_in_guest_mode, "blocking in guest mode");
	assert_caught(read_log_in_guest_mode, "blocking in guest mode");
	assert_caught(read_lock_in_guest_mode, "blocking in guest mode");
	assert_caught(write_lock_in_guest_mode, "blocking in guest mode");
	assert_caught(fault_in_guest_mode, "out of guest mode");
	assert_caught(flush_in_guest_mode, "from inside guest mode waits for itself");
}

static void drop_a_count_that_is_zero(struct small_vm *small)
{
	s2_write_lock(&small->vm->mmu_lock);
	s2_mmu_invalidate_end(small->vm);
}

static void end_when_the_count_is_gone(struct small_vm *small)
{
	struct s2_invalidation inv;

	start(small, &inv);
	atomic_store(&small->vm->mmu_invalidate_in_progress, 0);
	s2_invalidate_range_end(small->mm, &inv);
}

static void test_a_count_does_not_go_below_zero(void **state)
{
	(void)state;
	assert_caught(drop_a_count_that_is_zero, "did not see start");
	assert_caught(end_when_the_count_is_gone, "did not see start");
}

static void end_twice_under_count(struct small_vm *small)
{
	struct s2_mm_config config = { .gate = S2_GATE_COUNT };
	struct s2_invalidation inv;
	struct s2_mm *mm;
	struct s2_vm *vm;

	(void)small;
	if (s2_mm_create(&config, &mm) || s2_vm_create(mm, NULL, &vm))
		return;
	s2_invalidate_range_start(mm, &inv, FRAME_HVA_OF(0), FRAME_HVA_OF(1), 0);
	vm->mn_active_invalidate_count = 0;
	s2_invalidate_range_end(mm, &inv);
}

static void test_the_count_gates_count_does_not_go_below_zero(void **state)
{
	(void)state;
	assert_caught(end_twice_under_count, "an invalidation ended twice");
}

static void change_pte_when_the_count_is_gone(struct small_vm *small)
{
	const struct s2_page page = {
		.addr = frame_provider_word(&small->host, FRAME_PAGES),
		.shift = S2_PAGE_SHIFT,
	};
	struct s2_invalidation inv;

	start(small, &inv);
	atomic_store(&small->vm->mmu_invalidate_in_progress, 0);
	s2_change_pte(small->mm, &inv, FRAME_HVA_OF(0), &page);
}

static void test_change_pte_comes_inside_an_invalidation(void **state)
{
	(void)state;
	assert_caught(change_pte_when_the_count_is_gone, "change_pte outside");
}

static void end_an_mm_that_is_in_use(struct small_vm *small)
{
	struct s2_invalidation inv;
	struct s2_mm *mm;

	(void)small;
	if (s2_mm_create(NULL, &mm))
		return;
	s2_invalidate_range_start(mm, &inv, FRAME_HVA_OF(0), FRAME_HVA_OF(1), 0);
	s2_mm_put(mm);
}

static void test_an_mm_ends_without_invalidations_in_flight(void **state)
{
	(void)state;
	assert_caught(end_an_mm_that_is_in_use, "ends with invalidations in flight");
}

/* So that the tests above show something: what is allowed is not caught. */
static void do_what_is_allowed(struct small_vm *small)
{
	struct s2_invalidation inv;
	uint64_t value;

	s2_vcpu_enter(small->vcpu);
	start(small, &inv);
	s2_vcpu_poll(small->vcpu);
	s2_invalidate_range_end(small->mm, &inv);
	s2_vcpu_load64(small->vcpu, S2_PAGE_SIZE, &value);
	s2_clear_flush_young(small->mm, FRAME_HVA_OF(0), FRAME_HVA_OF(8));
	s2_vcpu_exit(small->vcpu);
	set_slot(small->vm, 1, 8, 1, 8, 0);
}

static void test_what_is_allowed_is_not_caught(void **state)
{
	struct small_vm small;
	char said[4096];

	(void)state;
	small_vm_begin(&small, S2_GATE_RANGE, NULL);
	assert_int_equal(set_slot(small.vm, 0, 0, 8, 0, 0), 0);
	assert_int_equal(break_rule(do_what_is_allowed, &small, said, sizeof(said)), 0);
	assert_string_equal(said, "");
	small_vm_end(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_functions_that_need_mmu_lock_miss_it),
		cmocka_unit_test(test_locks_are_taken_in_their_order),
		cmocka_unit_test(test_a_lock_is_released_by_its_holder),
		cmocka_unit_test(test_a_token_is_ended_once_where_it_was_started),
		cmocka_unit_test(test_nobody_blocks_in_guest_mode),
		cmocka_unit_test(test_a_count_does_not_go_below_zero),
		cmocka_unit_test(test_the_count_gates_count_does_not_go_below_zero),
		cmocka_unit_test(test_change_pte_comes_inside_an_invalidation),
		cmocka_unit_test(test_an_mm_ends_without_invalidations_in_flight),
		cmocka_unit_test(test_what_is_allowed_is_not_caught),
	};

	return cmocka_run_group_tests_name("debug checks", tests, NULL, NULL);
}

#else

static void test_rules_are_checked(void **state)
{
	(void)state;
	print_message(
		"skipped: this build checks no rules; configure one with -Ddebug_checks=true\n");
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rules_are_checked) };

	return cmocka_run_group_tests_name("debug checks", tests, NULL, NULL);
}

#endif
