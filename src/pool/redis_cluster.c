/* SPDX-License-Identifier: MIT */
/* The servers of redis_cluster.h, and which hash slots they have. */
#include "pool/redis_cluster.h"

#include "base/alloc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

/* Each range of slots is listed with its servers: some hundred bytes. */
#define MAP_ANSWER (4u << 20)

void s2_redis_cluster_init(struct s2_redis_cluster *cluster)
{
	s2_mutex_init(&cluster->lock, S2_RANK_INTERNAL);
}

void s2_redis_cluster_destroy(struct s2_redis_cluster *cluster)
{
	unsigned n = atomic_load_explicit(&cluster->nr_nodes, memory_order_relaxed);

	for (unsigned i = 0; i < n; i++) {
		s2_redis_node_destroy(cluster->nodes[i]);
		s2_free(&s2_libc_allocator, cluster->nodes[i]);
	}
}

static int find_node(struct s2_redis_cluster *cluster, const struct s2_redis_address *address)
{
	/* Acquire pairs with the release in add_node(): what was counted is there. */
	unsigned n = atomic_load_explicit(&cluster->nr_nodes, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct s2_redis_address *known = &cluster->nodes[i]->address;

		if (known->length == address->length &&
		    !memcmp(&known->addr, &address->addr, address->length))
			return (int)i;
	}
	return -ENOENT;
}

/* With the lock held. */
static int add_node(struct s2_redis_cluster *cluster, const struct s2_redis_address *address)
{
	unsigned n = atomic_load_explicit(&cluster->nr_nodes, memory_order_relaxed);
	struct s2_redis_node *node;

	if (n == S2_REDIS_NODES_MAX)
		return -ENOSPC;
	node = s2_zalloc(&s2_libc_allocator, sizeof(*node), _Alignof(struct s2_redis_node));
	if (!node)
		return -ENOMEM;
	s2_redis_node_init(node, address, &cluster->settings);
	cluster->nodes[n] = node;
	atomic_store_explicit(&cluster->nr_nodes, n + 1, memory_order_release);
	return (int)n;
}

int s2_redis_cluster_node(struct s2_redis_cluster *cluster,
			  const struct s2_redis_address *address)
{
	int node = find_node(cluster, address);

	if (node >= 0)
		return node;
	s2_mutex_lock(&cluster->lock);
	node = find_node(cluster, address);
	if (node < 0)
		node = add_node(cluster, address);
	s2_mutex_unlock(&cluster->lock);
	return node;
}

/* By CRC-16/XMODEM, bit by bit: a key is short, and its page long. */
static uint16_t crc16(const char *data, size_t length)
{
	uint16_t crc = 0;

	for (size_t i = 0; i < length; i++) {
		crc ^= (uint16_t)((unsigned char)data[i] << 8);
		for (unsigned bit = 0; bit < 8; bit++)
			crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
	}
	return crc;
}

uint16_t s2_redis_hash_slot(const char *key)
{
	const char *open = strchr(key, '{'), *end = open ? strchr(open, '}') : NULL;
	uint16_t crc = end && end > open + 1 ? crc16(open + 1, (size_t)(end - open - 1))
					     : crc16(key, strlen(key));

	return crc % S2_REDIS_HASH_SLOTS;
}

int s2_redis_cluster_owner(struct s2_redis_cluster *cluster, uint16_t hash_slot)
{
	/* Acquire pairs with the release of who set it, who has seen the node added. */
	uint16_t owner = atomic_load_explicit(&cluster->owners[hash_slot], memory_order_acquire);

	if (!cluster->is_cluster)
		return 0;
	return owner ? owner - 1 : -EIO;
}

static void set_owner(struct s2_redis_cluster *cluster, uint64_t hash_slot, int node)
{
	atomic_store_explicit(&cluster->owners[hash_slot], (uint16_t)(node + 1),
			      memory_order_release);
}

/* @host: numeric, or empty: that of @from. */
static int make_address(const struct s2_redis_address *from, const char *host, uint64_t port,
			struct s2_redis_address *address)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->addr;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address->addr;

	if (!port || port > UINT16_MAX)
		return -EPROTO;
	memset(address, 0, sizeof(*address));
	if (!*host)
		*address = *from;
	else if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
		address->length = sizeof(*v4);
	else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1)
		address->length = sizeof(*v6);
	if (address->length == sizeof(*v4)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
	} else if (address->length == sizeof(*v6)) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
	} else {
		return -EPROTO;
	}
	return 0;
}

static int node_at(struct s2_redis_cluster *cluster, unsigned from, const char *host,
		   uint64_t port)
{
	struct s2_redis_address address;
	int ret = make_address(&cluster->nodes[from]->address, host, port, &address);

	return ret ? ret : s2_redis_cluster_node(cluster, &address);
}

/* Digits up to @end, which is passed over. */
static bool parse_number(const char **text, char end, uint64_t *number)
{
	char *stop;

	if (**text < '0' || **text > '9')
		return false;
	*number = strtoull(*text, &stop, 10);
	if (*stop != end)
		return false;
	*text = end ? stop + 1 : stop;
	return true;
}

