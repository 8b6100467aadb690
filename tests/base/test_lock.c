/* SPDX-License-Identifier: MIT */
/*
 * The locks: who gets in, in which order, and that those who wait sleep. The
 * semaphore's fairness is what the rwsem gate's deadlock is made of, so it is
 * shown step by step, with threads that are known to be asleep in the queue.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/lock.h"
#include "task_state.h"

/* A thread that takes the semaphore, says so, and leaves when it is told to. */
struct visitor {
	struct s2_rwsem *sem;
	bool writes;
	_Atomic unsigned *turns;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool inside;
	_Atomic bool may_leave;
	unsigned turn;
};

static void *visit(void *arg)
{
	struct visitor *visitor = arg;

	atomic_store(&visitor->tid, gettid());
	if (visitor->writes)
		s2_down_write(visitor->sem);
	else
		s2_down_read_non_owner(visitor->sem);
	visitor->turn = atomic_fetch_add(visitor->turns, 1);
	atomic_store(&visitor->inside, true);
	until_true(&visitor->may_leave);
	if (visitor->writes)
		s2_up_write(visitor->sem);
	else
		s2_up_read_non_owner(visitor->sem);
	return NULL;
}

static void arrive(struct visitor *visitor, struct s2_rwsem *sem, bool writes,
		   _Atomic unsigned *turns)
{
	*visitor = (struct visitor){ .sem = sem, .writes = writes, .turns = turns };
	assert_int_equal(pthread_create(&visitor->thread, NULL, visit, visitor), 0);
}

static void arrive_and_queue(struct visitor *visitor, struct s2_rwsem *sem, bool writes,
			     _Atomic unsigned *turns)
{
	arrive(visitor, sem, writes, turns);
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
	struct visitor a, b;
	_Atomic unsigned turns = 0;
	struct s2_rwsem sem;

	(void)state;
	s2_rwsem_init(&sem, S2_RANK_GATE);
	arrive(&a, &sem, false, &turns);
	arrive(&b, &sem, false, &turns);
	until_true(&a.inside);
	until_true(&b.inside);
	leave(&a);
	leave(&b);
	assert_true(s2_down_write_trylock(&sem));
	s2_up_write(&sem);
}

static void test_a_writer_keeps_readers_and_writers_out(void **state)
{
	struct visitor reader, writer;
	_Atomic unsigned turns = 0;
	struct s2_rwsem sem;

	(void)state;
	s2_rwsem_init(&sem, S2_RANK_GATE);
	s2_down_write(&sem);
	arrive_and_queue(&reader, &sem, false, &turns);
	arrive_and_queue(&writer, &sem, true, &turns);
	s2_up_write(&sem);
	until_true(&reader.inside);
	until_asleep(writer.thread, &writer.tid);
	assert_false(atomic_load(&writer.inside));
	leave(&reader);
	until_true(&writer.inside);
	leave(&writer);
}

static void test_a_waiting_writer_stops_new_readers(void **state)
{
	struct visitor writer, reader;
	_Atomic unsigned turns = 0;
	struct s2_rwsem sem;

	(void)state;
	s2_rwsem_init(&sem, S2_RANK_GATE);
	s2_down_read_non_owner(&sem);
	arrive_and_queue(&writer, &sem, true, &turns);
	arrive_and_queue(&reader, &sem, false, &turns);
	s2_up_read_non_owner(&sem);
	until_true(&writer.inside);
	until_asleep(reader.thread, &reader.tid);
	assert_false(atomic_load(&reader.inside));
	leave(&writer);
	until_true(&reader.inside);
	leave(&reader);
}

static void test_readers_behind_a_reader_are_let_in_together(void **state)
{
	struct visitor first, second, writer, third;
	_Atomic unsigned turns = 0;
	struct s2_rwsem sem;

	(void)state;
	s2_rwsem_init(&sem, S2_RANK_GATE);
	s2_down_write(&sem);
	arrive_and_queue(&first, &sem, false, &turns);
	arrive_and_queue(&second, &sem, false, &turns);
	arrive_and_queue(&writer, &sem, true, &turns);
	arrive_and_queue(&third, &sem, false, &turns);
	s2_up_write(&sem);
	until_true(&first.inside);
	until_true(&second.inside);
	until_asleep(third.thread, &third.tid);
	assert_false(atomic_load(&writer.inside));
	assert_false(atomic_load(&third.inside));
	leave(&first);
	leave(&second);
	until_true(&writer.inside);
	leave(&writer);
	until_true(&third.inside);
	leave(&third);
}

