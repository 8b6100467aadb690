/* SPDX-License-Identifier: MIT */
/*
 * mmu_lock: one per VM, protects the stage-2 table and the invalidation counters.
 * A mutex or a reader-writer lock, chosen when the VM is created, as KVM chooses
 * by architecture; the callers need not know which. KVM's reader-writer lock has
 * one word that each fault of each vCPU writes to; here each vCPU has its own.
 */
#ifndef S2_MEMSLOT_MMU_LOCK_H
#define S2_MEMSLOT_MMU_LOCK_H

#include "base/brlock.h"
#include "base/lock.h"

#include <stage2/vm.h>

struct s2_mmu_lock {
	enum s2_mmu_lock_kind kind;
	union {
		struct s2_mutex mutex;
		struct s2_brlock brlock;
	};
};

static inline void s2_mmu_lock_init(struct s2_mmu_lock *lock, enum s2_mmu_lock_kind kind)
{
	lock->kind = kind;
	if (kind == S2_MMU_LOCK_MUTEX)
		s2_mutex_init(&lock->mutex, S2_RANK_MMU_LOCK);
	else
		s2_brlock_init(&lock->brlock, S2_RANK_MMU_LOCK);
}

static inline void s2_write_lock(struct s2_mmu_lock *lock)
{
	if (lock->kind == S2_MMU_LOCK_MUTEX)
		s2_mutex_lock(&lock->mutex);
	else
		s2_br_write_lock(&lock->brlock);
}

static inline bool s2_write_trylock(struct s2_mmu_lock *lock)
{
	if (lock->kind == S2_MMU_LOCK_MUTEX)
		return s2_mutex_trylock(&lock->mutex);
	return s2_br_write_trylock(&lock->brlock);
}

static inline void s2_write_unlock(struct s2_mmu_lock *lock)
{
	if (lock->kind == S2_MMU_LOCK_MUTEX)
		s2_mutex_unlock(&lock->mutex);
	else
		s2_br_write_unlock(&lock->brlock);
}

static inline void s2_read_lock(struct s2_mmu_lock *lock, struct s2_brlock_reader *reader)
{
	if (lock->kind == S2_MMU_LOCK_MUTEX)
		s2_mutex_lock(&lock->mutex);
	else
		s2_br_read_lock(&lock->brlock, reader);
}

static inline void s2_read_unlock(struct s2_mmu_lock *lock, struct s2_brlock_reader *reader)
{
	if (lock->kind == S2_MMU_LOCK_MUTEX)
		s2_mutex_unlock(&lock->mutex);
	else
		s2_br_read_unlock(&lock->brlock, reader);
}

/* Both with the lock held for write. */
static inline void s2_mmu_lock_add_reader(struct s2_mmu_lock *lock, struct s2_brlock_reader *reader)
{
	if (lock->kind == S2_MMU_LOCK_RWLOCK)
		s2_brlock_add_reader(&lock->brlock, reader);
}

static inline void s2_mmu_lock_remove_reader(struct s2_mmu_lock *lock,
					     struct s2_brlock_reader *reader)
{
	if (lock->kind == S2_MMU_LOCK_RWLOCK)
		s2_brlock_remove_reader(&lock->brlock, reader);
}

/* Does the calling thread hold it for write? */
static inline bool s2_write_owned(struct s2_mmu_lock *lock)
{
	if (lock->kind == S2_MMU_LOCK_MUTEX)
		return s2_mutex_owned(&lock->mutex);
	return s2_mutex_owned(&lock->brlock.mutex);
}

/* The lock object that the debug build knows the holder by. */
static inline const void *s2_mmu_lock_object(const struct s2_mmu_lock *lock)
{
	return lock->kind == S2_MMU_LOCK_MUTEX ? (const void *)&lock->mutex : &lock->brlock;
}

#define S2_ASSERT_MMU_LOCK(lock) S2_ASSERT_HELD(s2_mmu_lock_object(lock))
#define S2_ASSERT_MMU_LOCK_WRITE(lock) S2_ASSERT_HELD_WRITE(s2_mmu_lock_object(lock))

#endif /* S2_MEMSLOT_MMU_LOCK_H */
