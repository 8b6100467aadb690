/* SPDX-License-Identifier: MIT */
/*
 * The order in which a replay issues events, with events that return when the test says so: an
 * update that waits as it would in a gate, and what may and may not go on meanwhile. What must not
 * be held up is what another event waits for: were it held up, the test would hang.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/replay_order.h"
#include "replay_traces.h"

#define NR_EVENTS 32

/* What a run did: when each event began and returned, on one count. */
struct log {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int clock;
	unsigned int began[NR_EVENTS];	  /* 0: did not */
	unsigned int returned[NR_EVENTS]; /* 0: did not */
	size_t waits_for[NR_EVENTS];	  /* the event returns only after that one has; 0: at once */
};

static void log_init(struct log *log)
{
	memset(log, 0, sizeof(*log));
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->changed, NULL);
}

static bool run(void *ctx, size_t event)
{
	struct log *log = ctx;

	pthread_mutex_lock(&log->lock);
	log->began[event] = ++log->clock;
	while (log->waits_for[event] && !log->returned[log->waits_for[event]])
		pthread_cond_wait(&log->changed, &log->lock);
	log->returned[event] = ++log->clock;
	pthread_cond_broadcast(&log->changed);
	pthread_mutex_unlock(&log->lock);
	return true;
}

static void play_with(const struct order_options *options, const char *text, struct log *log)
{
	struct replay_plan *plan = plan_of(text);
	size_t stuck;

	assert_true(plan->trace->nr_events < NR_EVENTS);
	assert_int_equal(order_play(plan, options, run, log, &stuck), 0);
	for (size_t i = 0; i < plan->trace->nr_events; i++)
		assert_true(log->returned[i]);
	free_plan(plan);
}

static void play(const char *text, struct log *log)
{
	const struct order_options options = { 0 };

	play_with(&options, text, log);
}

static void test_nothing_is_played_at_once(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	play("", &log);
	assert_int_equal(log.clock, 0);
}

static void test_what_cannot_wait_runs_one_by_one_as_recorded(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	play(CREATE_VM("4")				   /* */
	     "1 1.0 " UNMAP(FREE) UNFINISHED		   /* 0 */
	     "2 1.0 " UNMAP(MEM("1")) UNFINISHED	   /* 1 */
	     "3 1.0 " UNMAP(FREE) ")" DONE		   /* 2, 3 */
	     "1 1.0 " UNMAPPED				   /* 4 */
	     "2 1.0 " UNMAPPED				   /* 5 */
	     "2 1.0 " ADD("1") DONE			   /* 6 */
	     "3 1.0 " UNMAP(MEM("1")) ")" DONE,		   /* 7, 8 */
	     &log);
	for (unsigned int i = 0; i < 9; i++) {
		assert_int_equal(log.began[i], 2 * i + 1);
		assert_int_equal(log.returned[i], 2 * i + 2);
	}
}

static void test_an_update_may_wait_for_a_later_end(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	log.waits_for[1] = 6;
	play(CREATE_VM("4")				   /* */
	     "1 1.0 " UNMAP(MEM("1")) UNFINISHED	   /* 0 */
	     "2 1.0 " ADD("1") DONE			   /* 1 */
	     "3 1.0 " UNMAP(FREE) ")" DONE		   /* 2, 3 */
	     "3 1.0 " UNMAP(FREE) ")" DONE		   /* 4, 5 */
	     "1 1.0 " UNMAPPED,				   /* 6 */
	     &log);
	assert_true(log.returned[5] < log.began[6]);
	assert_true(log.returned[6] < log.returned[1]);
}

static void test_a_start_in_a_memslot_being_added_waits_for_it(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	log.waits_for[1] = 6;
	play(CREATE_VM("4")				   /* */
	     "1 1.0 " UNMAP(FREE) UNFINISHED		   /* 0 */
	     "2 1.0 " ADD("1") DONE			   /* 1 */
	     "3 1.0 " UNMAP(MEM("1")) ")" DONE		   /* 2, 3: held up */
	     "4 1.0 " UNMAP(MEM("2")) ")" DONE		   /* 4, 5: not */
	     "1 1.0 " UNMAPPED				   /* 6 */
	     "3 1.0 " UNMAP(FREE) ")" DONE,		   /* 7, 8 */
	     &log);
	assert_true(log.returned[5] < log.returned[6]);
	assert_true(log.returned[1] < log.began[2]);
	assert_true(log.returned[3] < log.began[7]);
}

