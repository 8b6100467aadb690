/* SPDX-License-Identifier: MIT */
/*
 * What the gate benchmark holds the gates against: pairs that do the least that any design with a
 * claim and a lookup has to do, and one that does what a user without this library would write.
 */
#ifndef STAGE2_TOOLS_BENCH_FLOOR_H
#define STAGE2_TOOLS_BENCH_FLOOR_H

#include "bench.h"
#include "bench_pairs.h"

#include <pthread.h>
#include <stdatomic.h>

#define BENCH_FLOOR_CHUNKS (2 * BENCH_CHUNK_PAIRS)

struct bench_floor_line {
	_Atomic uint64_t claimed;
	_Atomic uint64_t start;
	_Atomic uint64_t end;
} __attribute__((aligned(64)));

/*
 * @guest: a bit for each chunk of addresses, set if guest memory is there. As memslots are whole
 *         chunks here it is all there is to look up, and no index of intervals can do with less
 *         than the one load it takes.
 * @pairs: one list for each thread, as for the gates.
 */
struct bench_floor {
	uint64_t guest[BENCH_FLOOR_CHUNKS / 64];
	const struct bench_pairs *pairs;
	pthread_rwlock_t lock;
	struct bench_floor_line line[BENCH_MAX_CPUS];
};

/* @nr_vms: in chunks @stride pairs of chunks apart, as those of the gates. 0 or a negative errno.
 */
int bench_floor_init(struct bench_floor *floor, const struct bench_pairs *pairs,
		     unsigned int nr_vms);
void bench_floor_destroy(struct bench_floor *floor);

/*
 * A compare-exchange that claims the line of the thread's own, one load to look the range up, and
 * at the end a store to the line. Nothing is published but the claim itself, nothing checked,
 * counted or called: it could not tell a memslot update what to wait for.
 */
int bench_floor_run(struct bench_worker *worker, uint64_t n);

/*
 * The same as two functions of a library, which are called and not inlined, and with the range
 * written to the line, so that a memslot update could find out whether to wait for it.
 */
int bench_floor_run_range(struct bench_worker *worker, uint64_t n);

/* The same lookup, with a pthread_rwlock_t held for reading from the start to the end. */
int bench_floor_run_rwlock(struct bench_worker *worker, uint64_t n);

#endif
