/* SPDX-License-Identifier: MIT */
/*
 * The rounds of redis_exchange.h. A thread that has a connection does not wait for another
 * one, of which the holder may be waiting for the first: it sends to the servers of which
 * it gets one at once, and to the others in the next round.
 */
#include "pool/redis_exchange.h"

#include <errno.h>
#include <stage2/pool.h>
#include <stdio.h>

#define REDIRECTIONS_MAX 5

/* A page and what comes with it, or the line of an error. */
#define ANSWER_MAX (2 * S2_PAGE_SIZE)

/* The commands of one round for one server. */
struct group {
	unsigned node;
	struct s2_redis_connection *connection;
	int error;
};

struct round {
	struct s2_redis_cluster *cluster;
	struct s2_redis_command *commands;
	unsigned n;
	struct group groups[S2_POOL_BATCH];
	unsigned nr_groups;
	bool refresh; /* what we know of the owners is not so any more */
	unsigned ask; /* whom about it */
};

static void finish(struct s2_redis_command *command, int result)
{
	command->result = result;
	command->pending = false;
}

static void prepare(struct s2_redis_cluster *cluster, struct s2_redis_command *c)
{
	static const char *const verbs[] = {
		[S2_REDIS_STORE] = "*3\r\n$3\r\nSET",
		[S2_REDIS_LOAD] = "*2\r\n$3\r\nGET",
		[S2_REDIS_REMOVE] = "*2\r\n$6\r\nUNLINK",
	};
	int length = snprintf(c->head, sizeof(c->head), "%s\r\n$%zu\r\n%s\r\n", verbs[c->verb],
			      strlen(c->key), c->key), owner;

	if (c->verb == S2_REDIS_STORE)
		snprintf(c->head + length, sizeof(c->head) - (size_t)length, "$%u\r\n",
			 (unsigned)S2_PAGE_SIZE);
	c->hash_slot = cluster->is_cluster ? s2_redis_hash_slot(c->key) : 0;
	c->sent = c->asking = false;
	c->redirections = 0;
	c->pending = true;
	owner = s2_redis_cluster_owner(cluster, c->hash_slot);
	if (owner < 0)
		finish(c, owner);
	else
		c->node = (uint16_t)owner;
}

static bool belongs(const struct s2_redis_command *c, const struct group *group)
{
	return c->pending && c->node == group->node;
}

static void redirect(struct s2_redis_command *c, unsigned node, bool asking)
{
	if (++c->redirections > REDIRECTIONS_MAX)
		finish(c, -ELOOP);
	c->node = (uint16_t)node;
	c->asking = asking;
}

/* Elsewhere, if that is known to be the place now. */
static void fail(struct round *round, struct s2_redis_command *c, int error)
{
	int owner = s2_redis_cluster_owner(round->cluster, c->hash_slot);

	if (owner < 0 || owner == c->node || c->sent)
		finish(c, error);
	else
		redirect(c, (unsigned)owner, false);
}

static unsigned add_iov(struct iovec *iov, const void *data, size_t length)
{
	*iov = (struct iovec){ (void *)(uintptr_t)data, length };
	return 1;
}

static int send_group(struct round *round, struct group *group)
{
	static const char asking[] = "*1\r\n$6\r\nASKING\r\n";
	struct iovec iov[4 * S2_POOL_BATCH];
	unsigned n = 0;

	for (unsigned i = 0; i < round->n; i++) {
		struct s2_redis_command *c = &round->commands[i];

		if (!belongs(c, group))
			continue;
		if (c->asking)
			n += add_iov(&iov[n], asking, sizeof(asking) - 1);
		n += add_iov(&iov[n], c->head, strlen(c->head));
		if (c->verb == S2_REDIS_STORE) {
			n += add_iov(&iov[n], c->stored, S2_PAGE_SIZE);
			n += add_iov(&iov[n], "\r\n", 2);
		}
		c->sent = true;
	}
	return s2_redis_send(group->connection, iov, n);
}

static int refused(const redisReply *reply)
{
	if (s2_redis_error_is(reply, "OOM"))
		return -ENOSPC;
	if (s2_redis_error_is(reply, "NOPERM") || s2_redis_error_is(reply, "NOAUTH"))
		return -EACCES;
	if (s2_redis_error_is(reply, "READONLY"))
		return -EROFS;
	return s2_redis_error_is(reply, "MOVED") || s2_redis_error_is(reply, "ASK") ? -EPROTO : -EIO;
}

/* -EPROTO: it is no answer to that command, and so the end of the connection. */
static int take_answer(struct s2_redis_command *c, const redisReply *reply)
{
	int type = reply->type;

	if (type == REDIS_REPLY_ERROR) {
		finish(c, refused(reply));
	} else if (c->verb == S2_REDIS_LOAD && type == REDIS_REPLY_STRING) {
		if (reply->len == S2_PAGE_SIZE)
			memcpy(c->loaded, reply->str, S2_PAGE_SIZE);
		finish(c, reply->len == S2_PAGE_SIZE ? 0 : -ENODATA);
	} else if (c->verb == S2_REDIS_LOAD && type == REDIS_REPLY_NIL) {
		finish(c, -ENODATA);
	} else if ((c->verb == S2_REDIS_STORE && type == REDIS_REPLY_STATUS) ||
		   (c->verb == S2_REDIS_REMOVE && type == REDIS_REPLY_INTEGER)) {
		finish(c, 0);
	} else {
		return -EPROTO;
	}
	c->sent = false;
	return 0;
}