static void test_a_start_in_a_memslot_being_deleted_waits_for_it(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	log.waits_for[2] = 5;
	play(CREATE_VM("4")				   /* */
	     "2 1.0 " ADD("1") DONE			   /* 0 */
	     "1 1.0 " UNMAP(FREE) UNFINISHED		   /* 1 */
	     "2 1.0 " DELETE("1") DONE			   /* 2 */
	     "3 1.0 " UNMAP(MEM("1")) ")" DONE		   /* 3, 4: held up */
	     "1 1.0 " UNMAPPED,				   /* 5 */
	     &log);
	assert_true(log.returned[2] < log.began[3]);
}

/* As under the rwsem: the start is behind a writer, and is judged when it returns. */
static void test_an_update_waits_for_an_earlier_start_in_its_memslot(void **state)
{
	const struct order_options options = { .starts_wait = true };
	struct log log;

	(void)state;
	log_init(&log);
	log.waits_for[1] = 5;
	log.waits_for[2] = 1;
	log.waits_for[5] = 4;
	play_with(&options, CREATE_VM("4")				   /* */
	     "1 1.0 " UNMAP(FREE) UNFINISHED		   /* 0 */
	     "2 1.0 " ADD("1") DONE			   /* 1 */
	     "3 1.0 " UNMAP(MEM("2")) UNFINISHED	   /* 2 */
	     "4 1.0 " ADD("2") DONE			   /* 3: held up by 2 */
	     "5 1.0 " ADD("3") DONE			   /* 4: not */
	     "1 1.0 " UNMAPPED				   /* 5 */
	     "3 1.0 " UNMAPPED,				   /* 6 */
	     &log);
	assert_true(log.returned[2] < log.began[3]);
}

static void test_updates_of_one_slot_keep_their_order(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	log.waits_for[1] = 5;
	log.waits_for[5] = 3;
	play(CREATE_VM("4")				   /* */
	     "1 1.0 " UNMAP(MEM("1")) UNFINISHED	   /* 0 */
	     "2 1.0 " ADD("1") DONE			   /* 1 */
	     "3 1.0 " DELETE("1") DONE			   /* 2: held up by 1 */
	     "4 1.0 " ADD("2") DONE			   /* 3: not */
	     "5 1.0 " SLOT("4", "9", "0x10000", "4096", "5") DONE /* 4: where slot 1 was, after 2 */
	     "1 1.0 " UNMAPPED,				   /* 5 */
	     &log);
	assert_true(log.returned[1] < log.began[2]);
	assert_true(log.returned[2] < log.began[4]);
}

static void test_another_vm_is_not_held_up(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	log.waits_for[1] = 3;
	log.waits_for[3] = 2;
	play(CREATE_VM("4") CREATE_VM("5")		   /* */
	     "1 1.0 " UNMAP(MEM("1")) UNFINISHED	   /* 0 */
	     "2 1.0 " ADD("1") DONE			   /* 1 */
	     "3 1.0 " SLOT("5", "1", "0x10000", "4096", "5") DONE /* 2 */
	     "1 1.0 " UNMAPPED,				   /* 3 */
	     &log);
	assert_true(log.returned[3] < log.returned[1]);
}

#define MREMAP "mremap(" FREE ", 4096, 4096, MREMAP_MAYMOVE|MREMAP_FIXED, 0x7fee00000000"
#define MREMAPPED "<... mremap resumed>) = 0x7fee00000000\n"

