/* SPDX-License-Identifier: MIT */
/* The tiers that are measured, each with what is to be known of it. */
#ifndef STAGE2_TOOLS_BENCH_POOL_TIERS_H
#define STAGE2_TOOLS_BENCH_POOL_TIERS_H

#include "bench.h"

#include <stage2/pool.h>
#include <sys/types.h>

/* A redis-server of this program's own, in a directory of its own. @pid: 0 if there is none. */
struct bench_redis {
	pid_t pid;
	char dir[64];
	char socket[80];
};

/*
 * @name:   in the report.
 * @limit:  in the report, what does the least that this tier has to do for a page.
 * @create: makes it the first of @tiers, for @pages of bench_pages.h, and behind it what takes the
 *          pages that it does not; *@server is to be ended after the pool. -ENOTSUP: this build
 *          or machine has none.
 */
struct bench_tier {
	const char *name;
	const char *limit;
	int (*create)(const struct bench_options *options, uint64_t pages,
		      struct s2_pool_tier *tiers[S2_POOL_TIERS], struct bench_redis *server);
};

/* Ends with one that has no name. */
extern const struct bench_tier bench_tiers[];

/* Of tiers that no pool has taken over. */
void bench_tiers_destroy(struct s2_pool_tier *tiers[S2_POOL_TIERS]);

/* The one of them that most would choose; -ENOTSUP: this build has no LZ4. */
int bench_tiers_lz4(uint64_t pages, struct s2_pool_tier *tiers[S2_POOL_TIERS]);

/* A tier that copies each page, and does no more: what is measured then is the pool. */
int bench_tier_copy(uint64_t pages, struct s2_pool_tier **tier);

/* The tier of a redis-server that is started for it, if there is one. */
int bench_tier_redis(uint64_t pages, struct s2_pool_tier **tier, struct bench_redis *server);

/* Ends it, if it is there. */
void bench_redis_end(struct bench_redis *server);

#endif
