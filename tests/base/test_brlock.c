/* SPDX-License-Identifier: MIT */
/*
 * The lock with a side for each reader: who gets in, that those who wait sleep, and
 * that nobody is in who should not be, over many short stays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/brlock.h"
#include "task_state.h"

struct visitor {
	struct s2_brlock *lock;
	struct s2_brlock_reader reader;
	bool writes;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool inside;
	_Atomic bool may_leave;
};

static void add_reader(struct s2_brlock *lock, struct s2_brlock_reader *reader)
{
	s2_br_write_lock(lock);
	s2_brlock_add_reader(lock, reader);
	s2_br_write_unlock(lock);
}

static void *visit(void *arg)
{
	struct visitor *visitor = arg;

	atomic_store(&visitor->tid, gettid());
	if (visitor->writes)
		s2_br_write_lock(visitor->lock);
	else
		s2_br_read_lock(visitor->lock, &visitor->reader);
	atomic_store(&visitor->inside, true);
	until_true(&visitor->may_leave);
	if (visitor->writes)
		s2_br_write_unlock(visitor->lock);
	else
		s2_br_read_unlock(visitor->lock, &visitor->reader);
	return NULL;
}

static void arrive(struct visitor *visitor)
{
	assert_int_equal(pthread_create(&visitor->thread, NULL, visit, visitor), 0);
}

static void arrive_and_sleep(struct visitor *visitor)
{
	arrive(visitor);
	until_asleep(visitor->thread, &visitor->tid);
	assert_false(atomic_load(&visitor->inside));
}

static void leave(struct visitor *visitor)
{
	atomic_store(&visitor->may_leave, true);
	pthread_join(visitor->thread, NULL);
}

static void test_readers_share(void **state)
{
	struct s2_brlock lock;
	struct visitor a = { .lock = &lock }, b = { .lock = &lock };

	s2_brlock_init(&lock, S2_RANK_MMU_LOCK);
	add_reader(&lock, &a.reader);
	add_reader(&lock, &b.reader);
	arrive(&a);
	arrive(&b);
	until_true(&a.inside);
	until_true(&b.inside);
	assert_false(s2_br_write_trylock(&lock));
	leave(&a);
	assert_false(s2_br_write_trylock(&lock));
	leave(&b);
	assert_true(s2_br_write_trylock(&lock));
	s2_br_write_unlock(&lock);
}

static void test_a_writer_sleeps_until_the_last_reader_has_left(void **state)
{
	struct s2_brlock lock;
	struct visitor a = { .lock = &lock }, b = { .lock = &lock };
	struct visitor writer = { .lock = &lock, .writes = true };

	s2_brlock_init(&lock, S2_RANK_MMU_LOCK);
	add_reader(&lock, &a.reader);
	add_reader(&lock, &b.reader);
	arrive(&a);
	arrive(&b);
	until_true(&a.inside);
	until_true(&b.inside);
	arrive_and_sleep(&writer);
	leave(&a);
	until_asleep(writer.thread, &writer.tid);
	assert_false(atomic_load(&writer.inside));
	leave(&b);
	until_true(&writer.inside);
	leave(&writer);
}

static void test_a_reader_sleeps_until_the_writer_has_left(void **state)
{
	struct s2_brlock lock;
	struct visitor reader = { .lock = &lock };

	s2_brlock_init(&lock, S2_RANK_MMU_LOCK);
	add_reader(&lock, &reader.reader);
	s2_br_write_lock(&lock);
	arrive_and_sleep(&reader);
	s2_br_write_unlock(&lock);
	until_true(&reader.inside);
	leave(&reader);
}

static void test_a_waiting_writer_stops_new_readers(void **state)
{
	struct s2_brlock lock;
	struct visitor first = { .lock = &lock }, second = { .lock = &lock };
	struct visitor writer = { .lock = &lock, .writes = true };

	s2_brlock_init(&lock, S2_RANK_MMU_LOCK);
	add_reader(&lock, &first.reader);
	add_reader(&lock, &second.reader);
	arrive(&first);
	until_true(&first.inside);
	arrive_and_sleep(&writer);
	arrive_and_sleep(&second);
	leave(&first);
	until_true(&writer.inside);
	assert_false(atomic_load(&second.inside));
	leave(&writer);
	until_true(&second.inside);
	leave(&second);
}

static void test_a_failed_trylock_leaves_the_lock_open_for_readers(void **state)
{
	struct s2_brlock lock;
	struct visitor first = { .lock = &lock }, second = { .lock = &lock };

	s2_brlock_init(&lock, S2_RANK_MMU_LOCK);
	add_reader(&lock, &first.reader);
	add_reader(&lock, &second.reader);
	arrive(&first);
	until_true(&first.inside);
	assert_false(s2_br_write_trylock(&lock));
	arrive(&second);
	until_true(&second.inside);
	leave(&first);
	leave(&second);
}

static void test_a_reader_that_was_removed_is_not_waited_for(void **state)
{
	struct s2_brlock_reader stays = { 0 }, goes = { 0 };
	struct s2_brlock lock;

	s2_brlock_init(&lock, S2_RANK_MMU_LOCK);
	add_reader(&lock, &goes);
	add_reader(&lock, &stays);
	s2_br_write_lock(&lock);
	s2_brlock_remove_reader(&lock, &goes);
	s2_br_write_unlock(&lock);
	atomic_store(&goes.state, 1);
	assert_true(s2_br_write_trylock(&lock));
	s2_br_write_unlock(&lock);
	atomic_store(&stays.state, 1);
	assert_false(s2_br_write_trylock(&lock));
}

#define STRESS_READERS 4
#define STRESS_WRITERS 2
#define STRESS_ROUNDS 8000

/* @a and @b are plain on purpose: ThreadSanitizer sees whether the lock orders them. */
struct stress {
	struct s2_brlock lock;
	uint64_t a;
	uint64_t b;
	_Atomic uint64_t writes;
	_Atomic uint64_t torn;
	_Atomic unsigned writers; /* that have not finished */
};

