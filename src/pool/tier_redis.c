/* SPDX-License-Identifier: MIT */
/*
 * The tier on a Redis server: a key for each page. A page's slot is a number that is never
 * used again, and a part of its key; so what a server carries out late, after we gave it
 * up, concerns no other page. What is dropped is removed by the batch, at the cost of
 * a 64th of a round trip, and nothing is asked of the server while a page is brought in
 * but for the page.
 *
 * Below it: fresh_slots.h, the numbers; redis_exchange.h, commands by the batch;
 * redis_cluster.h, which server has a key; redis_node.h, a server, its connections, and
 * what happens if it does not answer; redis_connection.h, the socket and the protocol.
 */
#include "base/alloc.h"
#include "base/reserved.h"
#include "pool/fresh_slots.h"
#include "pool/redis_exchange.h"

#include <errno.h>
#include <netdb.h>
#include <stage2/pool.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/un.h>

#define SIZE_MAX_BYTES (S2_FRESH_SLOTS_MAX * S2_PAGE_SIZE)
#define PREFIX_MAX 64
#define TIMEOUT_MAX_MS 60000
#define CONNECTIONS_MAX 64

/* To find a server of a cluster that has memory: if a third have, one search in 600 fails. */
#define ATTEMPTS 16

struct redis_tier {
	struct s2_pool_tier tier;
	struct s2_fresh_slots slots;
	struct s2_redis_cluster cluster;
	char prefix[PREFIX_MAX + 17 + 1];
};

static struct redis_tier *to_redis(struct s2_pool_tier *tier)
{
	return (struct redis_tier *)tier;
}

static void make_key(const struct redis_tier *r, struct s2_redis_command *command,
		     enum s2_redis_verb verb, uint64_t number)
{
	command->verb = verb;
	snprintf(command->key, sizeof(command->key), "%s%012llx", r->prefix,
		 (unsigned long long)number);
}

/* A batch of what was dropped. Returns how many of these are gone. */
static unsigned remove_some(struct redis_tier *r)
{
	struct s2_redis_command commands[S2_POOL_BATCH];
	uint64_t numbers[S2_POOL_BATCH];
	unsigned n = s2_fresh_slots_dequeue(&r->slots, S2_POOL_BATCH, numbers), removed = 0;

	for (unsigned i = 0; i < n; i++)
		make_key(r, &commands[i], S2_REDIS_REMOVE, numbers[i]);
	s2_redis_exchange(&r->cluster, n, commands);
	for (unsigned i = 0; i < n; i++) {
		if (commands[i].result) {
			s2_fresh_slots_requeue(&r->slots, numbers[i]);
		} else {
			s2_fresh_slots_free(&r->slots, numbers[i]);
			removed++;
		}
	}
	return removed;
}

/* Room that was dropped may still have to be made. */
static unsigned take_numbers(struct redis_tier *r, unsigned n, uint64_t numbers[])
{
	unsigned taken = s2_fresh_slots_take(&r->slots, n, numbers);

	while (taken < n && remove_some(r))
		taken += s2_fresh_slots_take(&r->slots, n - taken, &numbers[taken]);
	return taken;
}

/* Where nobody knows whether it was stored, it is removed with what was dropped. */
static int settle(struct redis_tier *r, const struct s2_redis_command *command, uint64_t number)
{
	if (!command->result)
		return 0;
	if (command->sent)
		s2_fresh_slots_drop(&r->slots, number);
	else
		s2_fresh_slots_free(&r->slots, number);
	return command->result;
}

static void store_taken(struct redis_tier *r, unsigned n, const void *const pages[],
			const uint64_t numbers[], int results[])
{
	struct s2_redis_command commands[S2_POOL_BATCH];

	for (unsigned i = 0; i < n; i++) {
		make_key(r, &commands[i], S2_REDIS_STORE, numbers[i]);
		commands[i].stored = pages[i];
	}
	s2_redis_exchange(&r->cluster, n, commands);
	for (unsigned i = 0; i < n; i++)
		results[i] = settle(r, &commands[i], numbers[i]);
}

