/* SPDX-License-Identifier: MIT */
/*
 * See run_tiers.h. Nothing that was given for a Redis server is ever repeated in an error: a
 * password may be in it, by mistake.
 */
#include "run_tiers.h"

#include "options.h"
#include "run_size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* include/stage2/pool.h has the limits of each. */
#define MEMORY_MAX (UINT64_C(128) << 30)
#define FILE_MAX (UINT64_C(256) << 40)
#define REDIS_MAX (UINT64_C(4) << 40)

/* Those that are dropped take room on a server for a while. */
#define REDIS_ROOM 2

const char *const run_tier_names[] = {
	[RUN_TIER_ZSTD] = "zstd",
	[RUN_TIER_LZ4] = "lz4",
	[RUN_TIER_FILE] = "file",
	[RUN_TIER_REDIS] = "redis",
};

#define NR_KINDS (sizeof(run_tier_names) / sizeof(run_tier_names[0]))

static const uint64_t size_max[] = {
	[RUN_TIER_ZSTD] = MEMORY_MAX,
	[RUN_TIER_LZ4] = MEMORY_MAX,
	[RUN_TIER_FILE] = FILE_MAX,
	[RUN_TIER_REDIS] = REDIS_MAX,
};

void run_tiers_clear(struct run_tiers *tiers)
{
	for (unsigned int i = 0; i < tiers->nr; i++)
		free(tiers->tier[i].place);
	tiers->nr = 0;
}

static int parse_size(struct run_tier *tier, const char *text, char *error, size_t len)
{
	uint64_t max = size_max[tier->kind];
	char buf[24];

	if (run_size_parse(text, &tier->size) && tier->size >= S2_PAGE_SIZE && tier->size <= max &&
	    !(tier->size % S2_PAGE_SIZE))
		return 0;
	snprintf(error, len, "'%s' is not a size for %s: a multiple of 4K up to %s", text,
		 run_tier_names[tier->kind], run_size_text(max, buf, sizeof(buf)));
	return -EINVAL;
}

static int set_place(struct run_tier *tier, const char *place, size_t size)
{
	tier->place = strndup(place, size);
	return tier->place ? 0 : -ENOMEM;
}

/* What follows the last colon may be a size or a part of the path. */
static int parse_file(struct run_tier *tier, const char *rest, char *error, size_t len)
{
	const char *colon = rest ? strrchr(rest, ':') : NULL;
	uint64_t size;

	if (!rest || !*rest || colon == rest) {
		snprintf(error, len, "a file needs a path: file:PATH or file:PATH:SIZE");
		return -EINVAL;
	}
	if (!colon || !run_size_parse(colon + 1, &size))
		return set_place(tier, rest, strlen(rest));
	if (parse_size(tier, colon + 1, error, len))
		return -EINVAL;
	return set_place(tier, rest, (size_t)(colon - rest));
}

static int parse_redis(struct run_tier *tier, const char *rest, char *error, size_t len)
{
	const char *colon = rest ? strrchr(rest, ':') : NULL;
	uint64_t port;

	if (rest && rest[0] == '/' && rest[1] && rest[1] != '/' && !strchr(rest, '@'))
		return set_place(tier, rest, strlen(rest));
	if (!colon || colon == rest || strchr(rest, '@') || *rest == '/' ||
	    !option_number(colon + 1, 1, 65535, &port)) {
		snprintf(
			error, len,
			"a Redis server is redis:HOST:PORT or redis:/SOCKET; user and password are "
			"taken from the variables " RUN_REDIS_USER " and " RUN_REDIS_PASSWORD);
		return -EINVAL;
	}
	tier->port = (uint16_t)port;
	return set_place(tier, rest, (size_t)(colon - rest));
}

static int parse_tier(struct run_tier *tier, char *text, char *error, size_t len)
{
	char *rest = strchr(text, ':');
	unsigned int kind = 0;

	if (rest)
		*rest++ = '\0';
	while (kind < NR_KINDS && strcmp(text, run_tier_names[kind]))
		kind++;
	if (kind == NR_KINDS) {
		snprintf(error, len,
			 "'%s' is not a place for pages; they are zstd, lz4, file:PATH "
			 "and redis:HOST:PORT",
			 text);
		return -EINVAL;
	}
	tier->kind = (enum run_tier_kind)kind;
	if (tier->kind == RUN_TIER_FILE)
		return parse_file(tier, rest, error, len);
	if (tier->kind == RUN_TIER_REDIS)
		return parse_redis(tier, rest, error, len);
	return rest ? parse_size(tier, rest, error, len) : 0;
}

