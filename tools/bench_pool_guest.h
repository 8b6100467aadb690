/* SPDX-License-Identifier: MIT */
/*
 * A VM whose memory is one region of a pool, in a memcg of its own and filled with the pages of
 * bench_pages.h: what the benchmarks of the pool swap, merge and clone.
 */
#ifndef STAGE2_TOOLS_BENCH_POOL_GUEST_H
#define STAGE2_TOOLS_BENCH_POOL_GUEST_H

#include "bench.h"

#include <stage2/pool.h>

/*
 * A pool whose tier is LZ4's, with room for @pages in it. 0, BENCH_SKIPPED after saying why, or a
 * negative errno, of which it also has said what failed. @config: @tiers are filled in.
 */
int bench_pool_create(const struct bench *bench, struct s2_pool_config *config, uint64_t pages,
		      struct s2_pool **pool);

/* All zero is one that has nothing yet, and that may be destroyed. */
struct bench_guest {
	struct s2_pool *pool;
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	struct s2_vcpu *vcpus[BENCH_MAX_CPUS];
	uint64_t hva;
	uint64_t pages;
};

/* Memory that is absent. On error what there is of it is for bench_guest_destroy(). */
int bench_guest_create(struct bench_guest *guest, struct s2_pool *pool, uint64_t pages,
		       unsigned int vcpus);
void bench_guest_destroy(struct bench_guest *guest);

/* Writes its pages, as the pages from number @nr on are. */
int bench_guest_fill(const struct bench_guest *guest, uint64_t nr);

/* The same of any region. */
int bench_region_fill(struct s2_pool *pool, uint64_t hva, uint64_t pages, uint64_t nr);

/* Has vCPU 0 write to each page, which leaves it as it was, but in a frame of its own. */
int bench_guest_write_all(const struct bench_guest *guest);

/* Swaps out all there is. -ENOSPC: the tiers have not taken it. */
int bench_guest_swap_out(const struct bench_guest *guest);

#endif
