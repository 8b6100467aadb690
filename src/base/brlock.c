/* SPDX-License-Identifier: MIT */
/* The reader-writer lock of brlock.h. */
#include "base/brlock.h"

#include "base/futex.h"
#include "base/guest_mode.h"
#include "base/mutant.h"
#include "base/schedule.h"

/* A reader is gone in well under a microsecond, unless it has lost its core. */
#define SPINS 200

enum { S2_READER_IDLE, S2_READER_READING, S2_READER_AWAITED };

void s2_brlock_init(struct s2_brlock *lock, enum s2_lock_rank rank)
{
	atomic_init(&lock->writer, 0);
	lock->readers = NULL;
	s2_mutex_init(&lock->mutex, rank);
}

/*
 * Barrier F, between this store and the load of the writer, both sequentially
 * consistent. Pairs with E in shut_out().
 */
static void announce(struct s2_brlock_reader *reader)
{
	atomic_store_explicit(&reader->state, S2_READER_READING, memory_order_seq_cst);
}

static void step_back(struct s2_brlock_reader *reader)
{
	/* Release pairs with the acquire in is_idle(): what was read was read before. */
	if (atomic_exchange_explicit(&reader->state, S2_READER_IDLE, memory_order_release) ==
	    S2_READER_AWAITED)
		s2_futex_wake(&reader->state, 1);
}

/* In turn with the writers, and as one of them for a moment: while it is held none is there. */
static __attribute__((noinline)) void read_lock_slow(struct s2_brlock *lock,
						     struct s2_brlock_reader *reader)
{
	step_back(reader);
	s2_mutex_lock(&lock->mutex);
	announce(reader);
	s2_mutex_unlock(&lock->mutex);
}

void s2_br_read_lock(struct s2_brlock *lock, struct s2_brlock_reader *reader)
{
	S2_RULE(!s2_in_guest_mode(), "blocking in guest mode");
	announce(reader);
	s2_schedule_point(S2_STEP_READER_ANNOUNCED);
	/* Acquire pairs with the release in let_in(): what the last writer did is seen. */
	if (__builtin_expect(atomic_load_explicit(&lock->writer, memory_order_seq_cst), 0) &&
	    !S2_MUTANT(READER_IGNORES_WRITER))
		read_lock_slow(lock, reader);
	S2_LOCK_ACQUIRED(lock, lock->mutex.rank, S2_LOCK_SHARED, false);
}

void s2_br_read_unlock(struct s2_brlock *lock, struct s2_brlock_reader *reader)
{
	S2_LOCK_RELEASED(lock);
	step_back(reader);
}

/* Barrier E, between this store and the loads in is_idle(). Pairs with F in announce(). */
static void shut_out(struct s2_brlock *lock)
{
	atomic_store_explicit(&lock->writer, 1, memory_order_seq_cst);
	s2_schedule_point(S2_STEP_WRITER_ANNOUNCED);
}

static void let_in(struct s2_brlock *lock)
{
	atomic_store_explicit(&lock->writer, 0, memory_order_release);
}

static bool is_idle(struct s2_brlock_reader *reader)
{
	return atomic_load_explicit(&reader->state, memory_order_seq_cst) == S2_READER_IDLE;
}

static bool becomes_idle(struct s2_brlock_reader *reader)
{
	for (unsigned i = 0; i < SPINS; i++) {
		if (is_idle(reader))
			return true;
		s2_cpu_relax();
	}
	return false;
}

static void await_asleep(struct s2_brlock_reader *reader)
{
	while (!is_idle(reader)) {
		uint32_t reading = S2_READER_READING;

		/* From here on who leaves wakes; if it has left meanwhile, the futex says so. */
		atomic_compare_exchange_strong_explicit(&reader->state, &reading, S2_READER_AWAITED,
							memory_order_relaxed, memory_order_relaxed);
		s2_futex_wait(&reader->state, S2_READER_AWAITED);
	}
}

void s2_br_write_lock(struct s2_brlock *lock)
{
	s2_mutex_lock(&lock->mutex);
	shut_out(lock);
	for (struct s2_brlock_reader *r = lock->readers; r && !S2_MUTANT(WRITER_IGNORES_READERS);
	     r = r->next)
		if (!becomes_idle(r))
			await_asleep(r);
	/* Of the same rank as the mutex, whose order has been checked. */
	S2_LOCK_ACQUIRED(lock, lock->mutex.rank, S2_LOCK_EXCLUSIVE, true);
}

bool s2_br_write_trylock(struct s2_brlock *lock)
{
	if (!s2_mutex_trylock(&lock->mutex))
		return false;
	shut_out(lock);
	for (struct s2_brlock_reader *r = lock->readers; r && !S2_MUTANT(WRITER_IGNORES_READERS);
	     r = r->next) {
		if (becomes_idle(r))
			continue;
		let_in(lock);
		s2_mutex_unlock(&lock->mutex);
		return false;
	}
	S2_LOCK_ACQUIRED(lock, lock->mutex.rank, S2_LOCK_EXCLUSIVE, true);
	return true;
}

void s2_br_write_unlock(struct s2_brlock *lock)
{
	S2_LOCK_RELEASED(lock);
	let_in(lock);
	s2_mutex_unlock(&lock->mutex);
}

void s2_brlock_add_reader(struct s2_brlock *lock, struct s2_brlock_reader *reader)
{
	S2_ASSERT_HELD_WRITE(lock);
	atomic_init(&reader->state, S2_READER_IDLE);
	reader->next = lock->readers;
	lock->readers = reader;
}

void s2_brlock_remove_reader(struct s2_brlock *lock, struct s2_brlock_reader *reader)
{
	struct s2_brlock_reader **link = &lock->readers;

	S2_ASSERT_HELD_WRITE(lock);
	while (*link != reader)
		link = &(*link)->next;
	*link = reader->next;
}
