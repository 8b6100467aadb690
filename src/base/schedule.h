/* SPDX-License-Identifier: MIT */
/*
 * Random schedules: at each step of the protocol a debug or mutants build may make
 * the thread yield, spin or sleep, so that races that need an unlikely order are
 * met in seconds. Off until s2_schedule_run(), which `stage2 torture` calls; in
 * other builds the calls are empty.
 *
 * A thread's choices follow from the run's seed and the thread's number, so that
 * a run made again with its seed hesitates at the same places of each thread. How
 * the machine interleaves them in between is its own affair.
 */
#ifndef S2_BASE_SCHEDULE_H
#define S2_BASE_SCHEDULE_H

#include <stdint.h>

#if S2_DEBUG_CHECKS || S2_MUTANTS
#define S2_SCHEDULES 1
#else
#define S2_SCHEDULES 0
#endif

/* The steps, by who makes them; the number is part of the choice. */
enum s2_step {
	S2_STEP_START_BEGIN = 1,
	S2_STEP_START_CLAIMED, /* an entry, but no range in it yet */
	S2_STEP_START_PUBLISHED,
	S2_STEP_START_LOOKED_UP,
	S2_STEP_WALK_LOCKED, /* mmu_lock; at start the count is raised, at end dropped */
	S2_STEP_WALK_ZAPPED, /* and not flushed */
	S2_STEP_END_BEGIN,
	S2_STEP_END_SEQUENCE, /* bumped, the count not dropped */
	S2_STEP_END_DROPPED, /* the count, and still under mmu_lock */
	S2_STEP_END_COUNTED, /* and the table not left */
	S2_STEP_NONBLOCK_LOCKED,
	S2_STEP_NONBLOCK_WALKED,
	S2_STEP_UPDATE_BEGUN,
	S2_STEP_UPDATE_IN_HVA, /* and nobody waited for */
	S2_STEP_UPDATE_HIDDEN, /* out of the gfn index */
	S2_STEP_UPDATE_ZAPPED, /* and still in the hva index */
	S2_STEP_UPDATE_REPLACED, /* flags: in the hva index only */
	S2_STEP_UPDATE_LOGS, /* in both, the pages still writable */
	S2_STEP_UPDATE_DONE,
	S2_STEP_FAULT_SEQUENCE,
	S2_STEP_FAULT_LOOKED_UP,
	S2_STEP_FAULT_AWAITED,
	S2_STEP_FAULT_PAGE,
	S2_STEP_FAULT_CHECKED, /* valid, not installed */
	S2_STEP_FAULT_INSTALLED, /* and mmu_lock still held */
	S2_STEP_FAULT_SLEEPS,
	S2_STEP_FLUSH_REQUESTED,
	S2_STEP_FLUSH_SLEEPS,
	S2_STEP_ENTER_MODE, /* in guest mode, requests not seen */
	S2_STEP_ACK_DROPPED, /* the TLB, not acknowledged */
	S2_STEP_LEAVE,
	S2_STEP_TLB_REVIVED, /* and requests not looked for */
	S2_STEP_MISS_WALKED,   /* an SPTE found, not in the TLB */
	S2_STEP_LOG_BEGIN,
	S2_STEP_LOG_TAKEN, /* bits, their pages not protected */
	S2_STEP_LOG_PROTECTED, /* and not flushed */
	S2_STEP_READER_ANNOUNCED, /* mmu_lock for read, and the writer not looked for */
	S2_STEP_WRITER_ANNOUNCED, /* for write, and no reader looked for */
};

#if S2_SCHEDULES

/* From now on at @percent of the steps. 0 turns it off. */
void s2_schedule_run(uint64_t seed, unsigned percent);
/* Numbers the calling thread; without it threads are numbered as they come. */
void s2_schedule_thread(uint64_t number);
/* Allocates nothing and takes no lock; errno stays. May be called in signal handlers. */
void s2_schedule_point(enum s2_step step);

#else

static inline void s2_schedule_run(uint64_t seed, unsigned percent)
{
	(void)seed;
	(void)percent;
}

static inline void s2_schedule_thread(uint64_t number)
{
	(void)number;
}

static inline void s2_schedule_point(enum s2_step step)
{
	(void)step;
}

#endif

#endif /* S2_BASE_SCHEDULE_H */
