/* SPDX-License-Identifier: MIT */
/*
 * A redis-server of the test's own, in a directory of its own, on a Unix socket and a
 * port of the loopback interface. It dies with the test. Calls fail the test if something
 * goes wrong.
 */
#ifndef TESTS_POOL_REDIS_SERVER_H
#define TESTS_POOL_REDIS_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server {
	pid_t pid;
	uint16_t port, bus_port;
	char directory[64];
	char socket[80];
	char log[80];
	bool cluster;
};

/* Why there cannot be one: no redis-server, or no hiredis; NULL if there can. */
const char *redis_server_missing(void);

void redis_server_begin(struct redis_server *server, bool cluster);
void redis_server_end(struct redis_server *server);

/* Without, and with what was stored gone. */
void redis_server_kill(struct redis_server *server);
void redis_server_restart(struct redis_server *server);

/* SIGSTOP has had its effect when it returns. */
void redis_server_stop(struct redis_server *server);
void redis_server_continue(struct redis_server *server);

/* A command, and the beginning of its answer: a line, or what a bulk string holds. */
#define REDIS_ANSWER 4096
const char *redis_server_ask(struct redis_server *server, char answer[REDIS_ANSWER],
			     const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The answer must be this. */
void redis_server_tell(struct redis_server *server, const char *expected, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif /* TESTS_POOL_REDIS_SERVER_H */
