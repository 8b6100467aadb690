/* SPDX-License-Identifier: MIT */
/*
 * The torture test tested: it finds nothing in the library, and it finds what it is made to find
 * when the protocol is broken on purpose. Runs are short; `stage2 torture` is for long ones.
 */
#include "sanitized.h"
#include "torture_runs.h"
#include "torture_watchdog.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* First: its child processes are forked while this one has no other threads. */
static void nested_lock_deadlocks_rwsem_only(void **state)
{
	static struct torture_nested results[S2_NR_GATES];

	assert_int_equal(torture_nested_lock(2, results), 0);
	assert_true(torture_nested_as_known(results));
	assert_non_null(strstr(results[S2_GATE_RWSEM].threads, "A: holds invalidation"));
	assert_non_null(strstr(results[S2_GATE_RWSEM].threads, "updater: holds nothing"));
	assert_non_null(strstr(results[S2_GATE_RWSEM].threads, "B: holds the caller's lock M"));
}

static void run_gate(enum s2_gate gate)
{
	const struct torture_options o = torture_test_options(gate);
	const struct torture_report report = torture_test_run_clean(&o);

	assert_true(report.counts[TORTURE_ACCESSES]);
	assert_true(report.counts[TORTURE_FAULTS]);
	assert_true(report.counts[TORTURE_PAGES_REPLACED]);
	assert_true(report.counts[TORTURE_MEMSLOT_UPDATES]);
	assert_true(report.counts[TORTURE_MMU_LOCK_ACQUIRED]);
	assert_int_equal(!report.counts[TORTURE_ELIDED], gate == S2_GATE_ALWAYS);
}

static void range_survives(void **state)
{
	run_gate(S2_GATE_RANGE);
}

static void always_survives(void **state)
{
	run_gate(S2_GATE_ALWAYS);
}

static void rwsem_survives(void **state)
{
	run_gate(S2_GATE_RWSEM);
}

static void count_survives(void **state)
{
	run_gate(S2_GATE_COUNT);
}

static void nesting_is_survived_by_all_but_rwsem(void **state)
{
	static const enum s2_gate gates[] = { S2_GATE_RANGE, S2_GATE_ALWAYS, S2_GATE_COUNT };

	for (unsigned int i = 0; i < 3; i++) {
		struct torture_options o = torture_test_options(gates[i]);

		o.nest = true;
		torture_test_run_clean(&o);
	}
}

static void a_full_table_of_invalidations_is_survived(void **state)
{
	struct torture_options o = torture_test_options(S2_GATE_RANGE);

	o.entries = 1;
	o.related = 4;
	assert_true(torture_test_run_clean(&o).counts[TORTURE_OVERFLOWS]);
}

static void many_updaters_and_vms_are_survived(void **state)
{
	struct torture_options o = torture_test_options(S2_GATE_RANGE);

	o.vms = 4;
	o.vcpus = 1;
	o.updaters = 4;
	o.nonblock = 50;
	torture_test_run_clean(&o);
}

static void a_run_without_churn_has_nothing_to_invalidate(void **state)
{
	struct torture_options o = torture_test_options(S2_GATE_RANGE);

	o.related = 0;
	o.unrelated = 0;
	o.updaters = 0;
	o.seconds = 0.1;
	assert_int_equal(torture_test_run_clean(&o).counts[TORTURE_PAGES_REPLACED], 0);
}

/* Runs with @breaks until the violation turns up, so that no clock decides. */
static void assert_caught(unsigned int breaks, enum torture_violation kind)
{
	struct torture_options o = torture_test_options(S2_GATE_RANGE);

#if WITH_THREAD_SANITIZER
	print_message("ThreadSanitizer reports the broken protocol before torture does\n");
	skip();
#endif
	o.breaks = breaks;
	o.updaters = 2;
	o.seconds = 0.2;
	while (!torture_test_run(&o).violations[kind])
		o.seed++;
}

static void churn_without_brackets_is_caught_as_stale_reads(void **state)
{
	assert_caught(TORTURE_BREAK_BRACKETS, TORTURE_STALE_READ);
}

static void churn_without_brackets_is_caught_as_stale_writes(void **state)
{
	assert_caught(TORTURE_BREAK_BRACKETS, TORTURE_STALE_WRITE);
}

