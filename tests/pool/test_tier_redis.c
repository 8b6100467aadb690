/* SPDX-License-Identifier: MIT */
/*
 * The tier on a Redis server, against a real one that each test has for itself: started,
 * filled, stopped and killed at will. Whatever it does, a page that comes back is the one
 * that was stored. With a cluster: test_tier_redis_cluster.c; what is so of
 * every tier: test_tiers.c.
 */
#include "pages.h"
#include "pool/descriptors.h"
#include "pool/redis_server.h"
#include "small_vm.h"

#include <errno.h>
#include <pthread.h>
#include <stage2/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define TIER_SIZE (1024 * S2_PAGE_SIZE)
#define PATIENT 60000 /* ms, on a machine that has other things to do */
#define IMPATIENT 200

static struct redis_server server;

static struct s2_pool_redis_config unix_config(void)
{
	return (struct s2_pool_redis_config){
		.host = server.socket,
		.size = TIER_SIZE,
		.timeout_ms = PATIENT,
	};
}

static struct s2_pool_redis_config tcp_config(void)
{
	return (struct s2_pool_redis_config){
		.host = "127.0.0.1",
		.port = server.port,
		.size = TIER_SIZE,
		.timeout_ms = PATIENT,
	};
}

static int create(const struct s2_pool_redis_config config, struct s2_pool_tier **tier)
{
	*tier = NULL;
	return s2_pool_tier_redis(&config, tier);
}

static struct s2_pool_tier *tier_begin(const struct s2_pool_redis_config config)
{
	struct s2_pool_tier *tier;

	assert_int_equal(create(config, &tier), 0);
	return tier;
}

/* One that soon gives a server up: also one that is slow, so that all may have to be repeated. */
static struct s2_pool_tier *impatient_tier_begin(void)
{
	struct s2_pool_redis_config config = unix_config();
	struct s2_pool_tier *tier;

	config.timeout_ms = IMPATIENT;
	while (create(config, &tier))
		;
	return tier;
}

static int store(struct s2_pool_tier *tier, uint64_t number, uint64_t *slot)
{
	char page[S2_PAGE_SIZE];

	page_make(PAGE_RANDOM, number, page);
	return tier->ops->store(tier, page, slot);
}

static void store_at_last(struct s2_pool_tier *tier, uint64_t number, uint64_t *slot)
{
	int ret;

	while ((ret = store(tier, number, slot)))
		assert_int_equal(ret, -EIO);
}

static int load(struct s2_pool_tier *tier, uint64_t number, uint64_t slot)
{
	char page[S2_PAGE_SIZE];
	int ret;

	memset(page, 0x5a, sizeof(page));
	ret = tier->ops->load(tier, slot, page);
	if (!ret)
		assert_true(page_is(PAGE_RANDOM, number, page));
	return ret;
}

static void load_at_last(struct s2_pool_tier *tier, uint64_t number, uint64_t slot)
{
	int ret;

	while ((ret = load(tier, number, slot)))
		assert_int_equal(ret, -EIO);
}

static unsigned keys(void)
{
	char answer[REDIS_ANSWER];

	return (unsigned)atoi(redis_server_ask(&server, answer, "DBSIZE") + 1);
}

static void pages_come_back(const struct s2_pool_redis_config config)
{
	struct s2_pool_tier *tier = tier_begin(config);
	uint64_t seed = test_seed(), slots[100];

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(store(tier, seed + i, &slots[i]), 0);
	assert_int_equal(keys(), 100);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(load(tier, seed + i * 7 % 100, slots[i * 7 % 100]), 0);
	tier->ops->destroy(tier);
	assert_int_equal(keys(), 0);
}

static void test_pages_come_back_by_a_unix_socket(void **state)
{
	pages_come_back(unix_config());
}

static void test_pages_come_back_by_tcp(void **state)
{
	pages_come_back(tcp_config());
}

static void test_a_name_is_looked_up(void **state)
{
	struct s2_pool_redis_config config = tcp_config();

	config.host = "localhost";
	pages_come_back(config);
}

