/* SPDX-License-Identifier: MIT */
/* Connections that are kept, and servers that are down: redis_node.h. */
#include "pool/redis_node.h"

#include "base/futex.h"
#include "pool/monotonic.h"

#include <errno.h>

/*
 * The first time as long as the time-out that was waited for, so that not more than half of
 * a thread's time goes there; then twice that, and so on.
 */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 30000
#define BACKOFF_DOUBLINGS 6

void s2_redis_node_init(struct s2_redis_node *node, const struct s2_redis_address *address,
			const struct s2_redis_settings *settings)
{
	node->address = *address;
	node->settings = settings;
	s2_spin_init(&node->lock, S2_RANK_INTERNAL);
	atomic_init(&node->returned, 0);
}

static void disconnect_all(struct s2_redis_connection *connection)
{
	while (connection) {
		struct s2_redis_connection *next = connection->next;

		s2_redis_disconnect(connection);
		connection = next;
	}
}

void s2_redis_node_destroy(struct s2_redis_node *node)
{
	disconnect_all(node->idle);
}

static uint64_t backoff_until(const struct s2_redis_node *node)
{
	unsigned doublings = node->failures - 1, ms = node->settings->timeout_ms;

	if (doublings > BACKOFF_DOUBLINGS)
		doublings = BACKOFF_DOUBLINGS;
	if (ms < BACKOFF_MIN_MS)
		ms = BACKOFF_MIN_MS;
	ms <<= doublings;
	return s2_deadline(ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
}

/* With the lock held. The connections of a server that is down are of no use any more. */
static struct s2_redis_connection *mark_down(struct s2_redis_node *node)
{
	struct s2_redis_connection *idle = node->idle;

	node->failures++;
	node->down_until = backoff_until(node);
	node->idle = NULL;
	for (struct s2_redis_connection *c = idle; c; c = c->next)
		node->open--;
	return idle;
}

/* Release pairs with the acquire in wait_returned(): who finds it changed finds why. */
static void wake(struct s2_redis_node *node)
{
	atomic_fetch_add_explicit(&node->returned, 1, memory_order_release);
	s2_futex_wake(&node->returned, INT_MAX);
}

/* With the lock held. A connection, or 0 and NULL: the caller opens one; or an error. */
static int choose(struct s2_redis_node *node, struct s2_redis_connection **connection)
{
	*connection = NULL;
	if (node->failures && (node->trying || !s2_is_past(node->down_until)))
		return -EHOSTDOWN;
	if (node->idle) {
		*connection = node->idle;
		node->idle = node->idle->next;
		return 0;
	}
	if (node->open >= node->settings->connections)
		return -EAGAIN;
	node->open++;
	node->trying = node->failures;
	return 0;
}

static int open_connection(struct s2_redis_node *node, struct s2_redis_connection **connection)
{
	struct s2_redis_connection *stale = NULL;
	int ret = s2_redis_connect(&node->address, node->settings, connection);

	s2_spin_lock(&node->lock);
	node->trying = false;
	if (ret) {
		node->open--;
		stale = mark_down(node);
	} else {
		node->failures = 0;
	}
	s2_spin_unlock(&node->lock);
	disconnect_all(stale);
	if (ret)
		wake(node);
	return ret;
}

static void close_connection(struct s2_redis_node *node, struct s2_redis_connection *connection)
{
	s2_redis_disconnect(connection);
	s2_spin_lock(&node->lock);
	node->open--;
	s2_spin_unlock(&node->lock);
	wake(node);
}

int s2_redis_node_get(struct s2_redis_node *node, bool wait,
		      struct s2_redis_connection **connection)
{
	for (;;) {
		/* Before looking, so that what is returned after that is not slept through. */
		uint32_t returned = atomic_load_explicit(&node->returned, memory_order_acquire);
		int ret;

		s2_spin_lock(&node->lock);
		ret = choose(node, connection);
		s2_spin_unlock(&node->lock);
		if (ret == -EAGAIN && wait) {
			s2_futex_wait(&node->returned, returned);
			continue;
		}
		if (ret)
			return ret;
		if (!*connection)
			return open_connection(node, connection);
		/* It may have been closed by a server that was restarted, or finds us idle. */
		if (s2_redis_is_quiet(*connection))
			return 0;
		close_connection(node, *connection);
	}
}

void s2_redis_node_put(struct s2_redis_node *node, struct s2_redis_connection *connection,
		       int error)
{
	struct s2_redis_connection *stale = NULL;

	s2_spin_lock(&node->lock);
	if (error) {
		node->open--;
		if (error == -ETIMEDOUT)
			stale = mark_down(node);
	} else {
		connection->next = node->idle;
		node->idle = connection;
	}
	s2_spin_unlock(&node->lock);
	disconnect_all(stale);
	if (error)
		s2_redis_disconnect(connection);
	wake(node);
}
