/* SPDX-License-Identifier: MIT */
/* The interval index that is read under RCU: what its updates promise, with and without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/rcu.h"
#include "base/rcu_itree.h"
#include "counting_allocator.h"

/* Enough for three levels. */
#define MANY 400

struct fixture {
	struct counting_allocator memory;
	struct s2_rcu_itree tree;
};

static int create(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	counting_allocator_init(&f->memory);
	*state = f;
	return 0;
}

static int destroy(void **state)
{
	free(*state);
	return 0;
}

/* The n-th of intervals that lie apart; its value is what it is found by. */
static struct s2_itree_iv nth(uintptr_t n)
{
	return (struct s2_itree_iv){ .start = n * 20, .end = n * 20 + 10, .value = (void *)(n + 1) };
}

static int add(struct fixture *f, unsigned n)
{
	const struct s2_itree_iv iv = nth(n);

	return s2_rcu_itree_add(&f->tree, &f->memory.ops, &iv);
}

static void add_first(struct fixture *f, unsigned nr)
{
	for (unsigned n = 0; n < nr; n++)
		assert_int_equal(add(f, n), 0);
}

static void take_away(struct fixture *f, unsigned n)
{
	const struct s2_itree_iv iv = nth(n);

	s2_rcu_itree_remove(&f->tree, &f->memory.ops, &iv);
}

static void take_away_first(struct fixture *f, unsigned nr)
{
	for (unsigned n = 0; n < nr; n++)
		take_away(f, n);
}

static bool has(struct fixture *f, unsigned n)
{
	const struct s2_itree_iv iv = nth(n);
	void *value;

	s2_rcu_read_lock();
	value = s2_itree_lookup(s2_rcu_itree_root(&f->tree), iv.start + 5);
	s2_rcu_read_unlock();
	return value == iv.value;
}

static void test_what_was_added_is_found(void **state)
{
	struct fixture *f = *state;

	assert_false(has(f, 0));
	add_first(f, MANY);
	for (unsigned n = 0; n < MANY; n++)
		assert_true(has(f, n));
	assert_false(has(f, MANY));
	take_away_first(f, MANY);
}

static void test_what_was_removed_is_not_found(void **state)
{
	struct fixture *f = *state;

	add_first(f, MANY);
	for (unsigned n = 0; n < MANY; n += 2)
		take_away(f, n);
	for (unsigned n = 0; n < MANY; n++)
		assert_int_equal(has(f, n), n % 2);
	for (unsigned n = 1; n < MANY; n += 2)
		take_away(f, n);
}

static void test_an_empty_one_has_no_memory(void **state)
{
	struct fixture *f = *state;

	assert_null(s2_rcu_itree_root(&f->tree));
	add_first(f, MANY);
	assert_int_not_equal(f->memory.blocks, 0);
	take_away_first(f, MANY);
	assert_null(s2_rcu_itree_root(&f->tree));
	assert_int_equal(f->memory.blocks, 0);
}

/* Whatever the last addition took: it may have been more nodes than ever. */
static void test_a_removal_takes_no_memory(void **state)
{
	struct fixture *f = *state;

	for (unsigned nr = 1; nr <= 64; nr++) {
		add_first(f, nr);
		counting_allocator_fail_all(&f->memory, true);
		take_away_first(f, nr);
		counting_allocator_fail_all(&f->memory, false);
	}
	assert_int_equal(f->memory.failed, 0);
	assert_int_equal(f->memory.blocks, 0);
}

static void test_removals_from_the_middle_take_no_memory(void **state)
{
	struct fixture *f = *state;

	add_first(f, MANY);
	counting_allocator_fail_all(&f->memory, true);
	/* Outwards: nodes are joined on both sides. */
	for (unsigned i = 0; i < MANY / 2; i++) {
		take_away(f, MANY / 2 + i);
		take_away(f, MANY / 2 - 1 - i);
	}
	assert_int_equal(f->memory.failed, 0);
	assert_int_equal(f->memory.blocks, 0);
}