static void test_batches_come_back(void **state)
{
	static char pages[S2_POOL_BATCH][S2_PAGE_SIZE];
	struct s2_pool_tier *tier = tier_begin(unix_config());
	uint64_t slots[S2_POOL_BATCH];
	const void *stored[S2_POOL_BATCH];
	void *loaded[S2_POOL_BATCH];
	int results[S2_POOL_BATCH];

	for (unsigned n = 1; n <= S2_POOL_BATCH; n += n < 4 ? 1 : 20) {
		for (unsigned i = 0; i < n; i++) {
			page_make(PAGE_MIXED, n * 100 + i, pages[i]);
			stored[i] = loaded[i] = pages[i];
		}
		tier->ops->store_many(tier, n, stored, slots, results);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(results[i], 0);
		memset(pages, 0x5a, sizeof(pages));
		tier->ops->load_many(tier, n, slots, loaded, results);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(results[i], 0);
			assert_true(page_is(PAGE_MIXED, n * 100 + i, pages[i]));
		}
	}
	tier->ops->destroy(tier);
}

static void test_each_page_of_a_batch_has_its_own_answer(void **state)
{
	static char pages[4][S2_PAGE_SIZE];
	struct s2_pool_tier *tier = tier_begin(unix_config());
	void *loaded[4] = { pages[0], pages[1], pages[2], pages[3] };
	char key[REDIS_ANSWER];
	uint64_t slots[4];
	int results[4];

	assert_int_equal(store(tier, 0, &slots[0]), 0);
	redis_server_ask(&server, key, "RANDOMKEY");
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(store(tier, i, &slots[i]), 0);
	tier->ops->drop(tier, slots[2]);
	redis_server_tell(&server, ":1", "DEL %s", key);
	tier->ops->load_many(tier, 4, slots, loaded, results);
	assert_int_equal(results[0], -EIO);
	assert_int_equal(results[1], 0);
	assert_true(page_is(PAGE_RANDOM, 1, pages[1]));
	assert_int_equal(results[2], -EINVAL);
	assert_int_equal(results[3], 0);
	assert_true(page_is(PAGE_RANDOM, 3, pages[3]));
	tier->ops->destroy(tier);
}

static void test_what_is_dropped_leaves_the_server(void **state)
{
	struct s2_pool_tier *tier = tier_begin(unix_config());
	uint64_t slots[3 * S2_POOL_BATCH];

	for (unsigned i = 0; i < 3 * S2_POOL_BATCH; i++)
		assert_int_equal(store(tier, i, &slots[i]), 0);
	for (unsigned i = 0; i < 2 * S2_POOL_BATCH; i++)
		tier->ops->drop(tier, slots[i]);
	assert_int_equal(keys(), S2_POOL_BATCH);
	for (unsigned i = 2 * S2_POOL_BATCH; i < 3 * S2_POOL_BATCH; i++)
		assert_int_equal(load(tier, i, slots[i]), 0);
	tier->ops->destroy(tier);
	assert_int_equal(keys(), 0);
}

static void test_the_size_is_a_limit(void **state)
{
	struct s2_pool_redis_config config = unix_config();
	struct s2_pool_tier *tier;
	uint64_t slots[101], slot;

	config.size = 100 * S2_PAGE_SIZE + 1;
	tier = tier_begin(config);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 100; i++)
			assert_int_equal(store(tier, i, &slots[i]), 0);
		assert_int_equal(store(tier, 100, &slot), -ENOSPC);
		assert_int_equal(keys(), 100);
		for (unsigned i = 0; i < 100; i++)
			tier->ops->drop(tier, slots[i]);
	}
	tier->ops->destroy(tier);
}

static void test_a_server_without_memory_is_full(void **state)
{
	struct s2_pool_tier *tier = tier_begin(unix_config()), *second;
	uint64_t slot;

	assert_int_equal(store(tier, 1, &slot), 0);
	redis_server_tell(&server, "+OK", "CONFIG SET maxmemory 1");
	assert_int_equal(store(tier, 2, &slot), -ENOSPC);
	/* Full is no reason to refuse the server. */
	second = tier_begin(unix_config());
	second->ops->destroy(second);
	redis_server_tell(&server, "+OK", "CONFIG SET maxmemory 0");
	assert_int_equal(store(tier, 3, &slot), 0);
	assert_int_equal(load(tier, 3, slot), 0);
	tier->ops->destroy(tier);
	assert_int_equal(keys(), 0);
}

static void test_two_tiers_do_not_meet(void **state)
{
	struct s2_pool_redis_config config = unix_config();
	struct s2_pool_tier *first, *second;
	uint64_t slots[2];

	config.prefix = "guests:";
	first = tier_begin(config);
	second = tier_begin(config);
	assert_int_equal(store(first, 1, &slots[0]), 0);
	assert_int_equal(store(second, 2, &slots[1]), 0);
	assert_int_equal(load(first, 1, slots[0]), 0);
	first->ops->destroy(first);
	assert_int_equal(load(second, 2, slots[1]), 0);
	assert_int_equal(keys(), 1);
	second->ops->destroy(second);
	assert_int_equal(keys(), 0);
}

