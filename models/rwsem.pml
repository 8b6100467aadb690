/* SPDX-License-Identifier: MIT */
/*
 * The gate rwsem, notifier/gate_rwsem.c: a fair reader-writer semaphore, held for
 * read from start() to end(). Safe; and it deadlocks when a caller's lock spans
 * start() and is needed to reach end() (CALLER_LOCK=1), or when a pair lies within
 * another (NESTED=1): a waiting writer stops the reader for whom another waits.
 */
#include "mutants.h"

#ifndef NINV
#define NINV 2
#endif

#define SHARED_INDEX 0
#if MUT == NONBLOCK_ELIDES
#define must_lock(nonblock) 0
#else
#define must_lock(nonblock) (nonblock)
#endif

/*
 * base/lock.c. Fair: all queue up, and only the head of the queue may take what is
 * free. Who finds it free and nobody waiting does so in one step.
 */
byte readers = 0;
bool writer = 0;
chan queue = [NINV + 1] of { byte };

inline down_read()
{
	atomic {
		queue!_pid;
		(!writer && queue?[eval(_pid)]);
		queue?eval(_pid);
		alive();
		readers++
	}
}
inline up_read() { atomic { alive(); readers-- } }
inline down_write()
{
	atomic {
		queue!_pid;
		(!writer && readers == 0 && queue?[eval(_pid)]);
		queue?eval(_pid);
		writer = 1
	}
}
inline up_write() { writer = 0 }

inline vm_begin(nonblock)
{
#if MUT != GATE_IS_OPEN
	if
	:: !nonblock -> down_read()
	:: nonblock
	fi
#else
	skip
#endif
}
inline vm_end(nonblock)
{
#if MUT != GATE_IS_OPEN
	if
	:: !nonblock -> up_read()
	:: nonblock
	fi
#else
	skip
#endif
}
inline swap_begin() { down_write() }
inline swap_end() { up_write() }
inline wait_overlapping() { skip }

#include "protocol.h"
