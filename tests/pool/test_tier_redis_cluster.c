/* SPDX-License-Identifier: MIT */
/*
 * The tier on a Redis Cluster of three real servers: which of them has a page, what
 * becomes of pages whose hash slot moves while they are stored, and of those of a server
 * that is killed.
 */
#include "pages.h"
#include "pool/redis_server.h"
#include "small_vm.h"

#include <errno.h>
#include <pthread.h>
#include <stage2/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SERVERS 3
#define HASH_SLOTS 16384
#define PAGES 192

static struct redis_server servers[SERVERS];

static bool is_up(struct redis_server *server)
{
	char info[REDIS_ANSWER];

	redis_server_ask(server, info, "CLUSTER INFO");
	return strstr(info, "cluster_state:ok") && strstr(info, "cluster_known_nodes:3");
}

static int begin_cluster(void **state)
{
	for (unsigned i = 0; i < SERVERS; i++) {
		redis_server_begin(&servers[i], true);
		redis_server_tell(&servers[i], "+OK", "CLUSTER ADDSLOTSRANGE %u %u",
				  HASH_SLOTS * i / SERVERS, HASH_SLOTS * (i + 1) / SERVERS - 1);
		redis_server_tell(&servers[i], "+OK", "CONFIG SET cluster-require-full-coverage no");
	}
	for (unsigned i = 1; i < SERVERS; i++)
		redis_server_tell(&servers[0], "+OK", "CLUSTER MEET 127.0.0.1 %u %u",
				  servers[i].port, servers[i].bus_port);
	for (unsigned i = 0; i < SERVERS; i++)
		while (!is_up(&servers[i]))
			usleep(1000);
	return 0;
}

static int end_cluster(void **state)
{
	for (unsigned i = 0; i < SERVERS; i++)
		redis_server_end(&servers[i]);
	return 0;
}

static struct s2_pool_redis_config config_of(unsigned server)
{
	return (struct s2_pool_redis_config){
		.host = "127.0.0.1",
		.port = servers[server].port,
		.size = 1024 * S2_PAGE_SIZE,
		.timeout_ms = 60000,
		.cluster = true,
	};
}

static struct s2_pool_tier *tier_begin(void)
{
	const struct s2_pool_redis_config config = config_of(0);
	struct s2_pool_tier *tier;

	assert_int_equal(s2_pool_tier_redis(&config, &tier), 0);
	return tier;
}

static int store(struct s2_pool_tier *tier, uint64_t number, uint64_t *slot)
{
	char page[S2_PAGE_SIZE];

	page_make(PAGE_RANDOM, number, page);
	return tier->ops->store(tier, page, slot);
}

static int load(struct s2_pool_tier *tier, uint64_t number, uint64_t slot)
{
	char page[S2_PAGE_SIZE];
	int ret = tier->ops->load(tier, slot, page);

	if (!ret)
		assert_true(page_is(PAGE_RANDOM, number, page));
	return ret;
}

static void store_all(struct s2_pool_tier *tier, uint64_t *slots)
{
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(store(tier, i, &slots[i]), 0);
}

static void load_all(struct s2_pool_tier *tier, const uint64_t *slots)
{
	for (unsigned i = 0; i < PAGES; i++)
		assert_int_equal(load(tier, i, slots[i]), 0);
}

static unsigned keys(unsigned server)
{
	char answer[REDIS_ANSWER];

	return (unsigned)atoi(redis_server_ask(&servers[server], answer, "DBSIZE") + 1);
}

static unsigned all_keys(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < SERVERS; i++)
		sum += keys(i);
	return sum;
}

/* Of one of its keys. */
static unsigned some_hash_slot(unsigned server)
{
	char key[REDIS_ANSWER], answer[REDIS_ANSWER];

	redis_server_ask(&servers[server], key, "RANDOMKEY");
	redis_server_ask(&servers[server], answer, "CLUSTER KEYSLOT %s", key);
	return (unsigned)atoi(answer + 1);
}

