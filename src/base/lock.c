/* SPDX-License-Identifier: MIT */
/* The mutex and the fair reader-writer semaphore of lock.h. */
#include "base/lock.h"

#include "base/futex.h"
#include "base/guest_mode.h"

/*
 * About as long as it takes to zap two thousand pages, or to be woken from a sleep:
 * who has waited so long has lost no more than that, and who sleeps loses it always.
 */
#define SPINS 1000

void s2_mutex_init(struct s2_mutex *mutex, enum s2_lock_rank rank)
{
	atomic_init(&mutex->state, 0);
	atomic_init(&mutex->owner, 0);
	mutex->rank = rank;
}

static bool mutex_try(struct s2_mutex *mutex)
{
	uint32_t free = 0;

	/* Acquire pairs with the release in s2_mutex_unlock(). */
	return atomic_compare_exchange_strong_explicit(&mutex->state, &free, 1, memory_order_acquire,
						       memory_order_relaxed);
}

/* @taken: the word to take it with. */
static bool mutex_spin(struct s2_mutex *mutex, uint32_t taken)
{
	for (unsigned i = 0; i < SPINS; i++) {
		uint32_t free = 0;

		if (!atomic_load_explicit(&mutex->state, memory_order_relaxed) &&
		    atomic_compare_exchange_strong_explicit(&mutex->state, &free, taken,
							    memory_order_acquire,
							    memory_order_relaxed))
			return true;
		s2_cpu_relax();
	}
	return false;
}

static void mutex_wait(struct s2_mutex *mutex)
{
	if (mutex_spin(mutex, 1))
		return;
	/*
	 * Whoever sleeps leaves the word at 2, so that the holder wakes; taking it
	 * with 2 may wake once too often, never once too seldom. Others may be
	 * faster than who was woken, who therefore does not go back to sleep at once.
	 */
	while (atomic_exchange_explicit(&mutex->state, 2, memory_order_acquire)) {
		s2_futex_wait(&mutex->state, 2);
		if (mutex_spin(mutex, 2))
			return;
	}
}

static void mutex_taken(struct s2_mutex *mutex)
{
	atomic_store_explicit(&mutex->owner, s2_thread_self(), memory_order_relaxed);
}

void s2_mutex_lock(struct s2_mutex *mutex)
{
	S2_RULE(!s2_in_guest_mode(), "blocking in guest mode");
	if (!mutex_try(mutex))
		mutex_wait(mutex);
	mutex_taken(mutex);
	S2_LOCK_ACQUIRED(mutex, mutex->rank, S2_LOCK_EXCLUSIVE, false);
}

bool s2_mutex_trylock(struct s2_mutex *mutex)
{
	if (!mutex_try(mutex))
		return false;
	mutex_taken(mutex);
	S2_LOCK_ACQUIRED(mutex, mutex->rank, S2_LOCK_EXCLUSIVE, true);
	return true;
}

void s2_mutex_unlock(struct s2_mutex *mutex)
{
	S2_LOCK_RELEASED(mutex);
	atomic_store_explicit(&mutex->owner, 0, memory_order_relaxed);
	if (atomic_exchange_explicit(&mutex->state, 0, memory_order_release) == 2)
		s2_futex_wake(&mutex->state, 1);
}

/*
 * The semaphore's word counts readers, those who only tried included. WAITERS is
 * set while somebody queues: it sends every newcomer to the queue's end, which
 * is what makes the semaphore fair, and every leaver to the queue's head.
 */
#define WRITER (UINT32_C(1) << 31)
#define WAITERS (UINT32_C(1) << 30)
#define READERS (WAITERS - 1)

struct s2_rwsem_waiter {
	struct s2_rwsem_waiter *next;
	bool writer;
	_Atomic uint32_t granted;
};

void s2_rwsem_init(struct s2_rwsem *sem, enum s2_lock_rank rank)
{
	atomic_init(&sem->state, 0);
	atomic_init(&sem->owner, 0);
	s2_spin_init(&sem->wait_lock, S2_RANK_INTERNAL);
	sem->first = NULL;
	sem->last = &sem->first;
	sem->rank = rank;
}

