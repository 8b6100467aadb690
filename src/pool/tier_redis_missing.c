/* SPDX-License-Identifier: MIT */
/* In place of tier_redis.c, in a build without hiredis. */
#include <errno.h>
#include <stage2/pool.h>

int s2_pool_tier_redis(const struct s2_pool_redis_config *config, struct s2_pool_tier **tier)
{
	return config && tier ? -ENOTSUP : -EINVAL;
}
