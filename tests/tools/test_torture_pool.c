/* SPDX-License-Identifier: MIT */
/*
 * Torture on a pool, tested: it finds nothing in the library, everything it is made of happens,
 * and it finds what it is told wrongly.
 */
#include "sanitized.h"
#include "torture_pool_page.h"
#include "torture_runs.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#define STAMPED_PAGE 3u

static struct torture_options pool_options(enum s2_gate gate)
{
	struct torture_options o = torture_test_options(gate);

	o.provider = TORTURE_POOL;
	return o;
}

static void run_gate(enum s2_gate gate)
{
	const struct torture_options o = pool_options(gate);
	const struct torture_report report = torture_test_run_clean(&o);

	assert_int_equal(report.provider, TORTURE_POOL);
	/* These happen before the threads begin. */
	assert_true(report.counts[TORTURE_HOST_ACCESSES]);
	assert_true(report.counts[TORTURE_SWAP_OUTS]);
	/* And this at the end. */
	assert_true(report.counts[TORTURE_SWAP_INS]);
	assert_true(report.counts[TORTURE_PAGES_CHECKED]);
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

/*
 * A gate and a seed at a time until it has, so that no clock decides. A small pool runs out of
 * memory sooner, a large one has 2 MiB to collapse.
 */
static void everything_happens(void **state)
{
	static const enum torture_count all[] = {
		TORTURE_GUEST_ERRORS,	TORTURE_DISCARDS,	  TORTURE_CLONES,
		TORTURE_KILLED_SEEN,	TORTURE_LIMITS_SET,	  TORTURE_TIER_FAULTS,
		TORTURE_TIER_FULL,	TORTURE_TIER_DELAYS,	  TORTURE_TIER_ERRORS,
		TORTURE_ZERO_PAGES,	TORTURE_READ_AHEAD,	  TORTURE_READ_AHEAD_USED,
		TORTURE_DIRECT_RECLAIMS, TORTURE_BACKGROUND_RECLAIMS, TORTURE_MERGED,
		TORTURE_COW_BREAKS,	TORTURE_MIGRATED,	  TORTURE_COLLAPSED,
		TORTURE_SPLIT,		TORTURE_OOM_KILLS,	  TORTURE_MEMSLOT_UPDATES,
		TORTURE_WINDOW_ACCESSES, TORTURE_WINDOW_FAULTS,
	};
	const size_t nr = sizeof(all) / sizeof(all[0]);
	bool happened[TORTURE_NR_COUNTS] = { false };
	struct torture_options o = pool_options(S2_GATE_RANGE);
	size_t missing;

	do {
		const struct torture_report report = torture_test_run_clean(&o);

		missing = 0;
		for (size_t i = 0; i < nr; i++) {
			happened[all[i]] |= report.counts[all[i]] > 0;
			missing += !happened[all[i]];
		}
		if (o.pool_size == torture_defaults.pool_size)
			o.pool_size = UINT64_C(1) << 20;
		else
			o.pool_size = torture_defaults.pool_size;
		o.gate = o.seed / 2 % S2_NR_GATES;
		o.seed++;
	} while (missing);
}

static void without_faults_nobody_gets_an_error(void **state)
{
	struct torture_options o = pool_options(S2_GATE_RANGE);
	struct torture_report report;

	o.tier_faults = 0;
	report = torture_test_run_clean(&o);
	assert_int_equal(report.counts[TORTURE_GUEST_ERRORS], 0);
	assert_int_equal(report.counts[TORTURE_TIER_ERRORS], 0);
	assert_int_equal(report.counts[TORTURE_OOM_KILLS], 0);
}

/* Of all guests' threads, so many that no vCPU is left, and none. */
static void run_with_windows(enum s2_gate gate, unsigned int window)
{
	struct torture_options o = pool_options(gate);
	struct torture_report report;

	o.window = window;
	report = torture_test_run_clean(&o);
	assert_int_equal(report.counts[TORTURE_WINDOW_ACCESSES] > 0, window > 0);
	assert_int_equal(report.counts[TORTURE_WINDOW_FAULTS] > 0, window > 0);
	assert_int_equal(report.counts[TORTURE_FAULTS] > 0, window < 100);
}

static void windows_alone_survive_range(void **state)
{
	run_with_windows(S2_GATE_RANGE, 100);
}

static void windows_alone_survive_rwsem(void **state)
{
	run_with_windows(S2_GATE_RWSEM, 100);
}

static void vcpus_alone_survive(void **state)
{
	run_with_windows(S2_GATE_RANGE, 0);
}

static void many_vms_on_a_small_pool_are_survived(void **state)
{
	struct torture_options o = pool_options(S2_GATE_RANGE);

	o.vms = 6;
	o.vcpus = 1;
	o.updaters = 3;
	o.pool_size = UINT64_C(1) << 20;
	torture_test_run_clean(&o);
}

static void a_run_without_vcpus_and_churn_is_one_too(void **state)
{
	struct torture_options o = pool_options(S2_GATE_RANGE);

	o.vcpus = 0;
	o.unrelated = 0;
	o.related = 0;
	o.updaters = 0;
	o.seconds = 0.1;
	torture_test_run_clean(&o);
}

/* Runs with @breaks until the violation turns up, whoever it is that looks. */
static void assert_caught(unsigned int breaks, enum torture_violation kind)
{
	struct torture_options o = pool_options(S2_GATE_RANGE);

	o.breaks = breaks;
	o.pool_size = UINT64_C(1) << 20;
	o.seconds = 0.2;
	while (!torture_test_run(&o).violations[kind])
		o.seed++;
}

static void a_store_that_did_not_happen_is_caught_as_lost(void **state)
{
	assert_caught(TORTURE_BREAK_STORES, TORTURE_LOST);
}

static void a_discard_taken_for_a_write_is_caught_as_lost(void **state)
{
	assert_caught(TORTURE_BREAK_DISCARDS, TORTURE_LOST);
}

static void a_clone_of_another_page_is_caught_as_mixed_up(void **state)
{
	assert_caught(TORTURE_BREAK_CLONES, TORTURE_MIXED_UP);
}

static void a_wrong_bit_is_caught_as_damaged(void **state)
{
	assert_caught(TORTURE_BREAK_BYTES, TORTURE_DAMAGED);
}

/* One that is words which tell where they belong, from @after on. */
static uint64_t stamped_generation(unsigned int page, uint64_t after)
{
	uint64_t mine[PAGE_WORDS], other[PAGE_WORDS], generation = after;

	do {
		generation = torture_pool_next_whole(generation);
		torture_pool_fill(mine, 1, page, generation);
		torture_pool_fill(other, 2, page, generation);
		/* Not noise: there what differs between two guests is more than a few bits. */
	} while (mine[0] == other[0] || mine[0] >> 52 != 1 || mine[1] >> 52 != 1);
	return generation;
}

static enum torture_violation check(const uint64_t *words, uint64_t first, uint64_t last)
{
	const struct torture_pool_claim claim = { 1, STAMPED_PAGE, first, last };
	uint64_t wrong;

	return torture_pool_check(words, 0, PAGE_WORDS, &claim, 1, &wrong);
}

static void a_page_tells_what_has_become_of_it(void **state)
{
	uint64_t g = stamped_generation(STAMPED_PAGE, 64);
	uint64_t next = stamped_generation(STAMPED_PAGE, g);
	uint64_t words[PAGE_WORDS], other[PAGE_WORDS];

	torture_pool_fill(words, 1, STAMPED_PAGE, g);
	assert_int_equal(check(words, g, g), TORTURE_NONE);
	assert_int_equal(check(words, g, next), TORTURE_NONE);
	assert_int_equal(check(words, next, next), TORTURE_LOST);
	torture_pool_fill(words, 1, STAMPED_PAGE, next);
	assert_int_equal(check(words, g, g), TORTURE_MIXED_UP);
	torture_pool_fill(other, 1, STAMPED_PAGE, g);
	memcpy(words, other, sizeof(words) / 2);
	assert_int_equal(check(words, g, next), TORTURE_NONE);
	assert_int_equal(check(words, next, next), TORTURE_LOST);
	torture_pool_fill(words, 2, STAMPED_PAGE, g);
	assert_int_equal(check(words, g, g), TORTURE_MIXED_UP);
	torture_pool_fill(words, 1, STAMPED_PAGE, g);
	words[7] ^= 1;
	assert_int_equal(check(words, g, g), TORTURE_DAMAGED);
	words[7] = 0;
	assert_int_equal(check(words, g, g), TORTURE_LOST);
	words[7] = words[8];
	assert_int_equal(check(words, g, g), TORTURE_MIXED_UP);
}

static void a_changed_word_is_part_of_its_generation(void **state)
{
	uint64_t whole = stamped_generation(STAMPED_PAGE, 64);
	uint64_t g = torture_pool_next_word(whole), words[PAGE_WORDS], value;
	unsigned int word = torture_pool_changed_word(STAMPED_PAGE, g, 1, &value);

	torture_pool_fill(words, 1, STAMPED_PAGE, whole);
	assert_int_equal(check(words, g, g), TORTURE_LOST);
	words[word] = value;
	assert_int_equal(check(words, g, g), TORTURE_NONE);
	assert_int_equal(check(words, whole, whole), TORTURE_MIXED_UP);
}

static void a_page_of_zeroes_is_all_zeroes(void **state)
{
	static const uint64_t zeroes[PAGE_WORDS];
	uint64_t g = torture_pool_next_zero(STAMPED_PAGE, 64), words[PAGE_WORDS];

	torture_pool_fill(words, 1, STAMPED_PAGE, g);
	assert_memory_equal(words, zeroes, sizeof(words));
	torture_pool_fill(words, 1, STAMPED_PAGE, 0);
	assert_memory_equal(words, zeroes, sizeof(words));
}

static void json_tells_the_provider_and_what_never_happened(void **state)
{
	char text[16384];
	json_t *report, *never;

	assert_int_equal(torture_test_program(
				 "--provider pool --tier-faults 0 --seconds 0.1 --json", text,
				 sizeof(text)),
			 0);
	report = json_loads(text, 0, NULL);
	assert_non_null(report);
	assert_string_equal(json_string_value(json_object_get(report, "provider")), "pool");
	assert_non_null(json_object_get(report, "swap_outs"));
	assert_null(json_object_get(report, "dirty_logs"));
	never = json_object_get(report, "never_happened");
	assert_true(json_is_array(never));
	assert_true(json_array_size(never));
	json_decref(report);
}

static void the_table_says_what_never_happened(void **state)
{
	char text[16384];

	assert_int_equal(torture_test_program("--provider pool --tier-faults 0 --seconds 0.1", text,
					      sizeof(text)), 0);
	assert_non_null(strstr(text, "range: never happened: "));
	assert_non_null(strstr(text, "tier_faults"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_tells_what_has_become_of_it),
		cmocka_unit_test(a_changed_word_is_part_of_its_generation),
		cmocka_unit_test(a_page_of_zeroes_is_all_zeroes),
		cmocka_unit_test(range_survives),
		cmocka_unit_test(always_survives),
		cmocka_unit_test(rwsem_survives),
		cmocka_unit_test(count_survives),
		cmocka_unit_test(everything_happens),
		cmocka_unit_test(without_faults_nobody_gets_an_error),
		cmocka_unit_test(windows_alone_survive_range),
		cmocka_unit_test(windows_alone_survive_rwsem),
		cmocka_unit_test(vcpus_alone_survive),
		cmocka_unit_test(many_vms_on_a_small_pool_are_survived),
		cmocka_unit_test(a_run_without_vcpus_and_churn_is_one_too),
		cmocka_unit_test(a_store_that_did_not_happen_is_caught_as_lost),
		cmocka_unit_test(a_discard_taken_for_a_write_is_caught_as_lost),
		cmocka_unit_test(a_clone_of_another_page_is_caught_as_mixed_up),
		cmocka_unit_test(a_wrong_bit_is_caught_as_damaged),
		cmocka_unit_test(json_tells_the_provider_and_what_never_happened),
		cmocka_unit_test(the_table_says_what_never_happened),
	};

	torture_test_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
