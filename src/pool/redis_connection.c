/* SPDX-License-Identifier: MIT */
/* The socket and the protocol of redis_connection.h. */
#include "pool/redis_connection.h"

#include "base/alloc.h"
#include "pool/monotonic.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* Of what logs in: an error is a line. */
#define SHORT_ANSWER 4096

/* More than the longest list a sane server sends, and memory that can be spared. */
#define ARRAY_MAX 16384

#if HIREDIS_MAJOR >= 1
typedef size_t array_size;
#else
typedef int array_size;
#endif

/* hiredis allocates the array that a server announces, before any of it has come. */
static void *create_array(const redisReadTask *task, array_size elements)
{
	const struct s2_redis_connection *c = task->privdata;

	return (size_t)elements > ARRAY_MAX ? NULL : c->defaults->createArray(task, elements);
}

static int reader_init(struct s2_redis_connection *c)
{
	c->reader = redisReaderCreate();
	if (!c->reader)
		return -ENOMEM;
	c->defaults = c->reader->fn;
	c->functions = *c->defaults;
	c->functions.createArray = create_array;
	c->reader->fn = &c->functions;
	c->reader->privdata = c;
	return 0;
}

static int wait_connected(int fd, uint64_t deadline)
{
	struct pollfd poller = { .fd = fd, .events = POLLOUT };
	socklen_t length = sizeof(int);
	int error = 0;

	for (;;) {
		int ret = poll(&poller, 1, s2_milliseconds_to(deadline));

		if (ret > 0)
			break;
		if (ret == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) ? -errno : -error;
}

static int set_options(int fd, int family, unsigned timeout_ms)
{
	const struct timeval timeout = {
		.tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms % 1000 * 1000,
	};
	const int on = 1;

	if (fcntl(fd, F_SETFL, 0) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)))
		return -errno;
	if (family != AF_UNIX && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return -errno;
	return 0;
}

/* A Unix socket whose server does not accept says EAGAIN. */
static int begin_connect(int fd, const struct s2_redis_address *address, unsigned timeout_ms)
{
	if (!connect(fd, (const struct sockaddr *)&address->addr, address->length))
		return 0;
	if (errno == EINPROGRESS)
		return wait_connected(fd, s2_deadline(timeout_ms));
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

static int open_socket(const struct s2_redis_address *address, unsigned timeout_ms, int *opened)
{
	int family = address->addr.ss_family;
	int ret, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	ret = begin_connect(fd, address, timeout_ms);
	if (!ret)
		ret = set_options(fd, family, timeout_ms);
	if (ret)
		close(fd);
	else
		*opened = fd;
	return ret;
}

/* Advances by what was sent. */
static void advance(struct iovec **iov, unsigned *n, size_t sent)
{
	while (*n && sent >= (*iov)->iov_len) {
		sent -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + sent;
		(*iov)->iov_len -= sent;
	}
}

int s2_redis_send(struct s2_redis_connection *c, struct iovec *iov, unsigned n)
{
	uint64_t deadline = s2_deadline(c->settings->timeout_ms);

	while (n) {
		const struct msghdr message = { .msg_iov = iov, .msg_iovlen = n };
		ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);

		if (sent >= 0)
			advance(&iov, &n, (size_t)sent);
		else if (errno == EAGAIN)
			return -ETIMEDOUT;
		else if (errno != EINTR)
			return -errno;
		if (n && s2_is_past(deadline))
			return -ETIMEDOUT;
	}
	return 0;
}

/* Parses no more than what was read at once, as hiredis moves all the rest each time. */
static int read_some(struct s2_redis_connection *c, size_t *done)
{
	char data[16384];
	ssize_t n = recv(c->fd, data, sizeof(data), 0);

	if (n == 0)
		return -ECONNRESET;
	if (n < 0 && errno == EINTR)
		return 0;
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	*done += (size_t)n;
	return redisReaderFeed(c->reader, data, (size_t)n) == REDIS_OK ? 0 : -ENOMEM;
}