/* With each of its allocations failing in turn, until none does. */
static void add_at_last(struct fixture *f, unsigned n)
{
	const struct s2_itree_node *root = s2_rcu_itree_root(&f->tree);
	unsigned long blocks = f->memory.blocks;
	long failing = 1;

	for (;;) {
		counting_allocator_fail_at(&f->memory, failing++);
		if (!add(f, n))
			break;
		assert_ptr_equal(s2_rcu_itree_root(&f->tree), root);
		assert_int_equal(f->memory.blocks, blocks);
	}
	counting_allocator_fail_at(&f->memory, 0);
}

static void test_an_addition_without_memory_changes_nothing(void **state)
{
	struct fixture *f = *state;

	for (unsigned n = 0; n < 40; n++) {
		add_at_last(f, n);
		assert_true(has(f, n));
	}
	assert_int_not_equal(f->memory.failed, 0);
	take_away_first(f, 40);
	assert_int_equal(f->memory.blocks, 0);
}

static void test_a_failure_leaves_what_a_removal_needs(void **state)
{
	struct fixture *f = *state;

	add_first(f, MANY);
	counting_allocator_fail_all(&f->memory, true);
	assert_int_equal(add(f, MANY), -ENOMEM);
	take_away_first(f, MANY);
	assert_int_equal(f->memory.blocks, 0);
}

/* Looks again and again at what is always there, and at what comes and goes. */
struct reader {
	struct fixture *f;
	_Atomic bool end;
	_Atomic unsigned rounds;
	unsigned missed;
	pthread_t thread;
};

static void *read_all(void *arg)
{
	struct reader *reader = arg;

	while (!atomic_load(&reader->end)) {
		for (unsigned n = 0; n < MANY; n++)
			reader->missed += !has(reader->f, n) && n % 2 == 0;
		atomic_fetch_add(&reader->rounds, 1);
	}
	return NULL;
}

static void change_for_a_while(struct fixture *f, const struct reader *reader)
{
	while (atomic_load(&reader->rounds) < 50) {
		for (unsigned n = 1; n < MANY; n += 2)
			take_away(f, n);
		for (unsigned n = 1; n < MANY; n += 2)
			assert_int_equal(add(f, n), 0);
	}
}

static void test_readers_find_all_that_stays(void **state)
{
	struct fixture *f = *state;
	struct reader reader = { .f = f };

	add_first(f, MANY);
	assert_int_equal(pthread_create(&reader.thread, NULL, read_all, &reader), 0);
	change_for_a_while(f, &reader);
	atomic_store(&reader.end, true);
	assert_int_equal(pthread_join(reader.thread, NULL), 0);
	assert_int_equal(reader.missed, 0);
	take_away_first(f, MANY);
}

/* Removes the first, and then tells so. */
struct remover {
	struct fixture *f;
	_Atomic bool done;
	pthread_t thread;
};

static void *remove_first(void *arg)
{
	struct remover *remover = arg;

	take_away(remover->f, 0);
	atomic_store(&remover->done, true);
	return NULL;
}

static void test_a_removal_waits_for_who_may_have_found_it(void **state)
{
	struct fixture *f = *state;
	struct remover remover = { .f = f };
	const struct s2_itree_node *before;

	add_first(f, MANY);
	s2_rcu_read_lock();
	before = s2_rcu_itree_root(&f->tree);
	assert_int_equal(pthread_create(&remover.thread, NULL, remove_first, &remover), 0);
	while (s2_rcu_itree_root(&f->tree) == before)
		sched_yield();
	assert_false(has(f, 0));
	assert_ptr_equal(s2_itree_lookup(before, 5), nth(0).value);
	assert_false(atomic_load(&remover.done));
	s2_rcu_read_unlock();
	assert_int_equal(pthread_join(remover.thread, NULL), 0);
	for (unsigned n = 1; n < MANY; n++)
		take_away(f, n);
}

#define T(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_was_added_is_found),
		T(test_what_was_removed_is_not_found),
		T(test_an_empty_one_has_no_memory),
		T(test_a_removal_takes_no_memory),
		T(test_removals_from_the_middle_take_no_memory),
		T(test_an_addition_without_memory_changes_nothing),
		T(test_a_failure_leaves_what_a_removal_needs),
		T(test_readers_find_all_that_stays),
		T(test_a_removal_waits_for_who_may_have_found_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
