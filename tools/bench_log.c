/* SPDX-License-Identifier: MIT */
/* See bench_log.h. */
#include "bench_log.h"
#include "clock.h"

void bench_log_expect(uint64_t *bitmap, unsigned int percent)
{
	for (uint64_t page = 0; percent && page < BENCH_LOG_PAGES; page += 100 / percent)
		bitmap[page / 64] |= UINT64_C(1) << page % 64;
}

int bench_log_dirty(const struct bench_log_share *share)
{
	const struct bench_log *log = share->log;

	return share->percent ? log->ops->dirty(log->vm, 100 / share->percent) : 0;
}

int bench_log_get(struct bench_log *log)
{
	const struct kvm_dirty_log request = { .dirty_bitmap = log->bitmap };

	return log->ops->get(log->vm, &request);
}

static int clear(struct bench_log *log)
{
	const struct kvm_clear_dirty_log request = { .num_pages = BENCH_LOG_PAGES,
						     .dirty_bitmap = log->bitmap };

	return log->ops->clear(log->vm, &request);
}

int bench_log_empty(void *ctx)
{
	const struct bench_log_share *share = ctx;
	int error = bench_log_get(share->log);

	return !error && share->log->manual ? clear(share->log) : error;
}

int bench_log_run_get(struct bench_worker *worker, uint64_t n)
{
	const struct bench_log_share *share = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns();

		error = bench_log_dirty(share);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = bench_log_get(share->log);
	}
	return error;
}

int bench_log_run_clear(struct bench_worker *worker, uint64_t n)
{
	const struct bench_log_share *share = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns();

		error = bench_log_dirty(share);
		if (!error)
			error = bench_log_get(share->log);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = clear(share->log);
	}
	return error;
}
