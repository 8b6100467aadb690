/* SPDX-License-Identifier: MIT */
/*
 * liburcu, the flavour that registers a thread at its first read: the library's
 * callers are threads it did not make. Sections are a lookup long; nothing
 * sleeps in them, so that a slow provider never holds up an updater.
 */
#ifndef S2_BASE_RCU_H
#define S2_BASE_RCU_H

#include <urcu/urcu-bp.h>

/*
 * ThreadSanitizer does not see into liburcu, which is not built with it. It is told
 * what the grace period promises: a section's end comes before the return of
 * s2_synchronize_rcu(). Nothing of this is in other builds.
 */
#if defined(__SANITIZE_THREAD__)
#define S2_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define S2_TSAN 1
#endif
#endif

#ifdef S2_TSAN
#include <sanitizer/tsan_interface.h>

extern char s2_rcu_grace; /* an address to hang the order on */

#define S2_TSAN_RELEASE() __tsan_release(&s2_rcu_grace)
#define S2_TSAN_ACQUIRE() __tsan_acquire(&s2_rcu_grace)
#else
#define S2_TSAN_RELEASE() ((void)0)
#define S2_TSAN_ACQUIRE() ((void)0)
#endif

static inline void s2_rcu_read_lock(void)
{
	urcu_bp_read_lock();
}

static inline void s2_rcu_read_unlock(void)
{
	S2_TSAN_RELEASE();
	urcu_bp_read_unlock();
}

/* Waits until every section that was open when it was called has closed. */
static inline void s2_synchronize_rcu(void)
{
	urcu_bp_synchronize_rcu();
	S2_TSAN_ACQUIRE();
}

#endif /* S2_BASE_RCU_H */
