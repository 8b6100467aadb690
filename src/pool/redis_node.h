/* SPDX-License-Identifier: MIT */
/*
 * One server, and the connections to it. A thread takes a connection for itself, for the
 * time of one exchange; there are so many at most, and who finds none waits for one.
 *
 * A server that does not answer in time, or cannot be connected to, is down: all that
 * is asked of it fails at once for a while, which grows with each failure in a row. After
 * that one thread tries to connect, and the others go on failing at once until it has
 * succeeded. So a dead server costs one thread a time-out now and then, and not every
 * thread one for each page.
 */
#ifndef S2_POOL_REDIS_NODE_H
#define S2_POOL_REDIS_NODE_H

#include "base/lock.h"
#include "pool/redis_connection.h"

struct s2_redis_node {
	struct s2_redis_address address;
	const struct s2_redis_settings *settings;

	struct s2_spinlock lock; /* of the following */
	struct s2_redis_connection *idle;
	unsigned open; /* connections, idle or not */
	unsigned failures; /* in a row */
	uint64_t down_until; /* if there are failures */
	bool trying;

	_Atomic uint32_t returned; /* counts; who waits for a connection sleeps on it */
};

void s2_redis_node_init(struct s2_redis_node *node, const struct s2_redis_address *address,
			const struct s2_redis_settings *settings);

/* Nobody has a connection of it. */
void s2_redis_node_destroy(struct s2_redis_node *node);

/*
 * A connection for the caller alone, or what s2_redis_connect() says; -EHOSTDOWN: it is
 * down, and that is known; -EAGAIN: there is none, and not @wait.
 */
int s2_redis_node_get(struct s2_redis_node *node, bool wait,
		      struct s2_redis_connection **connection);

/* @error: what the exchange has ended with. */
void s2_redis_node_put(struct s2_redis_node *node, struct s2_redis_connection *connection,
		       int error);

#endif /* S2_POOL_REDIS_NODE_H */
