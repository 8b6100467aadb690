/* SPDX-License-Identifier: MIT */
/*
 * Which server has which key. A cluster spreads its keys over 16384 hash slots, and these
 * over its servers; one server alone is a cluster that never tells anybody to go
 * elsewhere. What a server says of the others may be anything: only numeric
 * addresses are taken, and so many servers at most, which stay known until the end.
 */
#ifndef S2_POOL_REDIS_CLUSTER_H
#define S2_POOL_REDIS_CLUSTER_H

#include "pool/redis_node.h"

#define S2_REDIS_HASH_SLOTS 16384
#define S2_REDIS_NODES_MAX 512

/*
 * @nodes:  the first nr_nodes do not change any more. Node 0 is the one of the config.
 * @owners: 1 + the index of the node that has the hash slot; 0: none that we know of.
 */
struct s2_redis_cluster {
	struct s2_redis_settings settings;
	bool is_cluster;
	struct s2_mutex lock; /* for adding nodes */
	_Atomic unsigned nr_nodes;
	struct s2_redis_node *nodes[S2_REDIS_NODES_MAX];
	_Atomic uint16_t owners[S2_REDIS_HASH_SLOTS];
	_Atomic bool refreshing;
};

void s2_redis_cluster_init(struct s2_redis_cluster *cluster);
void s2_redis_cluster_destroy(struct s2_redis_cluster *cluster);

/* The index of the node at @address, which is added if there is none. -ENOMEM; -ENOSPC. */
int s2_redis_cluster_node(struct s2_redis_cluster *cluster,
			  const struct s2_redis_address *address);

/*
 * Makes the server of the config node 0. @port: 0 for Redis's. @host: if it is a path, one
 * that fits into a sockaddr_un. -ENOENT: no such host; or what s2_redis_connect() says.
 */
int s2_redis_find_server(struct s2_redis_cluster *cluster, const char *host, uint16_t port);

/*
 * Asks a server for the owners, @node first, then the others. 0 as well if another thread
 * is just asking. -EPROTO: an answer that makes no sense; -EIO: no server answers.
 */
int s2_redis_cluster_refresh(struct s2_redis_cluster *cluster, unsigned node);

/* Of a key, by the rule of braces. */
uint16_t s2_redis_hash_slot(const char *key);

/* The index of the owner, or -EIO. */
int s2_redis_cluster_owner(struct s2_redis_cluster *cluster, uint16_t hash_slot);

/*
 * "MOVED 3999 127.0.0.1:6381", or ASK: the index of the node that is meant. @from gave
 * that answer. -EPROTO: that makes no sense; otherwise as s2_redis_cluster_node().
 */
int s2_redis_cluster_follow(struct s2_redis_cluster *cluster, unsigned from,
			    const redisReply *reply);

#endif /* S2_POOL_REDIS_CLUSTER_H */
