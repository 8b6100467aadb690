/* SPDX-License-Identifier: MIT */
/*
 * The three locks everything else is built from: a mutex, a fair reader-writer
 * semaphore and a spinlock, all of one futex word at most and fit for any thread.
 *
 * They are our own because of what they must do here: the semaphore is held from
 * one call of the API to another, perhaps on another thread, and its fairness (a
 * waiting writer stops new readers) is the very property of the patch that is
 * under study; pthread_rwlock_t promises neither.
 */
#ifndef S2_BASE_LOCK_H
#define S2_BASE_LOCK_H

#include "base/arch.h"
#include "base/debug.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct s2_mutex {
	_Atomic uint32_t state; /* 0 free, 1 held, 2 held and somebody may wait */
	_Atomic uintptr_t owner;
	enum s2_lock_rank rank;
};

void s2_mutex_init(struct s2_mutex *mutex, enum s2_lock_rank rank);
void s2_mutex_lock(struct s2_mutex *mutex);
bool s2_mutex_trylock(struct s2_mutex *mutex);
void s2_mutex_unlock(struct s2_mutex *mutex);

/* Is the calling thread the holder? */
static inline bool s2_mutex_owned(struct s2_mutex *mutex)
{
	return atomic_load_explicit(&mutex->owner, memory_order_relaxed) == s2_thread_self();
}

/* For a few instructions only; a holder that was preempted is waited for by yielding. */
struct s2_spinlock {
	_Atomic uint32_t locked;
	enum s2_lock_rank rank;
};

static inline void s2_spin_init(struct s2_spinlock *lock, enum s2_lock_rank rank)
{
	atomic_init(&lock->locked, 0);
	lock->rank = rank;
}

static inline void s2_spin_lock(struct s2_spinlock *lock)
{
	unsigned spins = 0;

	/* Acquire pairs with the release in s2_spin_unlock(). */
	while (atomic_exchange_explicit(&lock->locked, 1, memory_order_acquire)) {
		while (atomic_load_explicit(&lock->locked, memory_order_relaxed)) {
			if (++spins % 128)
				s2_cpu_relax();
			else
				sched_yield();
		}
	}
	S2_LOCK_ACQUIRED(lock, lock->rank, S2_LOCK_EXCLUSIVE, false);
}

static inline void s2_spin_unlock(struct s2_spinlock *lock)
{
	S2_LOCK_RELEASED(lock);
	atomic_store_explicit(&lock->locked, 0, memory_order_release);
}

struct s2_rwsem_waiter;

struct s2_rwsem {
	_Atomic uint32_t state; /* number of readers, and the two flags of lock.c */
	_Atomic uintptr_t owner;
	struct s2_spinlock wait_lock; /* protects the queue; who releases may not sleep */
	struct s2_rwsem_waiter *first;
	struct s2_rwsem_waiter **last;
	enum s2_lock_rank rank;
};

void s2_rwsem_init(struct s2_rwsem *sem, enum s2_lock_rank rank);
void s2_down_write(struct s2_rwsem *sem);
bool s2_down_write_trylock(struct s2_rwsem *sem);
void s2_up_write(struct s2_rwsem *sem);

/* For a reader that another thread may release, as the kernel's functions of these names. */
void s2_down_read_non_owner(struct s2_rwsem *sem);
void s2_up_read_non_owner(struct s2_rwsem *sem);

static inline bool s2_rwsem_owned(struct s2_rwsem *sem)
{
	return atomic_load_explicit(&sem->owner, memory_order_relaxed) == s2_thread_self();
}

#endif /* S2_BASE_LOCK_H */
