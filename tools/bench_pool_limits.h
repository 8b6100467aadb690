/* SPDX-License-Identifier: MIT */
/*
 * What the pool's swapping is to come close to: the same pages only copied, or only compressed and
 * decompressed, by the compressors as the tiers have them.
 */
#ifndef STAGE2_TOOLS_BENCH_POOL_LIMITS_H
#define STAGE2_TOOLS_BENCH_POOL_LIMITS_H

#include "bench.h"

#define BENCH_NR_LIMITS 3

/* One for each of what may be the limit; -ENOTSUP: this build has no such compressor. */
struct bench_limit;

int bench_limit_create(unsigned int which, unsigned int threads, uint64_t pages,
		       struct bench_limit **limit);
void bench_limit_destroy(struct bench_limit *limit);
const char *bench_limit_name(unsigned int which);

/* Operations of a worker, whose pages are numbered from its index * pages on: all of them, once. */
int bench_limit_out(struct bench_limit *limit, unsigned int index, uint64_t *sink);
int bench_limit_in(struct bench_limit *limit, unsigned int index, const uint32_t *order,
		   uint64_t *sink);

/*
 * Adds to @row, under "of_limit", how much its number @key is of that of the row with @labels,
 * which are consumed.
 */
int bench_limit_add_ratio(const json_t *results, json_t *row, const char *key, json_t *labels);

#endif
