/* SPDX-License-Identifier: MIT */
/*
 * The tier on a server that is none: it greets as Redis does, and then answers whatever the
 * test makes it. No answer may do more than fail what was asked.
 */
#include "small_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stage2/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* What is said to each command; NULL: a Redis server's answer. */
struct script {
	const char *ping, *map, *set, *get, *unlink;
	unsigned repeat; /* each of these so many times more; 0 for once */
	bool last;       /* and then the connection is closed */
};

static struct {
	char directory[64], path[96];
	int listener;
	pthread_t thread;
	pthread_mutex_t lock;
	struct script script; /* of connections from now on; lock */
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void set_script(struct script script)
{
	pthread_mutex_lock(&fake.lock);
	fake.script = script;
	pthread_mutex_unlock(&fake.lock);
}

static struct script get_script(void)
{
	struct script script;

	pthread_mutex_lock(&fake.lock);
	script = fake.script;
	pthread_mutex_unlock(&fake.lock);
	return script;
}

static bool say(int fd, const char *text, size_t length)
{
	return send(fd, text, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static bool say_page(int fd)
{
	static char answer[] = "$4096\r\nstage2";
	static char rest[S2_PAGE_SIZE - 6 + 2];

	rest[sizeof(rest) - 2] = '\r';
	rest[sizeof(rest) - 1] = '\n';
	return say(fd, answer, sizeof(answer) - 1) && say(fd, rest, sizeof(rest));
}

static bool answer(int fd, const struct script *s, const char *command)
{
	const char *text = !strcmp(command, "PING")      ? s->ping
			   : !strcmp(command, "CLUSTER") ? s->map
			   : !strcmp(command, "SET")     ? s->set
			   : !strcmp(command, "GET")     ? s->get
							 : s->unlink;

	if (!text && !strcmp(command, "GET"))
		return say_page(fd);
	if (!text)
		text = !strcmp(command, "PING")      ? "+PONG\r\n"
		       : !strcmp(command, "CLUSTER") ? "-ERR no cluster\r\n"
		       : !strcmp(command, "SET")     ? "+OK\r\n"
						     : ":1\r\n";
	for (unsigned i = 0; i <= s->repeat; i++)
		if (!say(fd, text, strlen(text)))
			return false;
	return !s->last;
}

/* A word of a command, which is a length and so many bytes. */
static bool read_word(FILE *in, char *word, size_t size)
{
	char line[32];
	size_t length;

	if (!fgets(line, sizeof(line), in) || *line != '$')
		return false;
	length = strtoul(line + 1, NULL, 10);
	return length + 2 < size && fread(word, 1, length + 2, in) == length + 2 &&
	       !(word[length] = '\0');
}

static void serve(int fd)
{
	char line[32], command[64], word[S2_PAGE_SIZE + 64];
	const struct script script = get_script();
	FILE *in = fdopen(dup(fd), "r");

	while (fgets(line, sizeof(line), in) && *line == '*') {
		unsigned long words = strtoul(line + 1, NULL, 10);
		bool whole = read_word(in, command, sizeof(command));

		while (whole && --words)
			whole = read_word(in, word, sizeof(word));
		if (!whole || !answer(fd, &script, command))
			break;
	}
	fclose(in);
	close(fd);
}

/* One connection after the other: a tier that was refused has closed its last one. */
static void *fake_main(void *arg)
{
	int fd;

	while ((fd = accept4(fake.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		serve(fd);
	return NULL;
}

static int fake_begin(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *parent = getenv("TMPDIR");

	snprintf(fake.directory, sizeof(fake.directory), "%s/stage2-redis-XXXXXX",
		 parent ? parent : "/tmp");
	assert_non_null(mkdtemp(fake.directory));
	snprintf(fake.path, sizeof(fake.path), "%s/socket", fake.directory);
	strcpy(addr.sun_path, fake.path);
	fake.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fake.listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fake.listener, 16), 0);
	return pthread_create(&fake.thread, NULL, fake_main, NULL);
}

static int fake_end(void **state)
{
	shutdown(fake.listener, SHUT_RDWR);
	pthread_join(fake.thread, NULL);
	close(fake.listener);
	unlink(fake.path);
	return rmdir(fake.directory);
}

static struct s2_pool_redis_config config_of(bool cluster, unsigned timeout_ms)
{
	return (struct s2_pool_redis_config){
		.host = fake.path,
		.size = 100 * S2_PAGE_SIZE,
		.timeout_ms = timeout_ms,
		.connections = 1,
		.cluster = cluster,
	};
}

/* What creation makes of it; a tier that comes of it is destroyed. */
static int refusal(struct script script, bool cluster)
{
	struct s2_pool_redis_config config = config_of(cluster, 60000);
	struct s2_pool_tier *tier;
	int ret;

	set_script(script);
	ret = s2_pool_tier_redis(&config, &tier);
	if (!ret)
		tier->ops->destroy(tier);
	return ret;
}

static void test_the_fake_server_is_like_a_real_one(void **state)
{
	assert_int_equal(refusal((struct script){ 0 }, false), 0);
}

static const char *const garbage[] = {
	"HTTP/1.1 400 Bad Request\r\n\r\n",
	"*2147483647\r\n",
	"*2147483647\r\n*2147483647\r\n*2147483647\r\n",
	"*16384\r\n*16384\r\n*16384\r\n*16384\r\n*16384\r\n*16384\r\n*16384\r\n*16384\r\n*16384\r\n",
	"*99999999999999999999\r\n",
	"*-7\r\n",
	"$-7\r\n",
	"$9223372036854775807\r\nx",
	":x\r\n",
	"*0\r\n",
	"*1\r\n*0\r\n",
	"*-1\r\n",
	"\r\n",
};

#define GARBAGE (sizeof(garbage) / sizeof(garbage[0]))

static void test_garbage_is_refused(void **state)
{
	for (unsigned i = 0; i < 5 * GARBAGE; i++) {
		struct script script = { .repeat = 1000, .last = true };
		const char **where[] = {
			&script.ping, &script.map, &script.set, &script.get, &script.unlink,
		};

		*where[i % 5] = garbage[i / 5];
		assert_int_not_equal(refusal(script, i % 5 == 1), 0);
	}
}

static void test_an_answer_without_end_is_given_up(void **state)
{
	static char line[8192];

	memset(line, '+', sizeof(line) - 1);
	assert_int_equal(refusal((struct script){ .ping = line, .repeat = 30000 }, false), -EPROTO);
}

static void test_what_nobody_asked_for_is_no_answer(void **state)
{
	assert_int_equal(refusal((struct script){ .set = "+OK\r\n+OK\r\n" }, false), 0);
	assert_int_equal(refusal((struct script){ .set = ":1\r\n" }, false), -EPROTO);
	assert_int_equal(refusal((struct script){ .set = "-MOVED 1 127.0.0.1:1\r\n" }, false),
			 -EPROTO);
	assert_int_equal(refusal((struct script){ .get = "$3\r\nabc\r\n" }, false), -EPROTO);
	assert_int_equal(refusal((struct script){ .get = "$-1\r\n" }, false), -EPROTO);
}

static void test_a_server_says_what_is_wrong(void **state)
{
	assert_int_equal(refusal((struct script){ .ping = "-NOAUTH first\r\n" }, false), -EACCES);
	assert_int_equal(refusal((struct script){ .ping = "-LOADING\r\n" }, false), -EIO);
	assert_int_equal(refusal((struct script){ .ping = "-ERR too many clients\r\n" }, false),
			 -EIO);
	assert_int_equal(refusal((struct script){ .set = "-READONLY\r\n" }, false), -EROFS);
	assert_int_equal(refusal((struct script){ .set = "-OOM of it\r\n" }, false), 0);
	assert_int_equal(refusal((struct script){ .set = "-OOMPH\r\n" }, false), -EIO);
}

#define MAP(rest) "*1\r\n*3\r\n:0\r\n:16383\r\n" rest

static void test_maps_that_make_no_sense_are_refused(void **state)
{
	static const char *const maps[] = {
		"*1\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$9\r\n127.0.0.1\r\n:6379\r\n",
		"*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$9\r\n127.0.0.1\r\n:6379\r\n",
		MAP("*2\r\n$9\r\n127.0.0.1\r\n:65536\r\n"),
		MAP("*2\r\n$9\r\n127.0.0.1\r\n:0\r\n"),
		MAP("*2\r\n$9\r\n127.0.0.1\r\n:-1\r\n"),
		MAP("*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n"),
		MAP("*2\r\n:127\r\n:6379\r\n"),
		MAP("*2\r\n$9\r\nlocalhost\r\n:6379\r\n"),
		/* On a Unix socket there is no "same host". */
		MAP("*2\r\n$0\r\n\r\n:6379\r\n"),
		MAP("*2\r\n$-1\r\n:6379\r\n"),
		MAP("*4\r\n$4\r\nname\r\n:6379\r\n$1\r\nx\r\n*1\r\n$2\r\nip\r\n"),
		MAP("*4\r\n$4\r\nname\r\n:6379\r\n$1\r\nx\r\n*2\r\n$2\r\nip\r\n:1\r\n"),
		MAP("*1\r\n$9\r\n127.0.0.1\r\n"),
	};

	for (unsigned i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		assert_int_equal(refusal((struct script){ .map = maps[i] }, true), -EPROTO);
}

static void test_a_cluster_that_says_it_is_none_is_refused(void **state)
{
	assert_int_equal(refusal((struct script){ 0 }, true), -EPROTO);
	assert_int_equal(refusal((struct script){ .map = MAP("*2\r\n$9\r\n127.0.0.1\r\n:1\r\n") },
				 false),
			 -EPROTO);
}

/* It lets nobody wait for ever by sending a byte now and then, or nothing. */
static void test_a_server_that_does_not_finish_is_given_up(void **state)
{
	struct s2_pool_redis_config config = config_of(false, 100);
	struct s2_pool_tier *tier;

	set_script((struct script){ .ping = "" });
	assert_int_equal(s2_pool_tier_redis(&config, &tier), -ETIMEDOUT);
	set_script((struct script){ .ping = "+PON" });
	assert_int_equal(s2_pool_tier_redis(&config, &tier), -ETIMEDOUT);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, fake_begin, fake_end)

int main(void)
{
	const struct s2_pool_redis_config config = { .host = "/", .size = S2_PAGE_SIZE };
	const struct CMUnitTest tests[] = {
		TEST(test_the_fake_server_is_like_a_real_one),
		TEST(test_garbage_is_refused),
		TEST(test_an_answer_without_end_is_given_up),
		TEST(test_what_nobody_asked_for_is_no_answer),
		TEST(test_a_server_says_what_is_wrong),
		TEST(test_maps_that_make_no_sense_are_refused),
		TEST(test_a_cluster_that_says_it_is_none_is_refused),
		TEST(test_a_server_that_does_not_finish_is_given_up),
	};
	struct s2_pool_tier *tier;

	if (s2_pool_tier_redis(&config, &tier) == -ENOTSUP) {
		puts("hiredis is missing, so that the pool's tier on Redis was not built");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