static bool take_for(struct s2_rwsem *sem, const struct s2_rwsem_waiter *waiter)
{
	uint32_t state = atomic_load_explicit(&sem->state, memory_order_relaxed);

	do {
		if ((state & WRITER) || (waiter->writer && (state & READERS)))
			return false;
		/* Acquire and release: hands on what the leaver published to whom it is granted. */
	} while (!atomic_compare_exchange_weak_explicit(
		&sem->state, &state, waiter->writer ? state | WRITER : state + 1, memory_order_acq_rel,
		memory_order_relaxed));
	return true;
}

/* Gives the semaphore to the head of the queue, and to the readers behind a reader. */
static void grant(struct s2_rwsem *sem)
{
	S2_ASSERT_HELD(&sem->wait_lock);
	while (sem->first && take_for(sem, sem->first)) {
		struct s2_rwsem_waiter *waiter = sem->first;

		sem->first = waiter->next;
		if (!sem->first)
			sem->last = &sem->first;
		/* After this store the waiter's stack frame may be gone; waking a stale word is harmless. */
		atomic_store_explicit(&waiter->granted, 1, memory_order_release);
		s2_futex_wake(&waiter->granted, 1);
	}
	if (!sem->first)
		atomic_fetch_and_explicit(&sem->state, ~WAITERS, memory_order_relaxed);
}

static void queue_and_wait(struct s2_rwsem *sem, bool writer)
{
	struct s2_rwsem_waiter waiter = { .writer = writer };

	s2_spin_lock(&sem->wait_lock);
	/*
	 * Set before grant() looks at the count: a leaver whose decrement comes
	 * later sees the flag and looks at the queue, one whose decrement came
	 * earlier is seen by grant(). Both are operations on the same word.
	 */
	atomic_fetch_or_explicit(&sem->state, WAITERS, memory_order_relaxed);
	*sem->last = &waiter;
	sem->last = &waiter.next;
	grant(sem);
	s2_spin_unlock(&sem->wait_lock);
	for (unsigned i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&waiter.granted, memory_order_acquire))
			return;
		s2_cpu_relax();
	}
	while (!atomic_load_explicit(&waiter.granted, memory_order_acquire))
		s2_futex_wait(&waiter.granted, 0);
}

static void wake_queue(struct s2_rwsem *sem)
{
	s2_spin_lock(&sem->wait_lock);
	grant(sem);
	s2_spin_unlock(&sem->wait_lock);
}

void s2_up_read_non_owner(struct s2_rwsem *sem)
{
	uint32_t old = atomic_fetch_sub_explicit(&sem->state, 1, memory_order_release);

	if ((old & WAITERS) && (old & READERS) == 1 && !(old & WRITER))
		wake_queue(sem);
}

void s2_down_read_non_owner(struct s2_rwsem *sem)
{
	S2_RULE(!s2_in_guest_mode(), "blocking in guest mode");
	if (!(atomic_fetch_add_explicit(&sem->state, 1, memory_order_acquire) & (WRITER | WAITERS)))
		return;
	s2_up_read_non_owner(sem);
	queue_and_wait(sem, false);
}

static bool write_try(struct s2_rwsem *sem)
{
	uint32_t free = 0;

	if (!atomic_compare_exchange_strong_explicit(&sem->state, &free, WRITER, memory_order_acquire,
						     memory_order_relaxed))
		return false;
	atomic_store_explicit(&sem->owner, s2_thread_self(), memory_order_relaxed);
	return true;
}

void s2_down_write(struct s2_rwsem *sem)
{
	S2_RULE(!s2_in_guest_mode(), "blocking in guest mode");
	if (!write_try(sem)) {
		queue_and_wait(sem, true);
		atomic_store_explicit(&sem->owner, s2_thread_self(), memory_order_relaxed);
	}
	S2_LOCK_ACQUIRED(sem, sem->rank, S2_LOCK_EXCLUSIVE, false);
}

bool s2_down_write_trylock(struct s2_rwsem *sem)
{
	if (!write_try(sem))
		return false;
	S2_LOCK_ACQUIRED(sem, sem->rank, S2_LOCK_EXCLUSIVE, true);
	return true;
}

void s2_up_write(struct s2_rwsem *sem)
{
	S2_LOCK_RELEASED(sem);
	atomic_store_explicit(&sem->owner, 0, memory_order_relaxed);
	if (atomic_fetch_and_explicit(&sem->state, ~WRITER, memory_order_release) & WAITERS)
		wake_queue(sem);
}