/* By another number, which another server may have. */
static int store_elsewhere(struct redis_tier *r, const void *page, uint64_t *slot)
{
	int result = -ENOSPC;

	for (unsigned i = 0; i < ATTEMPTS && result == -ENOSPC; i++) {
		if (!take_numbers(r, 1, slot))
			break;
		store_taken(r, 1, &page, slot, &result);
	}
	return result;
}

/* One server of a cluster without memory does not make the tier full. */
static void store_refused(struct redis_tier *r, unsigned n, const void *const pages[],
			  uint64_t slots[], int results[])
{
	for (unsigned i = 0; i < n; i++) {
		if (results[i] != -ENOSPC)
			continue;
		results[i] = store_elsewhere(r, pages[i], &slots[i]);
		if (results[i] == -ENOSPC)
			break;
	}
}

static void store_pages(struct redis_tier *r, unsigned n, const void *const pages[],
			uint64_t slots[], int results[])
{
	unsigned taken = take_numbers(r, n, slots);

	if (taken)
		store_taken(r, taken, pages, slots, results);
	if (r->cluster.is_cluster)
		store_refused(r, taken, pages, slots, results);
	for (unsigned i = taken; i < n; i++)
		results[i] = -ENOSPC;
}

static void load_pages(struct redis_tier *r, unsigned n, const uint64_t slots[],
		       void *const pages[], int results[])
{
	struct s2_redis_command commands[S2_POOL_BATCH];
	unsigned asked[S2_POOL_BATCH], m = 0;

	for (unsigned i = 0; i < n; i++) {
		results[i] = -EINVAL;
		if (!s2_fresh_slots_taken(&r->slots, slots[i]))
			continue;
		make_key(r, &commands[m], S2_REDIS_LOAD, slots[i]);
		commands[m].loaded = pages[i];
		asked[m++] = i;
	}
	if (m)
		s2_redis_exchange(&r->cluster, m, commands);
	for (unsigned i = 0; i < m; i++)
		results[asked[i]] = commands[i].result;
}

/* To the pool, a server that fails in whichever way is one that fails. */
static int plain_error(int error)
{
	return error && error != -ENOSPC && error != -EINVAL ? -EIO : error;
}

static void plain_errors(unsigned n, int results[])
{
	for (unsigned i = 0; i < n; i++)
		results[i] = plain_error(results[i]);
}

static void redis_store_many(struct s2_pool_tier *tier, unsigned n, const void *const pages[],
			     uint64_t slots[], int results[])
{
	store_pages(to_redis(tier), n, pages, slots, results);
	plain_errors(n, results);
}

static int redis_store(struct s2_pool_tier *tier, const void *page, uint64_t *slot)
{
	int result;

	redis_store_many(tier, 1, &page, slot, &result);
	return result;
}

static void redis_load_many(struct s2_pool_tier *tier, unsigned n, const uint64_t slots[],
			    void *const pages[], int results[])
{
	load_pages(to_redis(tier), n, slots, pages, results);
	plain_errors(n, results);
}

static int redis_load(struct s2_pool_tier *tier, uint64_t slot, void *page)
{
	int result;

	redis_load_many(tier, 1, &slot, &page, &result);
	return result;
}

/* Of those that cannot be removed now, only each 64th drop tries again. */
static void redis_drop(struct s2_pool_tier *tier, uint64_t slot)
{
	struct redis_tier *r = to_redis(tier);
	uint64_t waiting = s2_fresh_slots_drop(&r->slots, slot);

	if (waiting && waiting % S2_POOL_BATCH == 0)
		remove_some(r);
}

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	s2_free(&s2_libc_allocator, secret);
}

static void tier_free(struct redis_tier *r)
{
	s2_redis_cluster_destroy(&r->cluster);
	wipe(r->cluster.settings.user);
	wipe(r->cluster.settings.password);
	s2_fresh_slots_destroy(&r->slots);
	s2_free(&s2_libc_allocator, r);
}

static void redis_destroy(struct s2_pool_tier *tier)
{
	struct redis_tier *r = to_redis(tier);

	s2_fresh_slots_drop_all(&r->slots);
	/* The first batch of which nothing could be removed ends it. */
	while (remove_some(r))
		;
	tier_free(r);
}