static void test_writers_are_served_in_their_order(void **state)
{
	struct visitor writers[4];
	_Atomic unsigned turns = 0;
	struct s2_rwsem sem;

	(void)state;
	s2_rwsem_init(&sem, S2_RANK_GATE);
	s2_down_write(&sem);
	for (unsigned i = 0; i < 4; i++) {
		arrive_and_queue(&writers[i], &sem, true, &turns);
		atomic_store(&writers[i].may_leave, true);
	}
	s2_up_write(&sem);
	for (unsigned i = 0; i < 4; i++) {
		leave(&writers[i]);
		assert_int_equal(writers[i].turn, i);
	}
}

static void test_trylock_takes_only_a_free_semaphore(void **state)
{
	struct visitor writer;
	_Atomic unsigned turns = 0;
	struct s2_rwsem sem;

	(void)state;
	s2_rwsem_init(&sem, S2_RANK_GATE);
	assert_true(s2_down_write_trylock(&sem));
	assert_true(s2_rwsem_owned(&sem));
	assert_false(s2_down_write_trylock(&sem));
	s2_up_write(&sem);
	assert_false(s2_rwsem_owned(&sem));
	s2_down_read_non_owner(&sem);
	assert_false(s2_down_write_trylock(&sem));
	arrive_and_queue(&writer, &sem, true, &turns);
	assert_false(s2_down_write_trylock(&sem));
	s2_up_read_non_owner(&sem);
	until_true(&writer.inside);
	assert_false(s2_rwsem_owned(&sem));
	leave(&writer);
	assert_true(s2_down_write_trylock(&sem));
	s2_up_write(&sem);
}

static void *release_for_another(void *arg)
{
	s2_up_read_non_owner(arg);
	return NULL;
}

static void test_a_reader_may_be_released_by_another_thread(void **state)
{
	struct visitor writer;
	_Atomic unsigned turns = 0;
	struct s2_rwsem sem;
	pthread_t thread;

	(void)state;
	s2_rwsem_init(&sem, S2_RANK_GATE);
	s2_down_read_non_owner(&sem);
	arrive_and_queue(&writer, &sem, true, &turns);
	assert_int_equal(pthread_create(&thread, NULL, release_for_another, &sem), 0);
	until_true(&writer.inside);
	pthread_join(thread, NULL);
	leave(&writer);
	assert_true(s2_down_write_trylock(&sem));
	s2_up_write(&sem);
}

#define STRESS_THREADS 6
#define STRESS_ROUNDS 20000

/* @a and @b are plain on purpose: ThreadSanitizer sees whether the lock orders them. */
struct stress {
	struct s2_mutex mutex;
	struct s2_rwsem sem;
	struct s2_spinlock spin;
	uint64_t a;
	uint64_t b;
	_Atomic uint64_t writes;
	_Atomic uint64_t torn;
	_Atomic unsigned next_seed;
};

static void change(struct stress *stress)
{
	stress->a++;
	s2_cpu_relax();
	stress->b++;
	atomic_fetch_add_explicit(&stress->writes, 1, memory_order_relaxed);
}

static void look(struct stress *stress)
{
	if (stress->a != stress->b)
		atomic_fetch_add_explicit(&stress->torn, 1, memory_order_relaxed);
}

static void *stress_rwsem(void *arg)
{
	struct stress *stress = arg;
	uint32_t random = 12345 + atomic_fetch_add(&stress->next_seed, 1);

	for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
		random = random * 1664525 + 1013904223;
		if ((random >> 28) < 4) {
			s2_down_write(&stress->sem);
			change(stress);
			s2_up_write(&stress->sem);
		} else if ((random >> 28) < 6) {
			if (s2_down_write_trylock(&stress->sem)) {
				change(stress);
				s2_up_write(&stress->sem);
			}
		} else {
			s2_down_read_non_owner(&stress->sem);
			look(stress);
			s2_up_read_non_owner(&stress->sem);
		}
	}
	return NULL;
}

static void *stress_mutex(void *arg)
{
	struct stress *stress = arg;

	for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
		if (i % 8)
			s2_mutex_lock(&stress->mutex);
		else if (!s2_mutex_trylock(&stress->mutex))
			continue;
		look(stress);
		change(stress);
		s2_mutex_unlock(&stress->mutex);
	}
	return NULL;
}

