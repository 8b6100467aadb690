/* SPDX-License-Identifier: MIT */
/*
 * A redis-server for as long as the benchmark takes, on a Unix socket in a directory of its own,
 * where it writes nothing. Where none is installed, or the library was built without hiredis, the
 * tier is not measured.
 */
#include "bench_pool_tiers.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* 5 s, which it never takes. */
#define ATTEMPTS 500
#define ATTEMPT_NS 10000000

/* In the child: it does not outlive this program, and says nothing. */
static void run_server(const char *socket)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
	       "--appendonly", "no", "--daemonize", "no", (char *)NULL);
	_exit(127);
}

/* Until it answers; -ENOTSUP: it has ended, since it is not installed. */
static int connect_to(struct bench_redis *server, const struct s2_pool_redis_config *config,
		      struct s2_pool_tier **tier)
{
	int error = -ENOTSUP;

	for (unsigned int i = 0; i < ATTEMPTS; i++) {
		error = s2_pool_tier_redis(config, tier);
		if (!error || error == -ENOTSUP)
			return error;
		if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
			server->pid = 0;
			return -ENOTSUP;
		}
		nanosleep(&(struct timespec){ .tv_nsec = ATTEMPT_NS }, NULL);
	}
	return error;
}

static int start(struct bench_redis *server)
{
	server->pid = fork();
	if (server->pid < 0) {
		server->pid = 0;
		return -errno;
	}
	if (!server->pid)
		run_server(server->socket);
	return 0;
}

/* The path of a socket may be no longer than 107 bytes, which a directory of the user's may be. */
int bench_tier_redis(uint64_t pages, struct s2_pool_tier **tier, struct bench_redis *server)
{
	/* With room for pages that are dropped, but of which the server has not been told yet. */
	const struct s2_pool_redis_config config = {
		.host = server->socket,
		.size = 2 * (pages + BENCH_MAX_CPUS * S2_POOL_BATCH) * S2_PAGE_SIZE,
		.connections = 16,
	};
	int error;

	strcpy(server->dir, "/tmp/stage2-bench-XXXXXX");
	if (!mkdtemp(server->dir)) {
		server->dir[0] = '\0';
		return -ENOTSUP;
	}
	snprintf(server->socket, sizeof(server->socket), "%s/socket", server->dir);
	error = start(server);
	if (!error)
		error = connect_to(server, &config, tier);
	if (error)
		bench_redis_end(server);
	return error;
}

void bench_redis_end(struct bench_redis *server)
{
	if (server->pid) {
		kill(server->pid, SIGKILL);
		waitpid(server->pid, NULL, 0);
	}
	if (server->dir[0]) {
		unlink(server->socket);
		rmdir(server->dir);
	}
	*server = (struct bench_redis){ 0 };
}
