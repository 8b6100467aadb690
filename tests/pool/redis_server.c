/* SPDX-License-Identifier: MIT */
/* The server of redis_server.h. Commands go to its Unix socket, on a connection each. */
#include "pool/redis_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stage2/pool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stddef.h>
#include <cmocka.h>

static bool is_installed(const char *program)
{
	char path[512], *directory, *rest, *paths = strdup(getenv("PATH") ? getenv("PATH") : "");
	bool found = false;

	for (rest = paths; !found && (directory = strsep(&rest, ":"));) {
		snprintf(path, sizeof(path), "%s/%s", directory, program);
		found = !access(path, X_OK);
	}
	free(paths);
	return found;
}

const char *redis_server_missing(void)
{
	const struct s2_pool_redis_config config = { .host = "/", .size = S2_PAGE_SIZE };
	struct s2_pool_tier *tier;

	if (s2_pool_tier_redis(&config, &tier) == -ENOTSUP)
		return "hiredis is missing, so that the pool's tier on Redis was not built";
	return is_installed("redis-server") ? NULL : "redis-server is not installed";
}

static uint16_t free_port(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &length), 0);
	close(fd);
	return ntohs(addr.sin_port);
}

static int connect_to(const struct redis_server *server)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_in_range(fd, 0, INT32_MAX);
	strcpy(addr.sun_path, server->socket);
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	close(fd);
	return -1;
}

/* The server's settings are its arguments; what it has to say goes into its log. */
static void execute(const struct redis_server *server, pid_t parent)
{
	char port[8], bus_port[8];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	snprintf(port, sizeof(port), "%u", server->port);
	snprintf(bus_port, sizeof(bus_port), "%u", server->bus_port);
	execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1",
	       "--unixsocket", server->socket, "--dir", server->directory, "--logfile", server->log,
	       "--save", "", "--appendonly", "no", "--daemonize", "no",
	       "--maxmemory-policy", "noeviction", "--activerehashing", "no",
	       "--cluster-enabled", server->cluster ? "yes" : "no", "--cluster-port", bus_port,
	       "--cluster-node-timeout", "100000", (char *)NULL);
	_exit(127);
}

static bool starts(struct redis_server *server)
{
	pid_t parent = getpid();
	int fd;

	server->port = free_port();
	server->bus_port = free_port();
	server->pid = fork();
	assert_in_range(server->pid, 0, INT32_MAX);
	if (!server->pid)
		execute(server, parent);
	while ((fd = connect_to(server)) < 0) {
		/* Somebody else may have got the port by now. */
		if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
			return false;
		usleep(1000);
	}
	close(fd);
	return true;
}

static void start(struct redis_server *server)
{
	for (unsigned attempt = 0; attempt < 20; attempt++)
		if (starts(server))
			return;
	fail_msg("redis-server does not start: see %s", server->log);
}

void redis_server_begin(struct redis_server *server, bool cluster)
{
	const char *parent = getenv("TMPDIR");

	memset(server, 0, sizeof(*server));
	server->cluster = cluster;
	snprintf(server->directory, sizeof(server->directory), "%s/stage2-redis-XXXXXX",
		 parent ? parent : "/tmp");
	assert_non_null(mkdtemp(server->directory));
	snprintf(server->socket, sizeof(server->socket), "%s/socket", server->directory);
	snprintf(server->log, sizeof(server->log), "%s/log", server->directory);
	start(server);
}

void redis_server_kill(struct redis_server *server)
{
	if (!server->pid)
		return;
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
	unlink(server->socket);
}

void redis_server_restart(struct redis_server *server)
{
	redis_server_kill(server);
	start(server);
}

void redis_server_end(struct redis_server *server)
{
	char path[128];

	redis_server_kill(server);
	snprintf(path, sizeof(path), "%s/nodes.conf", server->directory);
	unlink(path);
	unlink(server->log);
	assert_int_equal(rmdir(server->directory), 0);
}

void redis_server_stop(struct redis_server *server)
{
	int status;

	assert_int_equal(kill(server->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(server->pid, &status, WUNTRACED), server->pid);
	assert_true(WIFSTOPPED(status));
}

void redis_server_continue(struct redis_server *server)
{
	assert_int_equal(kill(server->pid, SIGCONT), 0);
}

/* Up to and without the end of the line. */
static void read_line(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n < size - 1 && recv(fd, &line[n], 1, 0) == 1 && line[n] != '\n')
		n++;
	line[n] = '\0';
	line[strcspn(line, "\r")] = '\0';
}

static void read_answer(int fd, char answer[REDIS_ANSWER])
{
	size_t length;

	read_line(fd, answer, REDIS_ANSWER);
	if (*answer != '$' || answer[1] == '-')
		return;
	length = strtoul(answer + 1, NULL, 10);
	if (length >= REDIS_ANSWER)
		length = REDIS_ANSWER - 1;
	assert_int_equal(recv(fd, answer, length, MSG_WAITALL), length);
	answer[length] = '\0';
}

static void ask(struct redis_server *server, char answer[REDIS_ANSWER], const char *format,
		va_list args)
{
	char command[512];
	int fd = connect_to(server), length = vsnprintf(command, sizeof(command) - 2, format, args);

	assert_in_range(fd, 0, INT32_MAX);
	assert_in_range(length, 1, sizeof(command) - 3);
	strcat(command, "\r\n");
	assert_int_equal(send(fd, command, strlen(command), MSG_NOSIGNAL), strlen(command));
	read_answer(fd, answer);
	close(fd);
}

const char *redis_server_ask(struct redis_server *server, char answer[REDIS_ANSWER],
			     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	ask(server, answer, format, args);
	va_end(args);
	return answer;
}

void redis_server_tell(struct redis_server *server, const char *expected, const char *format, ...)
{
	char answer[REDIS_ANSWER];
	va_list args;

	va_start(args, format);
	ask(server, answer, format, args);
	va_end(args);
	assert_string_equal(answer, expected);
}