static void *stress_spinlock(void *arg)
{
	struct stress *stress = arg;

	for (unsigned i = 0; i < STRESS_ROUNDS; i++) {
		s2_spin_lock(&stress->spin);
		look(stress);
		change(stress);
		s2_spin_unlock(&stress->spin);
	}
	return NULL;
}

static void run_stress(void *(*body)(void *))
{
	struct stress stress = { .a = 0 };
	pthread_t threads[STRESS_THREADS];

	s2_mutex_init(&stress.mutex, S2_RANK_GATE);
	s2_rwsem_init(&stress.sem, S2_RANK_GATE);
	s2_spin_init(&stress.spin, S2_RANK_GATE);
	for (unsigned i = 0; i < STRESS_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, body, &stress), 0);
	for (unsigned i = 0; i < STRESS_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&stress.torn), 0);
	assert_int_equal(stress.a, atomic_load(&stress.writes));
	assert_int_equal(stress.b, stress.a);
}

static void test_rwsem_under_stress(void **state)
{
	(void)state;
	run_stress(stress_rwsem);
}

static void test_mutex_under_stress(void **state)
{
	(void)state;
	run_stress(stress_mutex);
}

static void test_spinlock_under_stress(void **state)
{
	(void)state;
	run_stress(stress_spinlock);
}

struct mutex_visitor {
	struct s2_mutex *mutex;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool inside;
};

static void *visit_mutex(void *arg)
{
	struct mutex_visitor *visitor = arg;

	atomic_store(&visitor->tid, gettid());
	s2_mutex_lock(visitor->mutex);
	atomic_store(&visitor->inside, s2_mutex_owned(visitor->mutex));
	s2_mutex_unlock(visitor->mutex);
	return NULL;
}

static void test_those_who_wait_for_a_mutex_sleep_and_are_all_woken(void **state)
{
	struct mutex_visitor visitors[3];
	struct s2_mutex mutex;

	(void)state;
	s2_mutex_init(&mutex, S2_RANK_GATE);
	s2_mutex_lock(&mutex);
	assert_true(s2_mutex_owned(&mutex));
	for (unsigned i = 0; i < 3; i++) {
		visitors[i] = (struct mutex_visitor){ .mutex = &mutex };
		assert_int_equal(
			pthread_create(&visitors[i].thread, NULL, visit_mutex, &visitors[i]), 0);
		until_asleep(visitors[i].thread, &visitors[i].tid);
		assert_false(atomic_load(&visitors[i].inside));
	}
	s2_mutex_unlock(&mutex);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(visitors[i].thread, NULL);
		assert_true(atomic_load(&visitors[i].inside));
	}
	assert_false(s2_mutex_owned(&mutex));
}

static void *try_mutex(void *arg)
{
	return s2_mutex_trylock(arg) ? arg : NULL;
}

static void test_mutex_trylock_fails_while_it_is_held(void **state)
{
	struct s2_mutex mutex;
	pthread_t thread;
	void *got = &mutex;

	(void)state;
	s2_mutex_init(&mutex, S2_RANK_GATE);
	assert_true(s2_mutex_trylock(&mutex));
	assert_int_equal(pthread_create(&thread, NULL, try_mutex, &mutex), 0);
	pthread_join(thread, &got);
	assert_null(got);
	assert_true(s2_mutex_owned(&mutex));
	s2_mutex_unlock(&mutex);
	assert_true(s2_mutex_trylock(&mutex));
	s2_mutex_unlock(&mutex);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readers_share),
		cmocka_unit_test(test_a_writer_keeps_readers_and_writers_out),
		cmocka_unit_test(test_a_waiting_writer_stops_new_readers),
		cmocka_unit_test(test_readers_behind_a_reader_are_let_in_together),
		cmocka_unit_test(test_writers_are_served_in_their_order),
		cmocka_unit_test(test_trylock_takes_only_a_free_semaphore),
		cmocka_unit_test(test_a_reader_may_be_released_by_another_thread),
		cmocka_unit_test(test_rwsem_under_stress),
		cmocka_unit_test(test_mutex_trylock_fails_while_it_is_held),
		cmocka_unit_test(test_those_who_wait_for_a_mutex_sleep_and_are_all_woken),
		cmocka_unit_test(test_mutex_under_stress),
		cmocka_unit_test(test_spinlock_under_stress),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