static void test_keys_begin_with_the_prefix(void **state)
{
	struct s2_pool_redis_config config = unix_config();
	struct s2_pool_tier *tier;
	char key[REDIS_ANSWER];
	uint64_t slot;

	config.prefix = "some{where}:";
	tier = tier_begin(config);
	assert_int_equal(store(tier, 1, &slot), 0);
	assert_memory_equal(redis_server_ask(&server, key, "RANDOMKEY"), "some{where}:", 12);
	tier->ops->destroy(tier);
}

static void test_what_is_no_page_is_an_error(void **state)
{
	struct s2_pool_tier *tier = tier_begin(unix_config());
	char key[REDIS_ANSWER];
	uint64_t slot;

	assert_int_equal(store(tier, 1, &slot), 0);
	redis_server_ask(&server, key, "RANDOMKEY");
	redis_server_tell(&server, ":4097", "APPEND %s x", key);
	assert_int_equal(load(tier, 1, slot), -EIO);
	redis_server_tell(&server, "+OK", "SET %s short", key);
	assert_int_equal(load(tier, 1, slot), -EIO);
	redis_server_tell(&server, ":1", "DEL %s", key);
	assert_int_equal(load(tier, 1, slot), -EIO);
	redis_server_tell(&server, ":1", "LPUSH %s x", key);
	assert_int_equal(load(tier, 1, slot), -EIO);
	assert_int_equal(store(tier, 2, &slot), 0);
	assert_int_equal(load(tier, 2, slot), 0);
	tier->ops->destroy(tier);
}

static void test_passwords(void **state)
{
	struct s2_pool_redis_config config = tcp_config();
	struct s2_pool_tier *tier;
	uint64_t slot;

	config.password = "wrong";
	/* The default user has none: any will do, to Redis. */
	redis_server_tell(&server, "+OK", "CONFIG SET requirepass a-secret");
	assert_int_equal(create(config, &tier), -EACCES);
	config.password = NULL;
	assert_int_equal(create(config, &tier), -EACCES);
	config.password = "a-secret";
	tier = tier_begin(config);
	assert_int_equal(store(tier, 1, &slot), 0);
	assert_int_equal(load(tier, 1, slot), 0);
	tier->ops->destroy(tier);
}

static void test_users(void **state)
{
	struct s2_pool_redis_config config = unix_config();
	struct s2_pool_tier *tier;

	config.user = "pool";
	config.password = "p a\"ss";
	assert_int_equal(create(config, &tier), -EACCES);
	redis_server_tell(&server, "+OK", "ACL SETUSER pool on \">p a\\\"ss\" ~stage2:* +get +set");
	/* It could not remove what it stores. */
	assert_int_equal(create(config, &tier), -EACCES);
	redis_server_tell(&server, "+OK", "ACL SETUSER pool +unlink");
	tier = tier_begin(config);
	tier->ops->destroy(tier);
	config.prefix = "elsewhere:";
	assert_int_equal(create(config, &tier), -EACCES);
}

static void test_a_replica_is_refused(void **state)
{
	struct s2_pool_tier *tier;

	redis_server_tell(&server, "+OK", "REPLICAOF 127.0.0.1 1");
	assert_int_equal(create(unix_config(), &tier), -EROFS);
}

static void test_a_server_that_is_not_there_is_refused(void **state)
{
	struct s2_pool_redis_config by_tcp = tcp_config(), by_unix = unix_config();
	struct s2_pool_tier *tier;

	redis_server_kill(&server);
	assert_int_equal(create(by_tcp, &tier), -ECONNREFUSED);
	assert_int_equal(create(by_unix, &tier), -ENOENT);
}

static void test_a_server_that_was_killed_is_an_error(void **state)
{
	struct s2_pool_tier *tier = tier_begin(unix_config());
	uint64_t slots[10], slot;

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(store(tier, i, &slots[i]), 0);
	redis_server_kill(&server);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(load(tier, i, slots[i]), -EIO);
	assert_int_equal(store(tier, 1, &slot), -EIO);
	for (unsigned i = 0; i < 10; i++)
		tier->ops->drop(tier, slots[i]);
	tier->ops->destroy(tier);
}

static void test_a_server_that_comes_back_empty_gives_errors(void **state)
{
	struct s2_pool_tier *tier = tier_begin(unix_config());
	uint64_t slots[10], slot;

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(store(tier, i, &slots[i]), 0);
	redis_server_restart(&server);
	store_at_last(tier, 100, &slot);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(load(tier, i, slots[i]), -EIO);
	assert_int_equal(load(tier, 100, slot), 0);
	tier->ops->destroy(tier);
	assert_int_equal(keys(), 0);
}