static bool has_stat(unsigned server, const char *section, const char *stat)
{
	char answer[REDIS_ANSWER];

	return strstr(redis_server_ask(&servers[server], answer, "INFO %s", section), stat);
}

/* Some key, if it is of that hash slot; a server has few, so that its turn comes. */
static bool migrate_one(unsigned hash_slot, unsigned from, unsigned to)
{
	char key[REDIS_ANSWER], answer[REDIS_ANSWER];

	redis_server_ask(&servers[from], answer, "CLUSTER COUNTKEYSINSLOT %u", hash_slot);
	if (!strcmp(answer, ":0"))
		return false;
	redis_server_ask(&servers[from], key, "RANDOMKEY");
	redis_server_ask(&servers[from], answer, "CLUSTER KEYSLOT %s", key);
	if ((unsigned)atoi(answer + 1) == hash_slot)
		redis_server_ask(&servers[from], answer, "MIGRATE 127.0.0.1 %u %s 0 60000",
				 servers[to].port, key);
	return true;
}

/* The keys of the hash slot are at the new server, which is not yet said to have it. */
static void begin_move(unsigned hash_slot, unsigned from, unsigned to)
{
	char ids[2][REDIS_ANSWER];

	redis_server_ask(&servers[from], ids[0], "CLUSTER MYID");
	redis_server_ask(&servers[to], ids[1], "CLUSTER MYID");
	redis_server_tell(&servers[to], "+OK", "CLUSTER SETSLOT %u IMPORTING %.40s", hash_slot,
			  ids[0]);
	redis_server_tell(&servers[from], "+OK", "CLUSTER SETSLOT %u MIGRATING %.40s", hash_slot,
			  ids[1]);
	while (migrate_one(hash_slot, from, to))
		;
}

static void end_move(unsigned hash_slot, unsigned from, unsigned to)
{
	char id[REDIS_ANSWER];

	redis_server_ask(&servers[to], id, "CLUSTER MYID");
	redis_server_tell(&servers[to], "+OK", "CLUSTER SETSLOT %u NODE %.40s", hash_slot, id);
	redis_server_tell(&servers[from], "+OK", "CLUSTER SETSLOT %u NODE %.40s", hash_slot, id);
}

static void test_pages_are_spread_and_come_back(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES];

	store_all(tier, slots);
	for (unsigned i = 0; i < SERVERS; i++) {
		assert_in_range(keys(i), 1, PAGES / 2);
		/* Nobody was sent elsewhere: the hash slots are those of the servers. */
		assert_false(has_stat(i, "errorstats", "MOVED"));
	}
	load_all(tier, slots);
	for (unsigned i = 0; i < PAGES; i++)
		tier->ops->drop(tier, slots[i]);
	assert_int_equal(all_keys(), 0);
	tier->ops->destroy(tier);
}

static void test_batches_are_spread_and_come_back(void **state)
{
	static char pages[S2_POOL_BATCH][S2_PAGE_SIZE];
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[S2_POOL_BATCH];
	const void *stored[S2_POOL_BATCH];
	void *loaded[S2_POOL_BATCH];
	int results[S2_POOL_BATCH];

	for (unsigned i = 0; i < S2_POOL_BATCH; i++) {
		page_make(PAGE_RANDOM, i, pages[i]);
		stored[i] = loaded[i] = pages[i];
	}
	tier->ops->store_many(tier, S2_POOL_BATCH, stored, slots, results);
	for (unsigned i = 0; i < S2_POOL_BATCH; i++)
		assert_int_equal(results[i], 0);
	memset(pages, 0, sizeof(pages));
	tier->ops->load_many(tier, S2_POOL_BATCH, slots, loaded, results);
	for (unsigned i = 0; i < S2_POOL_BATCH; i++) {
		assert_int_equal(results[i], 0);
		assert_true(page_is(PAGE_RANDOM, i, pages[i]));
	}
	assert_int_equal(all_keys(), S2_POOL_BATCH);
	tier->ops->destroy(tier);
	assert_int_equal(all_keys(), 0);
}

