/* SPDX-License-Identifier: MIT */
/*
 * The dirty log of a memslot of 1 GiB, and what getting and clearing it costs. Only the calls that
 * are made differ between a VM of stage2 and one of what it is compared with: what is dirtied
 * before each of them, and what is left out of the time, is the same.
 */
#ifndef STAGE2_TOOLS_BENCH_LOG_H
#define STAGE2_TOOLS_BENCH_LOG_H

#include "bench.h"

#define BENCH_LOG_PAGES (UINT64_C(1) << 18)
#define BENCH_LOG_WORDS (BENCH_LOG_PAGES / 64)

/*
 * On a VM with the log; each 0 or a negative errno.
 *
 * @dirty: has the guest write to one page in @step, from the first on.
 */
struct bench_log_ops {
	int (*dirty)(void *vm, uint64_t step);
	int (*get)(void *vm, const struct kvm_dirty_log *log);
	int (*clear)(void *vm, const struct kvm_clear_dirty_log *log);
};

/* A VM in one of the two modes, with the log as it was last got, or about to be. */
struct bench_log {
	const struct bench_log_ops *ops;
	void *vm;
	bool manual;
	uint64_t bitmap[BENCH_LOG_WORDS];
};

/* One number of the report, and its cells' ctx: so much of the memory is dirty. */
struct bench_log_share {
	struct bench_log *log;
	unsigned int percent;
};

/* Sets the bits of the pages that are dirty then in @bitmap, which is clear. */
void bench_log_expect(uint64_t *bitmap, unsigned int percent);

int bench_log_dirty(const struct bench_log_share *share);
int bench_log_get(struct bench_log *log);

/* Cells of the same VM follow each other: takes what the last one left in the log. */
int bench_log_empty(void *share);

bench_run_fn bench_log_run_get;
bench_run_fn bench_log_run_clear;

#endif