static void a_slot_that_was_not_deleted_is_caught(void **state)
{
	assert_caught(TORTURE_BREAK_DELETES, TORTURE_USE_AFTER_DELETE);
}

static void a_dirty_log_without_the_bits_is_caught(void **state)
{
	assert_caught(TORTURE_BREAK_DIRTY_LOG, TORTURE_DIRTY_LOST);
}

static void a_store_that_did_not_happen_is_caught(void **state)
{
	assert_caught(TORTURE_BREAK_STORES, TORTURE_LOST_WRITE);
}

static void the_updater_gets_through_endless_invalidations(void **state)
{
	struct torture_starve result;

	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++) {
		assert_int_equal(torture_starve((enum s2_gate)gate, 0.3, &result), 0);
		/* Under count at last when they have stopped. */
		assert_true(result.updates);
		assert_true(result.max_wait_ns);
	}
}

static uint64_t word_at(const struct torture_arena *arena, unsigned int page, unsigned int word)
{
	uint64_t value;

	memcpy(&value, arena->base + page * S2_PAGE_SIZE + word * 8, sizeof(value));
	return value;
}

static void a_word_tells_where_it_belongs(void **state)
{
	const struct torture_arena_expected expected = { .word = 5, .residue = 3, .page = 19 };
	struct torture_arena_expected any_window = expected;
	struct torture_arena arena;

	any_window.page = -1;
	assert_int_equal(torture_arena_create(&arena), 0);
	assert_int_equal(torture_arena_check(word_at(&arena, 19, 5), &expected), TORTURE_NONE);
	assert_int_equal(torture_arena_check(word_at(&arena, 19, 6), &expected),
			 TORTURE_WRONG_PAGE);
	assert_int_equal(torture_arena_check(word_at(&arena, 20, 5), &any_window),
			 TORTURE_WRONG_PAGE);
	assert_int_equal(torture_arena_check(word_at(&arena, 3, 5), &expected), TORTURE_WRONG_PAGE);
	assert_int_equal(torture_arena_check(word_at(&arena, 3, 5), &any_window), TORTURE_NONE);
	assert_int_equal(torture_arena_check(word_at(&arena, 19, 5) ^ 1, &expected), TORTURE_TORN);
	assert_int_equal(torture_arena_check(0, &expected), TORTURE_TORN);
	torture_arena_destroy(&arena);
}

static void a_replaced_page_is_told_from_its_successor(void **state)
{
	struct torture_arena_expected expected = { .word = 5, .residue = 3, .page = 19 };
	struct torture_arena arena;
	uint64_t old;

	assert_int_equal(torture_arena_create(&arena), 0);
	old = word_at(&arena, 19, 5);
	assert_int_equal(torture_arena_map_canaries(&arena, 19, 1), 0);
	assert_int_equal(torture_arena_canary_damage(&arena, 19, 1), 0);
	assert_int_equal(torture_arena_check(word_at(&arena, 19, 5), &expected),
			 TORTURE_STALE_READ);
	arena.base[19 * S2_PAGE_SIZE] ^= 1;
	assert_int_equal(torture_arena_canary_damage(&arena, 19, 1), 1);
	assert_int_equal(torture_arena_map_fresh(&arena, 19, 1), 0);
	assert_int_equal(arena.generation[19], 1);
	expected.last = 1;
	assert_int_equal(torture_arena_check(old, &expected), TORTURE_NONE);
	expected.first = 1;
	assert_int_equal(torture_arena_check(old, &expected), TORTURE_STALE_READ);
	assert_int_equal(torture_arena_check(word_at(&arena, 19, 5), &expected), TORTURE_NONE);
	torture_arena_destroy(&arena);
}

static void take_note(void *ctx, const char *threads)
{
	char *text = strdup(threads);

	__atomic_store_n((char **)ctx, text, __ATOMIC_RELEASE);
}

