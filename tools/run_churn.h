/* SPDX-License-Identifier: MIT */
/*
 * What a host does to guests' memory while they run: takes it away, merges it, moves it,
 * invalidates theirs and other memory, and updates memslots. Nothing of it may change what they
 * compute.
 */
#ifndef STAGE2_TOOLS_RUN_CHURN_H
#define STAGE2_TOOLS_RUN_CHURN_H

#include "run_sample.h"

#include <stage2/vm.h>

#define RUN_MAX_CHURN 3

/* One guest. @slot: of its memory, which is never moved or deleted. */
struct run_churn_target {
	struct s2_vm *vm;
	uint32_t slot;
	uint64_t hva;
	uint64_t size;
};

/*
 * @level: 0: nothing but merging, if that is wanted, and unhurried; 1: everything, ten times a
 *         second; 2: a thousand times; RUN_MAX_CHURN: without a pause.
 * @merge: equal pages share a frame.
 * @pairs_only: pairs, unrelated and related ones, and memslot updates: for measuring what they
 * cost.
 */
struct run_churn_config {
	struct s2_pool *pool;
	unsigned int level;
	bool merge;
	bool pairs_only;
	unsigned int nr_targets;
	const struct run_churn_target *targets;
};

struct run_churn;

/* @config is copied, the targets are not. -errno: nothing runs. */
int run_churn_start(const struct run_churn_config *config, struct run_churn **churn);

/* Adds what was timed since the last call to @events. */
void run_churn_take(struct run_churn *churn, struct latency events[RUN_NR_EVENTS]);

/* When it returns nothing of it is left. NULL is allowed. */
void run_churn_stop(struct run_churn *churn);

#endif