static void test_an_idle_connection_that_was_closed_is_not_used(void **state)
{
	struct s2_pool_tier *tier = tier_begin(unix_config());
	uint64_t slot;

	assert_int_equal(store(tier, 1, &slot), 0);
	redis_server_tell(&server, ":1", "CLIENT KILL TYPE normal SKIPME yes");
	assert_int_equal(load(tier, 1, slot), 0);
	tier->ops->destroy(tier);
}

/* What is outstanding comes when the server goes on, and must be nobody else's answer. */
static void test_a_late_answer_is_not_taken_for_another_pages(void **state)
{
	struct s2_pool_tier *tier = impatient_tier_begin();
	uint64_t slots[8];

	for (unsigned i = 0; i < 8; i++)
		store_at_last(tier, i, &slots[i]);
	for (unsigned round = 0; round < 3; round++) {
		redis_server_stop(&server);
		assert_int_equal(load(tier, round, slots[round]), -EIO);
		redis_server_continue(&server);
		for (unsigned i = 0; i < 8; i++)
			load_at_last(tier, i, slots[i]);
	}
	tier->ops->destroy(tier);
}

static void test_a_late_store_is_not_taken_for_another_page(void **state)
{
	struct s2_pool_tier *tier = impatient_tier_begin();
	uint64_t slot, lost;

	for (unsigned round = 0; round < 3; round++) {
		redis_server_stop(&server);
		assert_int_equal(store(tier, 1000 + round, &lost), -EIO);
		redis_server_continue(&server);
		store_at_last(tier, round, &slot);
		load_at_last(tier, round, slot);
	}
	tier->ops->destroy(tier);
}

/* A time-out for each of these would take longer than the watchdog waits. */
static void test_a_server_that_is_down_fails_at_once(void **state)
{
	struct s2_pool_tier *tier = impatient_tier_begin();
	static uint64_t slots[500];
	uint64_t slot;

	for (unsigned i = 0; i < 500; i++)
		store_at_last(tier, i, &slots[i]);
	redis_server_stop(&server);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(load(tier, i % 500, slots[i % 500]), -EIO);
	for (unsigned i = 0; i < 500; i++)
		tier->ops->drop(tier, slots[i]);
	assert_int_equal(store(tier, 1, &slot), -EIO);
	tier->ops->destroy(tier);
	redis_server_continue(&server);
}

struct user {
	struct s2_pool_tier *tier;
	uint64_t seed;
	unsigned steps, wrong, errors;
	_Atomic bool *stop;
	pthread_t thread;
};

#define PAGES_OF_A_USER 16

struct user_page {
	bool stored;
	uint64_t slot, number;
};

static void use_page(struct user *user, struct user_page *page)
{
	char data[S2_PAGE_SIZE];
	int ret;

	if (!page->stored) {
		page->number = test_random(&user->seed);
		page_make(PAGE_RANDOM, page->number, data);
		ret = user->tier->ops->store(user->tier, data, &page->slot);
		page->stored = !ret;
	} else {
		ret = user->tier->ops->load(user->tier, page->slot, data);
		if (!ret)
			user->wrong += !page_is(PAGE_RANDOM, page->number, data);
		if (test_random(&user->seed) % 2) {
			user->tier->ops->drop(user->tier, page->slot);
			page->stored = false;
		}
	}
	user->errors += ret != 0;
}

static void *user_main(void *arg)
{
	struct user_page pages[PAGES_OF_A_USER] = { 0 };
	struct user *user = arg;

	for (unsigned i = 0; i < user->steps || (user->stop && !atomic_load(user->stop)); i++)
		use_page(user, &pages[test_random(&user->seed) % PAGES_OF_A_USER]);
	for (unsigned i = 0; i < PAGES_OF_A_USER; i++)
		if (pages[i].stored)
			user->tier->ops->drop(user->tier, pages[i].slot);
	return NULL;
}

static void users_begin(struct user *users, unsigned n, const struct user *model)
{
	for (unsigned i = 0; i < n; i++) {
		users[i] = *model;
		users[i].seed += i;
		assert_int_equal(pthread_create(&users[i].thread, NULL, user_main, &users[i]), 0);
	}
}

static unsigned users_end(struct user *users, unsigned n)
{
	unsigned errors = 0;

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(pthread_join(users[i].thread, NULL), 0);
		assert_int_equal(users[i].wrong, 0);
		errors += users[i].errors;
	}
	return errors;
}