static void limit_memory(unsigned server, unsigned bytes)
{
	redis_server_tell(&servers[server], "+OK", "CONFIG SET maxmemory %u", bytes);
}

static void test_it_is_full_when_no_server_has_memory(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES], slot;

	limit_memory(1, 1);
	store_all(tier, slots);
	load_all(tier, slots);
	assert_int_equal(keys(1), 0);
	for (unsigned i = 0; i < SERVERS; i++)
		limit_memory(i, 1);
	assert_int_equal(store(tier, 0, &slot), -ENOSPC);
	for (unsigned i = 0; i < SERVERS; i++)
		limit_memory(i, 0);
	assert_int_equal(store(tier, 0, &slot), 0);
	tier->ops->destroy(tier);
}

static void test_a_prefix_may_keep_all_on_one_server(void **state)
{
	struct s2_pool_redis_config config = config_of(0);
	struct s2_pool_tier *tier;
	uint64_t slots[PAGES];
	unsigned full = 0;

	config.prefix = "guests{one}of{two}:";
	assert_int_equal(s2_pool_tier_redis(&config, &tier), 0);
	store_all(tier, slots);
	for (unsigned i = 0; i < SERVERS; i++)
		full += keys(i) == PAGES;
	assert_int_equal(full, 1);
	load_all(tier, slots);
	tier->ops->destroy(tier);
	assert_int_equal(all_keys(), 0);
}

static void test_a_slot_that_is_moving_is_asked_for(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES], more[PAGES];
	unsigned hash_slot;

	store_all(tier, slots);
	hash_slot = some_hash_slot(0);
	begin_move(hash_slot, 0, 1);
	load_all(tier, slots);
	assert_true(has_stat(0, "errorstats", "errorstat_ASK"));
	assert_true(has_stat(1, "commandstats", "cmdstat_asking"));
	store_all(tier, more);
	end_move(hash_slot, 0, 1);
	load_all(tier, slots);
	load_all(tier, more);
	tier->ops->destroy(tier);
	assert_int_equal(all_keys(), 0);
}

static void test_the_map_is_asked_for_when_slots_have_moved(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES];

	store_all(tier, slots);
	redis_server_tell(&servers[2], "+OK", "CONFIG RESETSTAT");
	for (unsigned i = 0; i < 3; i++) {
		unsigned hash_slot = some_hash_slot(2);

		begin_move(hash_slot, 2, 0);
		end_move(hash_slot, 2, 0);
	}
	load_all(tier, slots);
	assert_true(has_stat(2, "errorstats", "errorstat_MOVED:count=1\r"));
	tier->ops->destroy(tier);
	assert_int_equal(all_keys(), 0);
}

static void test_pages_of_a_server_that_was_killed_are_errors(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES];
	unsigned lost, errors = 0;

	store_all(tier, slots);
	lost = keys(1);
	redis_server_kill(&servers[1]);
	for (unsigned i = 0; i < PAGES; i++) {
		int ret = load(tier, i, slots[i]);

		assert_true(!ret || ret == -EIO);
		errors += ret != 0;
	}
	assert_int_equal(errors, lost);
	tier->ops->destroy(tier);
	assert_int_equal(keys(0) + keys(2), 0);
}

static void test_the_first_server_may_go(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES];
	unsigned lost, errors = 0;

	store_all(tier, slots);
	lost = keys(0);
	redis_server_kill(&servers[0]);
	for (unsigned i = 0; i < PAGES; i++)
		errors += load(tier, i, slots[i]) != 0;
	assert_int_equal(errors, lost);
	tier->ops->destroy(tier);
}

static void test_a_slot_that_nobody_serves_is_an_error(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	uint64_t slots[PAGES];
	unsigned hash_slot, errors = 0;

	store_all(tier, slots);
	hash_slot = some_hash_slot(0);
	redis_server_tell(&servers[0], "+OK", "CLUSTER DELSLOTS %u", hash_slot);
	for (unsigned i = 0; i < PAGES; i++) {
		int ret = load(tier, i, slots[i]);

		assert_true(!ret || ret == -EIO);
		errors += ret != 0;
	}
	assert_in_range(errors, 1, PAGES / 2);
	tier->ops->destroy(tier);
}

