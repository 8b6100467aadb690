/* SPDX-License-Identifier: MIT */
/*
 * One replay: a recording's invalidations and memslot updates, through the library with one gate,
 * beside vCPUs that use the guests' memory.
 */
#ifndef STAGE2_TOOLS_REPLAY_H
#define STAGE2_TOOLS_REPLAY_H

#include "latency.h"
#include "replay_guest.h"
#include "replay_plan.h"
#include "trace.h"

#include <stage2/mm.h>
#include <stdint.h>

struct replay_settings {
	enum s2_gate gate;
	unsigned int vcpus;   /* for each VM */
	double speed;	      /* 1: in recorded time; 0: as fast as possible */
	unsigned int stall_s; /* give up after so long without progress; 0: never */
	uint64_t seed;	      /* of what the vCPUs do */
	void (*progress)(void *ctx, size_t done, size_t total); /* may be NULL */
	void *progress_ctx;
};

/* Counts are of calls, as the library decided them, all recorded processes together. */
struct replay_result {
	uint64_t invalidations;
	uint64_t elided;
	uint64_t mmu_lock_acquired;
	uint64_t memslot_updates;
	uint64_t wall_ns;
	struct latency invalidation_ns;	  /* of a call: its start() and its end() together */
	struct latency memslot_update_ns; /* of s2_vm_set_memory_region() */
	struct guest_stats vcpus;
};

/*
 * Returns 0, or a negative errno with *@err filled in as trace_read() does: what the library
 * refused although the recorded kernel did not, or
 * -EPROTO:            counts differ from the recording's;
 * -ETIMEDOUT, -EAGAIN: nothing moved for stall_s, or a thread could not be started. Threads may
 *                     then be stuck in the library, and use @plan, @settings, @result and @err:
 *                     report, and end the process with _exit().
 */
int replay_run(const struct replay_plan *plan, const struct replay_settings *settings,
	       struct replay_result *result, struct trace_error *err);

#endif