/* More of them than there are connections. */
static void test_threads_find_what_they_stored(void **state)
{
	struct s2_pool_redis_config config = unix_config();
	struct user users[8], model = { .seed = test_seed(), .steps = 1000 };

	config.connections = 3;
	model.tier = tier_begin(config);
	users_begin(users, 8, &model);
	assert_int_equal(users_end(users, 8), 0);
	model.tier->ops->destroy(model.tier);
	assert_int_equal(keys(), 0);
}

static void test_threads_and_a_server_that_stops_now_and_then(void **state)
{
	_Atomic bool stop = false;
	struct user users[6], model = { .seed = test_seed(), .stop = &stop };
	uint64_t slot;

	model.tier = impatient_tier_begin();
	users_begin(users, 6, &model);
	for (unsigned round = 0; round < 5; round++) {
		redis_server_stop(&server);
		while (store(model.tier, round, &slot) != -EIO)
			;
		redis_server_continue(&server);
		store_at_last(model.tier, round, &slot);
		load_at_last(model.tier, round, slot);
	}
	atomic_store(&stop, true);
	users_end(users, 6);
	model.tier->ops->destroy(model.tier);
}

static void test_no_descriptor_is_left_open(void **state)
{
	unsigned before = open_descriptors();
	struct s2_pool_tier *tier = tier_begin(unix_config()), *second;
	uint64_t slot;

	assert_int_equal(store(tier, 1, &slot), 0);
	redis_server_kill(&server);
	assert_int_equal(load(tier, 1, slot), -EIO);
	assert_int_equal(create(unix_config(), &second), -ENOENT);
	tier->ops->destroy(tier);
	assert_int_equal(open_descriptors(), before);
}

static void test_arguments_are_checked(void **state)
{
	static char long_text[600];
	struct s2_pool_redis_config config;
	struct s2_pool_tier *tier;

	memset(long_text, 'x', sizeof(long_text) - 1);
	assert_int_equal(s2_pool_tier_redis(NULL, &tier), -EINVAL);
	config = unix_config();
	assert_int_equal(s2_pool_tier_redis(&config, NULL), -EINVAL);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		config = unix_config();                                                            \
		config.change;                                                                     \
		assert_int_equal(create(config, &tier), -EINVAL);                                  \
	} while (0)
	REFUSED(host = NULL);
	REFUSED(host = "");
	REFUSED(size = 0);
	REFUSED(size = S2_PAGE_SIZE - 1);
	REFUSED(size = (UINT64_C(4) << 40) + 1);
	REFUSED(timeout_ms = 60001);
	REFUSED(connections = 65);
	REFUSED(user = "somebody");
	REFUSED(password = long_text);
	REFUSED(prefix = long_text);
	REFUSED(prefix = "");
	REFUSED(reserved[7] = 1);
	long_text[0] = '/';
	REFUSED(host = long_text);
	long_text[0] = 'x';
}

static int begin_server(void **state)
{
	redis_server_begin(&server, false);
	return 0;
}

static int end_server(void **state)
{
	redis_server_end(&server);
	return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin_server, end_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pages_come_back_by_a_unix_socket),
		TEST(test_pages_come_back_by_tcp),
		TEST(test_a_name_is_looked_up),
		TEST(test_batches_come_back),
		TEST(test_each_page_of_a_batch_has_its_own_answer),
		TEST(test_what_is_dropped_leaves_the_server),
		TEST(test_the_size_is_a_limit),
		TEST(test_a_server_without_memory_is_full),
		TEST(test_two_tiers_do_not_meet),
		TEST(test_keys_begin_with_the_prefix),
		TEST(test_what_is_no_page_is_an_error),
		TEST(test_passwords),
		TEST(test_users),
		TEST(test_a_replica_is_refused),
		TEST(test_a_server_that_is_not_there_is_refused),
		TEST(test_a_server_that_was_killed_is_an_error),
		TEST(test_a_server_that_comes_back_empty_gives_errors),
		TEST(test_an_idle_connection_that_was_closed_is_not_used),
		TEST(test_a_late_answer_is_not_taken_for_another_pages),
		TEST(test_a_late_store_is_not_taken_for_another_page),
		TEST(test_a_server_that_is_down_fails_at_once),
		TEST(test_threads_find_what_they_stored),
		TEST(test_threads_and_a_server_that_stops_now_and_then),
		TEST(test_no_descriptor_is_left_open),
		cmocka_unit_test(test_arguments_are_checked),
	};

	const char *missing = redis_server_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