struct user {
	struct s2_pool_tier *tier;
	uint64_t first;
	_Atomic bool *stop;
	unsigned wrong;
	pthread_t thread;
};

static void *user_main(void *arg)
{
	struct user *user = arg;

	for (uint64_t n = user->first; !atomic_load(user->stop); n++) {
		char page[S2_PAGE_SIZE];
		uint64_t slot;

		user->wrong += store(user->tier, n, &slot) != 0;
		user->wrong += user->tier->ops->load(user->tier, slot, page) != 0;
		user->wrong += !page_is(PAGE_RANDOM, n, page);
		user->tier->ops->drop(user->tier, slot);
	}
	return NULL;
}

/* More than there are connections, while hash slots move to and fro under them. */
static void test_threads_notice_nothing_of_slots_that_move(void **state)
{
	struct s2_pool_tier *tier = tier_begin();
	_Atomic bool stop = false;
	struct user users[8];
	uint64_t slots[PAGES];

	store_all(tier, slots);
	for (unsigned i = 0; i < 8; i++) {
		users[i] = (struct user){ .tier = tier, .stop = &stop, .first = i * 1000000 };
		assert_int_equal(pthread_create(&users[i].thread, NULL, user_main, &users[i]), 0);
	}
	for (unsigned i = 0; i < 6; i++) {
		unsigned from = i % SERVERS, to = (i + 1) % SERVERS;
		unsigned hash_slot = some_hash_slot(from);

		begin_move(hash_slot, from, to);
		load_all(tier, slots);
		end_move(hash_slot, from, to);
		load_all(tier, slots);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(users[i].thread, NULL), 0);
		assert_int_equal(users[i].wrong, 0);
	}
	tier->ops->destroy(tier);
	assert_int_equal(all_keys(), 0);
}

static void test_a_cluster_is_refused_where_one_server_is_meant(void **state)
{
	struct s2_pool_redis_config config = config_of(0);
	struct s2_pool_tier *tier;

	config.cluster = false;
	assert_int_equal(s2_pool_tier_redis(&config, &tier), -EPROTO);
}

static void test_one_server_is_refused_where_a_cluster_is_meant(void **state)
{
	struct s2_pool_redis_config config;
	struct redis_server alone;
	struct s2_pool_tier *tier;

	redis_server_begin(&alone, false);
	config = (struct s2_pool_redis_config){
		.host = alone.socket,
		.size = S2_PAGE_SIZE,
		.timeout_ms = 60000,
		.cluster = true,
	};
	assert_int_equal(s2_pool_tier_redis(&config, &tier), -EPROTO);
	redis_server_end(&alone);
}

/* A cluster takes some seconds to come about; these leave it as whole as it was. */
static int run_shared(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_are_spread_and_come_back),
		cmocka_unit_test(test_batches_are_spread_and_come_back),
		cmocka_unit_test(test_it_is_full_when_no_server_has_memory),
		cmocka_unit_test(test_a_prefix_may_keep_all_on_one_server),
		cmocka_unit_test(test_a_slot_that_is_moving_is_asked_for),
		cmocka_unit_test(test_the_map_is_asked_for_when_slots_have_moved),
		cmocka_unit_test(test_threads_notice_nothing_of_slots_that_move),
		cmocka_unit_test(test_a_cluster_is_refused_where_one_server_is_meant),
	};

	return cmocka_run_group_tests(tests, begin_cluster, end_cluster);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, begin_cluster, end_cluster)

static int run_alone(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pages_of_a_server_that_was_killed_are_errors),
		TEST(test_the_first_server_may_go),
		TEST(test_a_slot_that_nobody_serves_is_an_error),
		cmocka_unit_test(test_one_server_is_refused_where_a_cluster_is_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	const char *missing = redis_server_missing();

	if (missing) {
		puts(missing);
		return 77;
	}
	return run_shared() + run_alone();
}
