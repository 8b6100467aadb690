/* SPDX-License-Identifier: MIT */
/*
 * The torture test: threads of every kind at work on one s2_mm for a while, checking each other.
 * torture.c describes what they do and what counts as a violation.
 */
#ifndef STAGE2_TOOLS_TORTURE_H
#define STAGE2_TOOLS_TORTURE_H

#include "torture_arena.h"

#include <jansson.h>
#include <stage2/stage2.h>

/* What the guests' memory is: that of this process (torture.c), or a pool's (torture_pool.c). */
enum torture_provider { TORTURE_PROCESS, TORTURE_POOL };

/* Each is also the name of a number in the report, of one provider or of both. */
enum torture_count {
	TORTURE_ACCESSES,
	TORTURE_FAULTS,
	TORTURE_RETRIES,
	TORTURE_INVALIDATIONS,
	TORTURE_ELIDED,
	TORTURE_MMU_LOCK_ACQUIRED,
	TORTURE_NONBLOCK_FAILED,
	TORTURE_OVERFLOWS,
	TORTURE_MEMSLOT_UPDATES,
	TORTURE_VMS_CREATED,
	TORTURE_PAGES_REPLACED,
	TORTURE_DIRTY_LOGS,
	TORTURE_PAGES_CHECKED,
	TORTURE_GUEST_ERRORS,
	TORTURE_HOST_ACCESSES,
	TORTURE_DISCARDS,
	TORTURE_CLONES,
	TORTURE_KILLED_SEEN,
	TORTURE_LIMITS_SET,
	TORTURE_TIER_FAULTS,
	TORTURE_TIER_FULL,
	TORTURE_TIER_DELAYS,
	TORTURE_TIER_ERRORS,
	TORTURE_SWAP_OUTS,
	TORTURE_SWAP_INS,
	TORTURE_ZERO_PAGES,
	TORTURE_READ_AHEAD,
	TORTURE_READ_AHEAD_USED,
	TORTURE_DIRECT_RECLAIMS,
	TORTURE_BACKGROUND_RECLAIMS,
	TORTURE_MERGED,
	TORTURE_COW_BREAKS,
	TORTURE_MIGRATED,
	TORTURE_COLLAPSED,
	TORTURE_SPLIT,
	TORTURE_OOM_KILLS,
	TORTURE_WINDOW_ACCESSES,
	TORTURE_WINDOW_FAULTS,
	TORTURE_UPDATER_MAX_WAIT_NS, /* last: merged by maximum */
	TORTURE_NR_COUNTS,
};

#define TORTURE_EXAMPLES 8

/*
 * @examples: the first violations, in words.
 * @threads:  if there was a deadlock, what each thread held and waited for, one line each.
 */
struct torture_report {
	enum torture_provider provider;
	enum s2_gate gate;
	uint64_t seed;
	uint64_t counts[TORTURE_NR_COUNTS];
	uint64_t violations[TORTURE_NR_VIOLATIONS];
	unsigned int nr_examples;
	char examples[TORTURE_EXAMPLES][160];
	const char *threads;
};

extern const char *const torture_count_names[TORTURE_NR_COUNTS];
extern const char *const torture_violation_names[TORTURE_NR_VIOLATIONS];

/* Is that a number of a run with @provider? */
bool torture_counts(enum torture_provider provider, enum torture_count count);

/* What tests may ask for, so that they see the checks fail. */
#define TORTURE_BREAK_BRACKETS 1u  /* related churn does not call start and end */
#define TORTURE_BREAK_DELETES 2u   /* updaters do not delete what they say they do */
#define TORTURE_BREAK_DIRTY_LOG 4u /* updaters read an empty dirty log */
#define TORTURE_BREAK_STORES 8u	   /* vCPUs say they have stored what they have not */
#define TORTURE_BREAK_BYTES 16u	   /* of a pool: they store a wrong bit */
#define TORTURE_BREAK_DISCARDS 32u /* they take for written what they have discarded */
#define TORTURE_BREAK_CLONES 64u   /* a clone is taken for one of another page */

#define TORTURE_MAX_THREADS 64
#define TORTURE_MAX_VMS 64
#define TORTURE_MAX_UPDATERS 16

/*
 * @vcpus:    per VM.
 * @pool_size: bytes of frames; each VM that stays has twice as much memory, up to POOL_PAGES.
 * @tier_faults: percent of the tiers' calls that go wrong in bad weather (torture_pool_tier.h);
 * 0 for none, ever.
 * @nonblock: percent of the churn's invalidations that are S2_NONBLOCK.
 * @entries:  inflight_entries of the s2_mm.
 * @rseq:     percent of the vCPUs that have S2_SHOOTDOWN_RSEQ, and do not poll.
 * @window:   of a pool: percent of the guests' threads that have a window instead of a vCPU.
 * @nest:     pairs in pairs, overlapping pairs, ends on other threads; not for S2_GATE_RWSEM.
 * @schedule: percent of the protocol's steps at which a thread yields, spins or sleeps; only in a
 *            build with S2_SCHEDULES (base/schedule.h).
 * @first:    the first violation ends the run.
 * @progress: a line on stderr that tells how far the run is.
 * @deadlock: called by the watchdog when a thread has made no progress for @patience_s, with what
 *            is known by then. Must not return.
 */
struct torture_options {
	enum torture_provider provider;
	enum s2_gate gate;
	unsigned int vms;
	unsigned int vcpus;
	unsigned int unrelated;
	unsigned int related;
	unsigned int updaters;
	unsigned int nonblock;
	unsigned int entries;
	unsigned int rseq;
	unsigned int window;
	unsigned int schedule;
	unsigned int breaks;
	unsigned int tier_faults;
	uint64_t pool_size;
	bool nest;
	bool first;
	bool progress;
	uint64_t seed;
	double seconds;
	double patience_s;
	void (*deadlock)(void *ctx, const struct torture_report *report);
	void *ctx;
};

/* What the program does without options: a mix that every gate must survive. */
extern const struct torture_options torture_defaults;

/* 0 if it ran, whatever it found; else a negative errno. */
int torture_run(const struct torture_options *options, struct torture_report *report);

uint64_t torture_nr_violations(const struct torture_report *report);

/* How a gate took the nested-lock scenario. */
struct torture_nested {
	bool deadlock;
	bool failed; /* neither passed nor deadlocked */
	double seconds;
	char threads[2048];
};

/*
 * Runs it under each gate, in a child process each, and indexes @results by gate. 0 or a negative
 * errno. The calling process should have no other threads.
 */
int torture_nested_lock(double patience_s, struct torture_nested results[S2_NR_GATES]);

/* Is this what is known of the four gates? */
bool torture_nested_as_known(const struct torture_nested results[S2_NR_GATES]);

/* How a gate took the starve scenario. */
struct torture_starve {
	uint64_t updates;
	uint64_t max_wait_ns;
	bool starved; /* the updater was waiting when the churn stopped, and had for half of its
			 time */
};

int torture_starve(enum s2_gate gate, double seconds, struct torture_starve *result);

#endif