static void test_two_ranges_start_with_no_update_under_way(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	log.waits_for[1] = 3;
	play(CREATE_VM("4")				   /* */
	     "1 1.0 " UNMAP(MEM("1")) UNFINISHED	   /* 0 */
	     "2 1.0 " ADD("1") DONE			   /* 1 */
	     "3 1.0 " MREMAP UNFINISHED			   /* 2: held up by 1 */
	     "1 1.0 " UNMAPPED				   /* 3 */
	     "4 1.0 " ADD("2") DONE			   /* 4: held up by 2 */
	     "3 1.0 " MREMAPPED,			   /* 5 */
	     &log);
	assert_true(log.returned[1] < log.began[2]);
	assert_true(log.returned[2] < log.began[4]);
}

static void test_a_vm_closes_after_the_starts_before_it(void **state)
{
	struct log log;

	(void)state;
	log_init(&log);
	play(CREATE_VM("4")				   /* */
	     "1 1.0 " ADD("1") DONE			   /* 0 */
	     "1 1.0 " UNMAP(MEM("1")) ")" DONE		   /* 1, 2 */
	     CREATE_VM("4")				   /* 3: the first is gone */
	     "1 1.0 " UNMAP(MEM("1")) ")" DONE,		   /* 4, 5 */
	     &log);
	assert_true(log.returned[2] < log.began[3]);
	assert_true(log.returned[3] < log.began[4]);
}

static void test_recorded_time_keeps_the_order(void **state)
{
	const struct order_options options = { .speed = 1000 };
	struct replay_plan *plan = plan_of("1 1.0 " UNMAP(FREE) ")" DONE
					   "2 2.0 " UNMAP(FREE) ")" DONE
					   "1 5.5 " UNMAP(FREE) ")" DONE);
	struct log log;
	size_t stuck;

	(void)state;
	log_init(&log);
	assert_int_equal(order_play(plan, &options, run, &log, &stuck), 0);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(log.began[i], 2 * i + 1);
	free_plan(plan);
}

static bool fail_first(void *ctx, size_t event)
{
	run(ctx, event);
	return event != 0;
}

/* It would take a thousand years. */
static void test_after_a_failure_the_pace_does_not_matter(void **state)
{
	const struct order_options options = { .speed = 1e-9 };
	struct replay_plan *plan = plan_of("1 1.0 " UNMAP(FREE) ")" DONE
					   "2 40.0 " UNMAP(FREE) ")" DONE);
	struct log log;
	size_t stuck;

	(void)state;
	log_init(&log);
	assert_int_equal(order_play(plan, &options, fail_first, &log, &stuck), 0);
	assert_int_equal(log.clock, 8);
	free_plan(plan);
}

/* A watchdog's test: the second event never returns, and the thread stays in it. */
static void test_a_stall_names_the_event(void **state)
{
	static struct log log; /* used by the thread that stays */
	const struct order_options options = { .stall_ns = 50000000 };
	struct replay_plan *plan = plan_of("1 1.0 " UNMAP(FREE) ")" DONE
					   "2 1.0 " UNMAP(FREE) ")" DONE);
	size_t stuck;

	(void)state;
	log_init(&log);
	log.waits_for[2] = 3;
	assert_int_equal(order_play(plan, &options, run, &log, &stuck), -ETIMEDOUT);
	assert_int_equal(stuck, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_played_at_once),
		cmocka_unit_test(test_what_cannot_wait_runs_one_by_one_as_recorded),
		cmocka_unit_test(test_an_update_may_wait_for_a_later_end),
		cmocka_unit_test(test_a_start_in_a_memslot_being_added_waits_for_it),
		cmocka_unit_test(test_a_start_in_a_memslot_being_deleted_waits_for_it),
		cmocka_unit_test(test_an_update_waits_for_an_earlier_start_in_its_memslot),
		cmocka_unit_test(test_updates_of_one_slot_keep_their_order),
		cmocka_unit_test(test_another_vm_is_not_held_up),
		cmocka_unit_test(test_two_ranges_start_with_no_update_under_way),
		cmocka_unit_test(test_a_vm_closes_after_the_starts_before_it),
		cmocka_unit_test(test_recorded_time_keeps_the_order),
		cmocka_unit_test(test_after_a_failure_the_pace_does_not_matter),
		cmocka_unit_test(test_a_stall_names_the_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
