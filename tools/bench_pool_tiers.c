/* SPDX-License-Identifier: MIT */
/*
 * See bench_pool_tiers.h. A tier in memory does not take pages that do not get smaller; behind it
 * is one that copies them, which is the least that can be done.
 */
#include "bench_pool_tiers.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void bench_tiers_destroy(struct s2_pool_tier *tiers[S2_POOL_TIERS])
{
	for (unsigned int i = 0; i < S2_POOL_TIERS && tiers[i]; i++)
		tiers[i]->ops->destroy(tiers[i]);
}

static int create_copy(const struct bench_options *options, uint64_t pages,
		       struct s2_pool_tier *tiers[S2_POOL_TIERS], struct bench_redis *server)
{
	(void)server;
	(void)options;
	return bench_tier_copy(pages, &tiers[0]);
}

static int create_memory(enum s2_pool_codec codec, uint64_t pages,
			 struct s2_pool_tier *tiers[S2_POOL_TIERS])
{
	int error = s2_pool_tier_memory(codec, pages * S2_PAGE_SIZE, &tiers[0]);

	return error ? error : bench_tier_copy(pages, &tiers[1]);
}

int bench_tiers_lz4(uint64_t pages, struct s2_pool_tier *tiers[S2_POOL_TIERS])
{
	return create_memory(S2_POOL_LZ4, pages, tiers);
}

static int create_lz4(const struct bench_options *options, uint64_t pages,
		      struct s2_pool_tier *tiers[S2_POOL_TIERS], struct bench_redis *server)
{
	(void)server;
	(void)options;
	return bench_tiers_lz4(pages, tiers);
}

static int create_zstd(const struct bench_options *options, uint64_t pages,
		       struct s2_pool_tier *tiers[S2_POOL_TIERS], struct bench_redis *server)
{
	(void)server;
	(void)options;
	return create_memory(S2_POOL_ZSTD, pages, tiers);
}

/* The file has no name as soon as it is open: whatever ends this program, nothing is left. */
static int create_file_in(const char *dir, uint64_t pages, struct s2_pool_tier **tier)
{
	char path[PATH_MAX];
	int error, fd;

	if (snprintf(path, sizeof(path), "%s/stage2-bench-XXXXXX", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	error = s2_pool_tier_file(path, pages * S2_PAGE_SIZE, tier);
	unlink(path);
	close(fd);
	return error;
}

static int create_file(const struct bench_options *options, uint64_t pages,
		       struct s2_pool_tier *tiers[S2_POOL_TIERS], struct bench_redis *server)
{
	(void)server;
	return create_file_in(options->dir, pages, &tiers[0]);
}

#define SHARED_MEMORY "/dev/shm"

/* Not where files are in any case: then they have been measured. */
static int create_shm(const struct bench_options *options, uint64_t pages,
		      struct s2_pool_tier *tiers[S2_POOL_TIERS], struct bench_redis *server)
{
	(void)server;
	struct stat shm, dir;

	if (stat(SHARED_MEMORY, &shm) || access(SHARED_MEMORY, W_OK) ||
	    (!stat(options->dir, &dir) && dir.st_dev == shm.st_dev))
		return -ENOTSUP;
	return create_file_in(SHARED_MEMORY, pages, &tiers[0]);
}

static int create_redis(const struct bench_options *options, uint64_t pages,
			struct s2_pool_tier *tiers[S2_POOL_TIERS], struct bench_redis *server)
{
	(void)options;
	return bench_tier_redis(pages, &tiers[0], server);
}

const struct bench_tier bench_tiers[] = {
	{ "copy", "memcpy", create_copy },
	{ "LZ4", "LZ4 by itself", create_lz4 },
	{ "zstd", "zstd by itself", create_zstd },
	{ "file", "memcpy", create_file },
	{ "file in " SHARED_MEMORY, "memcpy", create_shm },
	{ "Redis", "memcpy", create_redis },
	{ NULL, NULL, NULL },
};