int s2_redis_cluster_follow(struct s2_redis_cluster *cluster, unsigned from,
			    const redisReply *reply)
{
	bool moved = s2_redis_error_is(reply, "MOVED");
	const char *text = reply->str + (moved ? strlen("MOVED ") : strlen("ASK ")), *colon;
	char host[INET6_ADDRSTRLEN] = "";
	uint64_t hash_slot, port;
	int node;

	if (!parse_number(&text, ' ', &hash_slot) || hash_slot >= S2_REDIS_HASH_SLOTS)
		return -EPROTO;
	colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return -EPROTO;
	memcpy(host, text, (size_t)(colon - text));
	text = colon + 1;
	if (!parse_number(&text, '\0', &port))
		return -EPROTO;
	node = node_at(cluster, from, host, port);
	if (node >= 0 && moved)
		set_owner(cluster, hash_slot, node);
	return node;
}

static bool is_integer(const redisReply *reply, long long max)
{
	return reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0 && reply->integer <= max;
}

static bool is_range(const redisReply *range)
{
	return range->type == REDIS_REPLY_ARRAY && range->elements >= 3 &&
	       is_integer(range->element[0], S2_REDIS_HASH_SLOTS - 1) &&
	       is_integer(range->element[1], S2_REDIS_HASH_SLOTS - 1) &&
	       range->element[2]->type == REDIS_REPLY_ARRAY && range->element[2]->elements >= 2 &&
	       is_integer(range->element[2]->element[1], UINT16_MAX);
}

static bool is_numeric(const char *host)
{
	struct in6_addr addr;

	return inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1;
}

/*
 * The owner's host: empty, an address, or a name. What goes by a name may list its address
 * among the further things it tells, as "ip".
 */
static const char *host_of(const redisReply *owner)
{
	const redisReply *host = owner->element[0], *more;

	if (host->type == REDIS_REPLY_NIL || (host->type == REDIS_REPLY_STRING && !host->len))
		return "";
	if (host->type != REDIS_REPLY_STRING)
		return NULL;
	if (is_numeric(host->str))
		return host->str;
	more = owner->elements > 3 ? owner->element[3] : NULL;
	for (size_t i = 0; more && more->type == REDIS_REPLY_ARRAY && i + 1 < more->elements; i += 2)
		if (more->element[i]->type == REDIS_REPLY_STRING &&
		    more->element[i + 1]->type == REDIS_REPLY_STRING &&
		    !strcmp(more->element[i]->str, "ip"))
			return more->element[i + 1]->str;
	return NULL;
}

/* What it says of ranges that make sense is taken; the others stay as they were. */
static int take_map(struct s2_redis_cluster *cluster, unsigned from, const redisReply *map)
{
	int ret = -EPROTO;

	if (map->type != REDIS_REPLY_ARRAY)
		return ret;
	for (size_t i = 0; i < map->elements; i++) {
		const redisReply *range = map->element[i], *owner;
		const char *host;
		int node;

		if (!is_range(range))
			return -EPROTO;
		owner = range->element[2];
		host = host_of(owner);
		node = host ? node_at(cluster, from, host, (uint64_t)owner->element[1]->integer)
			    : -EPROTO;
		if (node < 0)
			continue;
		for (long long s = range->element[0]->integer; s <= range->element[1]->integer; s++)
			set_owner(cluster, (uint64_t)s, node);
		ret = 0;
	}
	return ret;
}

static int ask_for_map(struct s2_redis_cluster *cluster, unsigned from)
{
	static const char command[] = "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";
	struct iovec iov = { (void *)(uintptr_t)command, sizeof(command) - 1 };
	struct s2_redis_node *node = cluster->nodes[from];
	struct s2_redis_connection *connection;
	redisReply *map;
	int ret = s2_redis_node_get(node, true, &connection);

	if (ret)
		return ret;
	ret = s2_redis_send(connection, &iov, 1);
	if (!ret)
		ret = s2_redis_receive(connection, MAP_ANSWER, &map);
	s2_redis_node_put(node, connection, ret);
	if (ret)
		return ret;
	ret = take_map(cluster, from, map);
	freeReplyObject(map);
	return ret;
}

int s2_redis_cluster_refresh(struct s2_redis_cluster *cluster, unsigned node)
{
	unsigned n = atomic_load_explicit(&cluster->nr_nodes, memory_order_acquire);
	int ret;

	/* Orders nothing: it keeps others from asking the same at the same time. */
	if (atomic_exchange_explicit(&cluster->refreshing, true, memory_order_relaxed))
		return 0;
	ret = ask_for_map(cluster, node);
	for (unsigned i = 0; ret && i < n; i++)
		if (i != node)
			ret = ask_for_map(cluster, i);
	atomic_store_explicit(&cluster->refreshing, false, memory_order_relaxed);
	return ret;
}
