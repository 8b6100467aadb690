/* SPDX-License-Identifier: MIT */
/*
 * Safety of the gate count, notifier/gate_count.c: mn_active_invalidate_count under
 * a spinlock, which the updater keeps while it swaps. That it may wait for ever is
 * shown by live.pml.
 */
#include "mutants.h"

#define SHARED_INDEX 0
#define must_lock(nonblock) 0

bool mn_invalidate_lock = 0;
byte mn_active_invalidate_count = 0;
bool update_rcuwait = 0; /* mn_memslots_update_rcuwait, the word the updater sleeps on */

inline spin_lock() { atomic { !mn_invalidate_lock -> mn_invalidate_lock = 1 } }
inline spin_unlock() { mn_invalidate_lock = 0 }

inline vm_begin(nonblock)
{
#if MUT != GATE_IS_OPEN
	spin_lock();
	alive();
	mn_active_invalidate_count++;
	spin_unlock()
#else
	skip
#endif
}

/* The word changes before the wake-up; futex_wait() returns when it has changed. */
inline vm_end(nonblock)
{
#if MUT != GATE_IS_OPEN
	spin_lock();
	alive();
	assert(mn_active_invalidate_count > 0);
	mn_active_invalidate_count--;
	if
	:: mn_active_invalidate_count == 0 && update_rcuwait -> update_rcuwait = 0
	:: else
	fi;
	spin_unlock()
#else
	skip
#endif
}

inline swap_begin()
{
	spin_lock();
	do
	:: mn_active_invalidate_count == 0 -> break
	:: mn_active_invalidate_count > 0 ->
#if MUT == WAKE_LOST
		spin_unlock();
		update_rcuwait = 1;
#else
		update_rcuwait = 1;
		spin_unlock();
#endif
		(!update_rcuwait);
		spin_lock()
	od
}
inline swap_end() { spin_unlock() }
inline wait_overlapping() { skip }

#include "protocol.h"