int s2_redis_receive(struct s2_redis_connection *c, size_t limit, redisReply **reply)
{
	uint64_t deadline = s2_deadline(c->settings->timeout_ms);
	void *answer = NULL;
	size_t done = 0;

	for (;;) {
		int ret;

		if (redisReaderGetReply(c->reader, &answer) != REDIS_OK)
			return -EPROTO;
		if (answer)
			break;
		if (done > limit)
			return -EPROTO;
		if (done && s2_is_past(deadline))
			return -ETIMEDOUT;
		ret = read_some(c, &done);
		if (ret)
			return ret;
	}
	*reply = answer;
	return 0;
}

bool s2_redis_is_quiet(struct s2_redis_connection *c)
{
	char byte;

	return c->reader->pos == c->reader->len &&
	       recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool s2_redis_error_is(const redisReply *reply, const char *word)
{
	size_t length = strlen(word);

	return reply->type == REDIS_REPLY_ERROR && !strncmp(reply->str, word, length) &&
	       (reply->str[length] == ' ' || !reply->str[length]);
}

static bool is_refusal(const redisReply *reply)
{
	return s2_redis_error_is(reply, "NOAUTH") || s2_redis_error_is(reply, "WRONGPASS");
}

/* To a PING. Who may not ask even that may be allowed to do the rest. */
static int check_greeting(const redisReply *reply)
{
	if (is_refusal(reply))
		return -EACCES;
	if (reply->type == REDIS_REPLY_STATUS || s2_redis_error_is(reply, "NOPERM"))
		return 0;
	return reply->type == REDIS_REPLY_ERROR ? -EIO : -EPROTO;
}

/* An error of any kind: servers before version 6 have but -ERR for a wrong password. */
static int check_login(const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR)
		return -EACCES;
	return reply->type == REDIS_REPLY_STATUS ? 0 : -EPROTO;
}

static int expect(struct s2_redis_connection *c, int (*check)(const redisReply *))
{
	redisReply *reply;
	int ret = s2_redis_receive(c, SHORT_ANSWER, &reply);

	if (ret)
		return ret;
	ret = check(reply);
	freeReplyObject(reply);
	return ret;
}

static int send_login(struct s2_redis_connection *c)
{
	const struct s2_redis_settings *s = c->settings;
	char command[2 * S2_REDIS_LOGIN_MAX + 64];
	struct iovec iov = { .iov_base = command };
	int length, ret;

	if (s->user)
		length = snprintf(command, sizeof(command),
				  "*3\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
				  strlen(s->user), s->user, strlen(s->password), s->password);
	else
		length = snprintf(command, sizeof(command), "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n",
				  strlen(s->password), s->password);
	iov.iov_len = (size_t)length;
	ret = s2_redis_send(c, &iov, 1);
	explicit_bzero(command, sizeof(command));
	return ret;
}

static int greet(struct s2_redis_connection *c)
{
	static const char ping[] = "*1\r\n$4\r\nPING\r\n";
	struct iovec iov = { .iov_base = (void *)(uintptr_t)ping, .iov_len = sizeof(ping) - 1 };
	int ret = 0;

	if (c->settings->password) {
		ret = send_login(c);
		if (!ret)
			ret = expect(c, check_login);
	}
	if (!ret)
		ret = s2_redis_send(c, &iov, 1);
	return ret ? ret : expect(c, check_greeting);
}

int s2_redis_connect(const struct s2_redis_address *address,
		     const struct s2_redis_settings *settings,
		     struct s2_redis_connection **connection)
{
	struct s2_redis_connection *c =
		s2_zalloc(&s2_libc_allocator, sizeof(*c), _Alignof(struct s2_redis_connection));
	int ret;

	if (!c)
		return -ENOMEM;
	c->settings = settings;
	c->fd = -1;
	ret = reader_init(c);
	if (!ret)
		ret = open_socket(address, settings->timeout_ms, &c->fd);
	if (!ret)
		ret = greet(c);
	if (ret)
		s2_redis_disconnect(c);
	else
		*connection = c;
	return ret;
}

void s2_redis_disconnect(struct s2_redis_connection *c)
{
	if (c->reader)
		redisReaderFree(c->reader);
	if (c->fd >= 0)
		close(c->fd);
	s2_free(&s2_libc_allocator, c);
}
