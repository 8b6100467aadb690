/* SPDX-License-Identifier: MIT */
/*
 * One connection to a Redis server. hiredis parses the answers. The socket is ours: a
 * time-out of hiredis is one of each read, so that a server that sends a byte now and
 * then holds its caller for ever; it writes without MSG_NOSIGNAL, and a server that is gone
 * would kill the program; its sockets are inherited by what the program executes; and
 * commands can be sent from where the pages lie.
 *
 * After any error a connection is closed: what comes late must not be taken for the
 * answer to the next command.
 */
#ifndef S2_POOL_REDIS_CONNECTION_H
#define S2_POOL_REDIS_CONNECTION_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define S2_REDIS_LOGIN_MAX 512 /* bytes of a user's name, and of a password */

/* What all connections of a tier have in common. The strings are NULL, or the tier's own. */
struct s2_redis_settings {
	char *user;
	char *password;
	unsigned timeout_ms;
	unsigned connections;
};

struct s2_redis_address {
	struct sockaddr_storage addr;
	socklen_t length;
};

struct s2_redis_connection {
	struct s2_redis_connection *next; /* of those that are idle */
	const struct s2_redis_settings *settings;
	int fd;
	redisReader *reader;
	redisReplyObjectFunctions functions;
	const redisReplyObjectFunctions *defaults; /* hiredis's own */
};

/*
 * Connects, and logs in. What connect(2) says; -ETIMEDOUT; -EACCES: the server wants
 * another password; -EPROTO: that is no Redis server; -EIO: it does not work, or refuses us.
 */
int s2_redis_connect(const struct s2_redis_address *address,
		     const struct s2_redis_settings *settings,
		     struct s2_redis_connection **connection);
void s2_redis_disconnect(struct s2_redis_connection *connection);

/* Sends all of it; @iov is used up. -ETIMEDOUT, or what send(2) says. */
int s2_redis_send(struct s2_redis_connection *connection, struct iovec *iov, unsigned n);

/*
 * The next answer, of @limit bytes or a little more; freeReplyObject(). -ETIMEDOUT,
 * -ECONNRESET: the server has closed the connection; -EPROTO: that is no answer.
 */
int s2_redis_receive(struct s2_redis_connection *connection, size_t limit, redisReply **reply);

/* Nothing has come that nobody asked for, nor the end of the connection. */
bool s2_redis_is_quiet(struct s2_redis_connection *connection);

/* Does an error begin with this word? */
bool s2_redis_error_is(const redisReply *reply, const char *word);

#endif /* S2_POOL_REDIS_CONNECTION_H */
