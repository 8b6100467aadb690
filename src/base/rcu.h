/* SPDX-License-Identifier: MIT */
/*
 * liburcu, the flavour that registers a thread at its first read: the library's
 * callers are threads it did not make. Sections are a lookup long; nothing
 * sleeps in them, so that a slow provider never holds up an updater.
 */
#ifndef S2_BASE_RCU_H
#define S2_BASE_RCU_H

#include <urcu/urcu-bp.h>

static inline void s2_rcu_read_lock(void)
{
	urcu_bp_read_lock();
}

static inline void s2_rcu_read_unlock(void)
{
	urcu_bp_read_unlock();
}

/* Waits until every section that was open when it was called has closed. */
static inline void s2_synchronize_rcu(void)
{
	urcu_bp_synchronize_rcu();
}

#endif /* S2_BASE_RCU_H */
