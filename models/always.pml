/* SPDX-License-Identifier: MIT */
/* Safety of the gate always, notifier/gate_always.c: mmu_lock at both ends, the count always up. */
#include "mutants.h"

#define SHARED_INDEX 0
#define must_lock(nonblock) 1

inline vm_begin(nonblock) { skip }
inline vm_end(nonblock) { skip }
inline swap_begin() { skip }
inline swap_end() { skip }
inline wait_overlapping() { skip }

#include "protocol.h"