static const struct s2_pool_tier_ops redis_ops = {
	.name = "redis",
	.store = redis_store,
	.load = redis_load,
	.drop = redis_drop,
	.destroy = redis_destroy,
	.store_many = redis_store_many,
	.load_many = redis_load_many,
};

/* Is it NULL, or of 1 to @max bytes? */
static bool is_short(const char *text, size_t max)
{
	return !text || (*text && strnlen(text, max + 1) <= max);
}

static bool config_is_valid(const struct s2_pool_redis_config *c)
{
	size_t host_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (!c->host || !is_short(c->host, *c->host == '/' ? host_max : NI_MAXHOST))
		return false;
	if (!is_short(c->user, S2_REDIS_LOGIN_MAX) || !is_short(c->password, S2_REDIS_LOGIN_MAX))
		return false;
	return (c->password || !c->user) && is_short(c->prefix, PREFIX_MAX) &&
	       c->size >= S2_PAGE_SIZE && c->size <= SIZE_MAX_BYTES &&
	       c->timeout_ms <= TIMEOUT_MAX_MS && c->connections <= CONNECTIONS_MAX &&
	       S2_RESERVED_UNUSED(c);
}

static int copy_string(const char *text, char **copy)
{
	if (!text)
		return 0;
	*copy = s2_zalloc(&s2_libc_allocator, strlen(text) + 1, sizeof(void *));
	if (!*copy)
		return -ENOMEM;
	strcpy(*copy, text);
	return 0;
}

static int choose_prefix(struct redis_tier *r, const char *prefix)
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(r->prefix, sizeof(r->prefix), "%s%016llx:", prefix ? prefix : "stage2:",
		 (unsigned long long)number);
	return 0;
}

/* A server alone has no map of a cluster, and must not have one. */
static int find_others(struct s2_redis_cluster *cluster)
{
	int ret = s2_redis_cluster_refresh(cluster, 0);

	if (cluster->is_cluster)
		return ret;
	if (!ret)
		return -EPROTO;
	return ret == -EPROTO ? 0 : ret;
}

/* Stores a page, loads it, and removes it. A server that is full now may have room later. */
static int try_out(struct redis_tier *r)
{
	char page[S2_PAGE_SIZE] = "stage2";
	const void *stored = page;
	void *loaded = page;
	uint64_t number;
	int ret;

	store_pages(r, 1, &stored, &number, &ret);
	if (ret)
		return ret == -ENOSPC ? 0 : ret;
	load_pages(r, 1, &number, &loaded, &ret);
	s2_fresh_slots_drop(&r->slots, number);
	if (ret)
		return ret == -ENODATA ? -EPROTO : ret;
	return remove_some(r) ? 0 : -EACCES;
}

static int redis_init(struct redis_tier *r, const struct s2_pool_redis_config *config)
{
	struct s2_redis_settings *settings = &r->cluster.settings;
	int ret;

	settings->timeout_ms = config->timeout_ms ? config->timeout_ms : 1000;
	settings->connections = config->connections ? config->connections : 4;
	r->cluster.is_cluster = config->cluster;
	s2_redis_cluster_init(&r->cluster);
	ret = choose_prefix(r, config->prefix);
	if (!ret)
		ret = copy_string(config->user, &settings->user);
	if (!ret)
		ret = copy_string(config->password, &settings->password);
	if (!ret)
		ret = s2_redis_find_server(&r->cluster, config->host, config->port);
	if (!ret)
		ret = find_others(&r->cluster);
	return ret ? ret : try_out(r);
}

int s2_pool_tier_redis(const struct s2_pool_redis_config *config, struct s2_pool_tier **tier)
{
	struct redis_tier *r;
	int ret;

	if (!config || !tier || !config_is_valid(config))
		return -EINVAL;
	r = s2_zalloc(&s2_libc_allocator, sizeof(*r), _Alignof(struct redis_tier));
	if (!r)
		return -ENOMEM;
	ret = s2_fresh_slots_init(&r->slots, config->size / S2_PAGE_SIZE);
	if (ret) {
		s2_free(&s2_libc_allocator, r);
		return ret;
	}
	r->tier.ops = &redis_ops;
	ret = redis_init(r, config);
	if (ret) {
		tier_free(r);
		return ret;
	}
	*tier = &r->tier;
	return 0;
}
