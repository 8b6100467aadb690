/* SPDX-License-Identifier: MIT */
/* A counter that one thread at a time writes and anybody may read: no atomic addition. */
#ifndef S2_BASE_COUNTER_H
#define S2_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

static inline void s2_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

#endif /* S2_BASE_COUNTER_H */
