/* SPDX-License-Identifier: MIT */
/* See bench_floor.h. The run functions expect what they look up not to be there. */
#include "bench_floor.h"

#include <errno.h>

static unsigned int chunk_of(uint64_t hva)
{
	return (unsigned int)(hva / BENCH_CHUNK_SIZE) % BENCH_FLOOR_CHUNKS;
}

int bench_floor_init(struct bench_floor *floor, const struct bench_pairs *pairs,
		     unsigned int nr_vms)
{
	floor->pairs = pairs;
	for (unsigned int i = 0; i < nr_vms; i++) {
		unsigned int chunk = chunk_of(bench_guest_chunk(i * (BENCH_CHUNK_PAIRS / nr_vms)));

		floor->guest[chunk / 64] |= UINT64_C(1) << chunk % 64;
	}
	return -pthread_rwlock_init(&floor->lock, NULL);
}

void bench_floor_destroy(struct bench_floor *floor)
{
	pthread_rwlock_destroy(&floor->lock);
}

static bool is_guest(const struct bench_floor *floor, uint64_t start, uint64_t end)
{
	unsigned int chunk = chunk_of(start);

	/* Longer ranges would need more than one look; the list has none. */
	return floor->guest[chunk / 64] >> chunk % 64 & 1 || chunk != chunk_of(end - 1);
}

int bench_floor_run(struct bench_worker *worker, uint64_t n)
{
	struct bench_floor *floor = worker->ctx;
	const struct bench_pairs *pairs = &floor->pairs[worker->index];
	_Atomic uint64_t *claimed = &floor->line[worker->index].claimed;

	for (uint64_t i = worker->done; i < worker->done + n; i++) {
		uint64_t start = pairs->range[i % BENCH_PAIRS].start;
		uint64_t end = pairs->range[i % BENCH_PAIRS].end, unclaimed = 0;

		/* The look comes after the claim, and the release after what the pair brackets. */
		if (!atomic_compare_exchange_strong_explicit(
			    claimed, &unclaimed, 1, memory_order_seq_cst, memory_order_relaxed) ||
		    is_guest(floor, start, end))
			return -EPROTO;
		atomic_store_explicit(claimed, 0, memory_order_release);
	}
	return 0;
}

static __attribute__((noinline)) int
start_range(struct bench_floor *floor, struct bench_floor_line *line, uint64_t start, uint64_t end)
{
	uint64_t unclaimed = 0;

	if (!atomic_compare_exchange_strong_explicit(&line->claimed, &unclaimed, 1,
						     memory_order_seq_cst, memory_order_relaxed))
		return -EPROTO;
	atomic_store_explicit(&line->start, start, memory_order_relaxed);
	/* Release: who sees the end sees the start. */
	atomic_store_explicit(&line->end, end, memory_order_release);
	return is_guest(floor, start, end) ? -EPROTO : 0;
}

static __attribute__((noinline)) void end_range(struct bench_floor_line *line)
{
	atomic_store_explicit(&line->end, 0, memory_order_relaxed);
	atomic_store_explicit(&line->claimed, 0, memory_order_release);
}

int bench_floor_run_range(struct bench_worker *worker, uint64_t n)
{
	struct bench_floor *floor = worker->ctx;
	const struct bench_pairs *pairs = &floor->pairs[worker->index];
	struct bench_floor_line *line = &floor->line[worker->index];

	for (uint64_t i = worker->done; i < worker->done + n; i++) {
		int error = start_range(floor, line, pairs->range[i % BENCH_PAIRS].start,
					pairs->range[i % BENCH_PAIRS].end);

		if (error)
			return error;
		end_range(line);
	}
	return 0;
}

int bench_floor_run_rwlock(struct bench_worker *worker, uint64_t n)
{
	struct bench_floor *floor = worker->ctx;
	const struct bench_pairs *pairs = &floor->pairs[worker->index];

	for (uint64_t i = worker->done; i < worker->done + n; i++) {
		uint64_t start = pairs->range[i % BENCH_PAIRS].start;
		uint64_t end = pairs->range[i % BENCH_PAIRS].end;
		int error = pthread_rwlock_rdlock(&floor->lock);

		if (!error && is_guest(floor, start, end))
			error = EPROTO;
		if (error)
			return -error;
		pthread_rwlock_unlock(&floor->lock);
	}
	return 0;
}