static void the_watchdog_tells_what_a_stuck_thread_holds(void **state)
{
	struct watch_record stuck = { .name = "stuck" }, done = { .name = "done" };
	struct watch_record *records[] = { &stuck, &done };
	char *text = NULL;
	const struct watchdog_config config = {
		.records = records,
		.nr_records = 2,
		.patience_s = 0.1,
		.deadlock = take_note,
		.ctx = &text,
	};
	struct watchdog *watchdog;

	watch_now(&stuck, WATCH_UPDATE, 3, 1);
	watch_hold(&stuck, WATCH_START, 0x1000, 0x3000);
	watch_hold(&stuck, WATCH_LOCK, 0, 0);
	watch_release(&stuck, WATCH_LOCK, 0, 0);
	watch_finish(&done);
	watchdog = watchdog_start(&config);
	assert_non_null(watchdog);
	while (!__atomic_load_n(&text, __ATOMIC_ACQUIRE))
		usleep(1000);
	watchdog_stop(watchdog);
	assert_non_null(strstr(text, "stuck: holds invalidation [0x1000, 0x3000) since "));
	assert_non_null(strstr(text, "; is in: memslot update of slot 3 of VM 1 since "));
	assert_null(strstr(text, "lock M"));
	assert_null(strstr(text, "done"));
	free(text);
}

static void wrong_options_are_one_line(void **state)
{
	static const char *const wrong[] = {
		"--nest --gate rwsem", "--nest --gate all",
		"--gate fast",	       "--vms 0",
		"--entries 3",	       "--seconds x",
		"--scenario other",    "--scenario starve --gate range",
		"--vcpus=-1",	       "word",
		"--provider other",    "--pool-size 16",
		"--tier-faults 1",     "--provider pool --nest",
		"--provider pool --scenario starve",
		"--provider pool --entries 4",
		"--window 10",         "--provider pool --window 101",
		"--provider pool --pool-size 0",
		"--provider pool --tier-faults 101",
	};
	char args[128], text[1024];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(args, sizeof(args), "%s 2>&1", wrong[i]);
		assert_int_equal(torture_test_program(args, text, sizeof(text)), 2);
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		assert_int_equal(strncmp(text, "stage2 torture: ", 16), 0);
	}
}

static void json_is_one_object_with_the_promised_keys(void **state)
{
	static const char *const keys[] = {
		"gate",
		"violations",
		"deadlock",
		"accesses",
		"faults",
		"retries",
		"invalidations",
		"elided",
		"memslot_updates",
		"seed",
		"updater_max_wait_ms",
		"violations_by_kind",
	};
	char text[8192];
	json_t *report;

	assert_int_equal(torture_test_program("--seconds 0.2 --seed 7 --json", text, sizeof(text)), 0);
	report = json_loads(text, 0, NULL);
	assert_non_null(report);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_non_null(json_object_get(report, keys[i]));
	assert_int_equal(json_integer_value(json_object_get(report, "seed")), 7);
	assert_string_equal(json_string_value(json_object_get(report, "gate")), "range");
	json_decref(report);
}

static void json_of_several_gates_is_a_list_of_runs(void **state)
{
	char text[16384];
	json_t *report;

	assert_int_equal(torture_test_program("--seconds 0.1 --gate all --json", text, sizeof(text)), 0);
	report = json_loads(text, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(report, "runs")), S2_NR_GATES);
	json_decref(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested_lock_deadlocks_rwsem_only),
		cmocka_unit_test(a_word_tells_where_it_belongs),
		cmocka_unit_test(a_replaced_page_is_told_from_its_successor),
		cmocka_unit_test(the_watchdog_tells_what_a_stuck_thread_holds),
		cmocka_unit_test(range_survives),
		cmocka_unit_test(always_survives),
		cmocka_unit_test(rwsem_survives),
		cmocka_unit_test(count_survives),
		cmocka_unit_test(nesting_is_survived_by_all_but_rwsem),
		cmocka_unit_test(a_full_table_of_invalidations_is_survived),
		cmocka_unit_test(many_updaters_and_vms_are_survived),
		cmocka_unit_test(a_run_without_churn_has_nothing_to_invalidate),
		cmocka_unit_test(churn_without_brackets_is_caught_as_stale_reads),
		cmocka_unit_test(churn_without_brackets_is_caught_as_stale_writes),
		cmocka_unit_test(a_slot_that_was_not_deleted_is_caught),
		cmocka_unit_test(a_dirty_log_without_the_bits_is_caught),
		cmocka_unit_test(a_store_that_did_not_happen_is_caught),
		cmocka_unit_test(the_updater_gets_through_endless_invalidations),
		cmocka_unit_test(wrong_options_are_one_line),
		cmocka_unit_test(json_is_one_object_with_the_promised_keys),
		cmocka_unit_test(json_of_several_gates_is_a_list_of_runs),
	};
	torture_test_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
