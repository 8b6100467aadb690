/* SPDX-License-Identifier: MIT */
/*
 * --swap: where pages go that the pool has no frame for, in this order. What a user is called and
 * the password on a Redis server come by the environment, where no list of processes shows them.
 */
#ifndef STAGE2_TOOLS_RUN_TIERS_H
#define STAGE2_TOOLS_RUN_TIERS_H

#include <stage2/pool.h>
#include <stddef.h>
#include <stdint.h>

#define RUN_REDIS_USER "STAGE2_REDIS_USER"
#define RUN_REDIS_PASSWORD "STAGE2_REDIS_PASSWORD"

enum run_tier_kind { RUN_TIER_ZSTD, RUN_TIER_LZ4, RUN_TIER_FILE, RUN_TIER_REDIS };

struct run_tier {
	enum run_tier_kind kind;
	uint64_t size; /* bytes; 0: as large as all guests together */
	uint16_t port;
	char *place; /* path of a file, host, or path of a socket; NULL for tiers in memory */
};

struct run_tiers {
	unsigned int nr;
	struct run_tier tier[S2_POOL_TIERS];
};

/* "zstd", "lz4", "file", "redis". */
extern const char *const run_tier_names[];

/*
 * "zstd[:SIZE],lz4[:SIZE],file:PATH[:SIZE],redis:HOST:PORT,redis:/SOCKET". -EINVAL: @error says in
 * one line what is wrong, without what may be a secret, and *@tiers is empty; -ENOMEM as well.
 */
int run_tiers_parse(const char *text, struct run_tiers *tiers, char *error, size_t len);
void run_tiers_clear(struct run_tiers *tiers);

/*
 * Makes them, for a pool's config; @guests: bytes that all guests have. On error none is left, and
 * @error says in one line which one could not be had, and why.
 */
int run_tiers_create(const struct run_tiers *tiers, uint64_t guests,
		     struct s2_pool_tier *created[S2_POOL_TIERS], char *error, size_t len);

#endif
