/* SPDX-License-Identifier: MIT */
/*
 * The debug build's lockdep: each thread lists the locks it holds. The list is
 * thread-local and of fixed size, since the allocator may be our caller.
 */
#include "base/debug.h"

#if S2_DEBUG_CHECKS

#include <stdio.h>
#include <stdlib.h>

#define MAX_HELD 128

struct held_lock {
	const void *lock;
	enum s2_lock_rank rank;
	enum s2_lock_mode mode;
	bool trylock;
};

static _Thread_local struct held_lock held[MAX_HELD];
static _Thread_local unsigned nr_held;

void s2_rule_broken(const char *rule, const char *function, int line)
{
	fprintf(stderr, "stage2: rule broken in %s, line %d: %s\n", function, line, rule);
	abort();
}

static void check_order(enum s2_lock_rank rank, const char *function, int line)
{
	for (unsigned i = 0; i < nr_held; i++)
		if (held[i].rank >= rank)
			s2_rule_broken("lock order: a lock of a higher or equal rank is held", function,
				       line);
}

void s2_lock_acquired(const void *lock, enum s2_lock_rank rank, enum s2_lock_mode mode, bool trylock,
		      const char *function, int line)
{
	if (!trylock)
		check_order(rank, function, line);
	if (nr_held == MAX_HELD)
		return; /* a nonblocking start over many VMs; assertions on the rest are lost */
	held[nr_held++] = (struct held_lock){ lock, rank, mode, trylock };
}

void s2_lock_released(const void *lock)
{
	for (unsigned i = nr_held; i-- > 0;) {
		if (held[i].lock != lock)
			continue;
		held[i] = held[--nr_held];
		return;
	}
	if (nr_held < MAX_HELD)
		s2_rule_broken("a lock is released that this thread does not hold", __func__, __LINE__);
}

bool s2_lock_held(const void *lock, enum s2_lock_mode at_least)
{
	for (unsigned i = 0; i < nr_held; i++)
		if (held[i].lock == lock)
			return held[i].mode >= at_least;
	return nr_held == MAX_HELD;
}

#endif