struct stress_thread {
	struct stress *stress;
	struct s2_brlock_reader reader;
	pthread_t id;
};

static void look(struct stress *stress)
{
	if (stress->a != stress->b)
		atomic_fetch_add_explicit(&stress->torn, 1, memory_order_relaxed);
}

static void *stress_read(void *arg)
{
	struct stress_thread *thread = arg;

	while (atomic_load(&thread->stress->writers)) {
		s2_br_read_lock(&thread->stress->lock, &thread->reader);
		look(thread->stress);
		s2_br_read_unlock(&thread->stress->lock, &thread->reader);
	}
	return NULL;
}

static void *stress_write(void *arg)
{
	struct stress *stress = ((struct stress_thread *)arg)->stress;

	for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
		if (i % 4)
			s2_br_write_lock(&stress->lock);
		else if (!s2_br_write_trylock(&stress->lock))
			continue;
		look(stress);
		stress->a++;
		s2_cpu_relax();
		stress->b++;
		atomic_fetch_add_explicit(&stress->writes, 1, memory_order_relaxed);
		s2_br_write_unlock(&stress->lock);
	}
	atomic_fetch_sub(&stress->writers, 1);
	return NULL;
}

static void test_nobody_reads_while_somebody_writes(void **state)
{
	struct stress_thread threads[STRESS_READERS + STRESS_WRITERS] = { 0 };
	struct stress stress = { .writers = STRESS_WRITERS };
	unsigned nr = STRESS_READERS + STRESS_WRITERS;

	s2_brlock_init(&stress.lock, S2_RANK_MMU_LOCK);
	for (unsigned i = 0; i < nr; i++) {
		threads[i].stress = &stress;
		if (i < STRESS_READERS)
			add_reader(&stress.lock, &threads[i].reader);
	}
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(pthread_create(&threads[i].id, NULL,
						i < STRESS_READERS ? stress_read : stress_write,
						&threads[i]), 0);
	for (unsigned i = 0; i < nr; i++)
		pthread_join(threads[i].id, NULL);
	assert_int_equal(atomic_load(&stress.torn), 0);
	assert_int_equal(stress.a, atomic_load(&stress.writes));
	assert_int_equal(stress.b, stress.a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_reads_while_somebody_writes),
		cmocka_unit_test(test_readers_share),
		cmocka_unit_test(test_a_writer_sleeps_until_the_last_reader_has_left),
		cmocka_unit_test(test_a_reader_sleeps_until_the_writer_has_left),
		cmocka_unit_test(test_a_waiting_writer_stops_new_readers),
		cmocka_unit_test(test_a_failed_trylock_leaves_the_lock_open_for_readers),
		cmocka_unit_test(test_a_reader_that_was_removed_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
