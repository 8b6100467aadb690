/* SPDX-License-Identifier: MIT */
/* Safety of the range gate, notifier/gate_range.c: an update waits for whom it finds in the table. */
#include "mutants.h"

#define SHARED_INDEX 1
#define must_lock(nonblock) 0

inline vm_begin(nonblock) { skip }
inline vm_end(nonblock) { skip }
inline swap_begin() { skip }
inline swap_end() { skip }
inline wait_overlapping()
{
#if MUT != ADD_DOES_NOT_WAIT
	inflight_wait()
#else
	skip
#endif
}

#include "protocol.h"