/* It was not carried out there. An address that makes no sense is an error of this command. */
static void follow(struct round *round, struct s2_redis_command *c, const redisReply *reply)
{
	int node = s2_redis_cluster_follow(round->cluster, c->node, reply);
	bool asking = s2_redis_error_is(reply, "ASK");

	c->sent = false;
	if (!asking) {
		round->refresh = true;
		round->ask = c->node;
	}
	if (node < 0)
		finish(c, node);
	else
		redirect(c, (unsigned)node, asking);
}

static int receive_one(struct round *round, struct group *group, struct s2_redis_command *c)
{
	bool is_cluster = round->cluster->is_cluster;
	redisReply *reply;
	int ret;

	if (c->asking) {
		ret = s2_redis_receive(group->connection, ANSWER_MAX, &reply);
		if (ret)
			return ret;
		freeReplyObject(reply);
	}
	ret = s2_redis_receive(group->connection, ANSWER_MAX, &reply);
	if (ret)
		return ret;
	if (is_cluster && (s2_redis_error_is(reply, "MOVED") || s2_redis_error_is(reply, "ASK")))
		follow(round, c, reply);
	else
		ret = take_answer(c, reply);
	freeReplyObject(reply);
	return ret;
}

/* Who has been redirected belongs to another group by then, where nothing was sent for it. */
static void receive_group(struct round *round, struct group *group)
{
	bool mine[S2_POOL_BATCH];

	for (unsigned i = 0; i < round->n; i++)
		mine[i] = round->commands[i].sent && belongs(&round->commands[i], group);
	for (unsigned i = 0; i < round->n; i++) {
		struct s2_redis_command *c = &round->commands[i];

		if (!mine[i])
			continue;
		if (!group->error)
			group->error = receive_one(round, group, c);
		if (group->error && c->pending)
			finish(c, group->error);
	}
}

static struct group *find_group(struct round *round, unsigned node)
{
	for (unsigned i = 0; i < round->nr_groups; i++)
		if (round->groups[i].node == node)
			return &round->groups[i];
	return NULL;
}

/*
 * The groups of those that are pending, each with a connection or the error that there is
 * none; -EAGAIN: in the next round.
 */
static void form_groups(struct round *round)
{
	bool first = true;

	round->nr_groups = 0;
	for (unsigned i = 0; i < round->n; i++) {
		unsigned node = round->commands[i].node;
		struct group *group;

		if (!round->commands[i].pending || find_group(round, node))
			continue;
		group = &round->groups[round->nr_groups++];
		group->node = node;
		group->connection = NULL;
		group->error = s2_redis_node_get(round->cluster->nodes[node], first,
						 &group->connection);
		if (!group->error)
			first = false;
	}
}

static void refresh(struct round *round)
{
	if (round->refresh)
		s2_redis_cluster_refresh(round->cluster, round->ask);
	round->refresh = false;
}

/* Of servers that could not be connected to. A cluster may have others in their place by now. */
static void fail_groups(struct round *round)
{
	for (unsigned i = 0; i < round->nr_groups; i++) {
		const struct group *group = &round->groups[i];

		if (group->connection || group->error == -EAGAIN || group->error == -EHOSTDOWN)
			continue;
		round->refresh = round->cluster->is_cluster;
		round->ask = group->node;
	}
	refresh(round);
	for (unsigned i = 0; i < round->n; i++) {
		struct s2_redis_command *c = &round->commands[i];
		const struct group *group = c->pending ? find_group(round, c->node) : NULL;

		if (group && !group->connection && group->error != -EAGAIN)
			fail(round, c, group->error);
	}
}

static void run(struct round *round)
{
	form_groups(round);
	for (unsigned i = 0; i < round->nr_groups; i++)
		if (round->groups[i].connection)
			round->groups[i].error = send_group(round, &round->groups[i]);
	for (unsigned i = 0; i < round->nr_groups; i++) {
		struct group *group = &round->groups[i];

		if (!group->connection)
			continue;
		receive_group(round, group);
		s2_redis_node_put(round->cluster->nodes[group->node], group->connection,
				  group->error);
	}
	fail_groups(round);
}

static bool any_pending(const struct round *round)
{
	for (unsigned i = 0; i < round->n; i++)
		if (round->commands[i].pending)
			return true;
	return false;
}

void s2_redis_exchange(struct s2_redis_cluster *cluster, unsigned n,
		       struct s2_redis_command commands[])
{
	struct round round = { .cluster = cluster, .commands = commands, .n = n };

	for (unsigned i = 0; i < n; i++)
		prepare(cluster, &commands[i]);
	while (any_pending(&round))
		run(&round);
}