static int parse_list(char *list, struct run_tiers *tiers, char *error, size_t len)
{
	char *text;

	while ((text = strsep(&list, ","))) {
		struct run_tier tier = { .size = 0 };
		int ret;

		if (tiers->nr == S2_POOL_TIERS) {
			snprintf(error, len, "more than %d places for pages", S2_POOL_TIERS);
			return -EINVAL;
		}
		ret = parse_tier(&tier, text, error, len);
		if (ret)
			return ret;
		tiers->tier[tiers->nr++] = tier;
	}
	return 0;
}

int run_tiers_parse(const char *text, struct run_tiers *tiers, char *error, size_t len)
{
	char *list = strdup(text);
	int ret = -ENOMEM;

	tiers->nr = 0;
	snprintf(error, len, "out of memory");
	if (list)
		ret = parse_list(list, tiers, error, len);
	if (ret)
		run_tiers_clear(tiers);
	free(list);
	return ret;
}

static int create_redis(const struct run_tier *tier, uint64_t size, struct s2_pool_tier **created)
{
	const char *user = getenv(RUN_REDIS_USER), *password = getenv(RUN_REDIS_PASSWORD);
	const struct s2_pool_redis_config config = {
		.host = tier->place,
		.port = tier->port,
		.user = user && *user ? user : NULL,
		.password = password && *password ? password : NULL,
		.size = size > REDIS_MAX / REDIS_ROOM ? REDIS_MAX : size * REDIS_ROOM,
		.connections = 16,
	};

	return s2_pool_tier_redis(&config, created);
}

/* The tier would overwrite it, whatever it is. */
static bool has_contents(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && st.st_size;
}

static int create_file(const struct run_tier *tier, uint64_t size, struct s2_pool_tier **created)
{
	if (has_contents(tier->place))
		return -EEXIST;
	return s2_pool_tier_file(tier->place, size, created);
}

static int create(const struct run_tier *tier, uint64_t guests, struct s2_pool_tier **created)
{
	uint64_t max = size_max[tier->kind];
	uint64_t size = tier->size ? tier->size : guests < max ? guests : max;

	switch (tier->kind) {
	case RUN_TIER_ZSTD:
		return s2_pool_tier_memory(S2_POOL_ZSTD, size, created);
	case RUN_TIER_LZ4:
		return s2_pool_tier_memory(S2_POOL_LZ4, size, created);
	case RUN_TIER_FILE:
		return create_file(tier, size, created);
	default:
		return create_redis(tier, size, created);
	}
}

static const char *file_reason(int ret)
{
	switch (ret) {
	case -EEXIST:
		return "what is in it would be overwritten; name a new file";
	case -EBUSY:
		return "it is in use already; name another file";
	case -EINVAL:
		return "it is neither a file nor a block device; name a new file";
	default:
		return strerror(-ret);
	}
}

static void explain(const struct run_tier *tier, int ret, char *error, size_t len)
{
	const char *name = run_tier_names[tier->kind];

	if (ret == -ENOTSUP)
		snprintf(error, len, "--swap: %s: this build of stage2 has none", name);
	else if (tier->kind == RUN_TIER_FILE)
		snprintf(error, len, "--swap: %s:%s: %s", name, tier->place, file_reason(ret));
	else if (tier->kind == RUN_TIER_REDIS)
		snprintf(error, len,
			 "--swap: %s: no server can be used there (%s); start it, or correct its "
			 "address, user or password",
			 name, strerror(-ret));
	else
		snprintf(error, len, "--swap: %s: %s", name, strerror(-ret));
}

int run_tiers_create(const struct run_tiers *tiers, uint64_t guests,
		     struct s2_pool_tier *created[S2_POOL_TIERS], char *error, size_t len)
{
	for (unsigned int i = 0; i < tiers->nr; i++) {
		int ret = create(&tiers->tier[i], guests, &created[i]);

		if (!ret)
			continue;
		explain(&tiers->tier[i], ret, error, len);
		while (i--)
			created[i]->ops->destroy(created[i]);
		return ret;
	}
	return 0;
}
