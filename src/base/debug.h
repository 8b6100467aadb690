/* SPDX-License-Identifier: MIT */
/*
 * Assertions of a debug build (-Ddebug_checks=true): what lockdep and
 * WARN_ON_ONCE() are to KVM. Each names the rule it caught, then aborts. In
 * other builds nothing of this is left but the type checks.
 */
#ifndef S2_BASE_DEBUG_H
#define S2_BASE_DEBUG_H

#include <stdbool.h>

/* The order in which locks may be taken: only ever a higher rank (docs/locking.md). */
enum s2_lock_rank {
	S2_RANK_POOL_REGIONS = 1,
	S2_RANK_POOL_AGING,
	S2_RANK_POOL_MERGE,
	S2_RANK_POOL_COMPACT,
	S2_RANK_POOL_PAGE,
	S2_RANK_POOL_OOM,
	S2_RANK_POOL_SHARED_PAGE,
	S2_RANK_SLOTS_LOCK,
	S2_RANK_GATE,
	S2_RANK_WINDOWS,
	S2_RANK_WINDOW_READER,
	S2_RANK_MMU_LOCK,
	S2_RANK_WINDOW,
	S2_RANK_INDEX_LOCK,
	S2_RANK_OVERFLOW,
	S2_RANK_POOL_CACHE, /* of free frames; before their blocks' lock */
	S2_RANK_INTERNAL, /* a lock's own wait queue */
};

enum s2_lock_mode { S2_LOCK_SHARED = 1, S2_LOCK_EXCLUSIVE };

#if S2_DEBUG_CHECKS

void s2_rule_broken(const char *rule, const char *function, int line) __attribute__((noreturn));

/* The calling thread's own list of locks; @trylock ones cannot deadlock and have no order. */
void s2_lock_acquired(const void *lock, enum s2_lock_rank rank, enum s2_lock_mode mode, bool trylock,
		      const char *function, int line);
void s2_lock_released(const void *lock);
bool s2_lock_held(const void *lock, enum s2_lock_mode at_least);

#define S2_RULE(condition, rule)                                                                   \
	do {                                                                                       \
		if (!(condition))                                                                  \
			s2_rule_broken(rule, __func__, __LINE__);                                  \
	} while (0)

#define S2_ASSERT_HELD(lock)                                                                       \
	S2_RULE(s2_lock_held(lock, S2_LOCK_SHARED), "lock not held: " #lock)
#define S2_ASSERT_HELD_WRITE(lock)                                                                 \
	S2_RULE(s2_lock_held(lock, S2_LOCK_EXCLUSIVE), "lock not held for write: " #lock)
#define S2_LOCK_ACQUIRED(lock, rank, mode, trylock)                                                \
	s2_lock_acquired(lock, rank, mode, trylock, __func__, __LINE__)
#define S2_LOCK_RELEASED(lock) s2_lock_released(lock)

#else

#define S2_RULE(condition, rule) ((void)sizeof((condition) ? 1 : 0))
#define S2_ASSERT_HELD(lock) ((void)sizeof(lock))
#define S2_ASSERT_HELD_WRITE(lock) ((void)sizeof(lock))
#define S2_LOCK_ACQUIRED(lock, rank, mode, trylock) ((void)sizeof(lock))
#define S2_LOCK_RELEASED(lock) ((void)sizeof(lock))

#endif

#endif /* S2_BASE_DEBUG_H */
