/* SPDX-License-Identifier: MIT */
/*
 * What --swap understands, what it refuses, and that nothing which may be a secret is in what it
 * says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/run_size.h"
#include "../../tools/run_tiers.h"

#include <errno.h>
#include <unistd.h>

static struct run_tiers tiers;
static char error[256];

static void parse(const char *text)
{
	if (run_tiers_parse(text, &tiers, error, sizeof(error)))
		fail_msg("'%s': %s", text, error);
}

static void assert_refused(const char *text, const char *why)
{
	assert_int_equal(run_tiers_parse(text, &tiers, error, sizeof(error)), -EINVAL);
	if (!strstr(error, why))
		fail_msg("'%s' is not about '%s'", error, why);
	assert_null(strchr(error, '\n'));
	assert_int_equal(tiers.nr, 0);
}

static void test_order_is_kept(void **state)
{
	(void)state;
	parse("lz4,zstd:64M,file:/tmp/pages,redis:host:6380");
	assert_int_equal(tiers.nr, 4);
	assert_int_equal(tiers.tier[0].kind, RUN_TIER_LZ4);
	assert_int_equal(tiers.tier[0].size, 0);
	assert_int_equal(tiers.tier[1].kind, RUN_TIER_ZSTD);
	assert_int_equal(tiers.tier[1].size, 64 << 20);
	assert_int_equal(tiers.tier[2].kind, RUN_TIER_FILE);
	assert_string_equal(tiers.tier[2].place, "/tmp/pages");
	assert_int_equal(tiers.tier[3].kind, RUN_TIER_REDIS);
	assert_string_equal(tiers.tier[3].place, "host");
	assert_int_equal(tiers.tier[3].port, 6380);
	run_tiers_clear(&tiers);
}

static void test_a_path_may_have_colons_and_a_size_behind(void **state)
{
	(void)state;
	parse("file:a:b");
	assert_string_equal(tiers.tier[0].place, "a:b");
	run_tiers_clear(&tiers);
	parse("file:a:b:8K");
	assert_string_equal(tiers.tier[0].place, "a:b");
	assert_int_equal(tiers.tier[0].size, 8192);
	run_tiers_clear(&tiers);
}

static void test_a_server_may_be_a_socket_or_an_address(void **state)
{
	(void)state;
	parse("redis:/run/redis.sock,redis:::1:7000");
	assert_string_equal(tiers.tier[0].place, "/run/redis.sock");
	assert_string_equal(tiers.tier[1].place, "::1");
	assert_int_equal(tiers.tier[1].port, 7000);
	run_tiers_clear(&tiers);
}

static void test_what_is_no_tier_is_refused(void **state)
{
	(void)state;
	assert_refused("", "''");
	assert_refused("zst", "'zst'");
	assert_refused("zstd,", "''");
	assert_refused("zstd,,lz4", "''");
	assert_refused("zstd,lz4,file:a,file:b,file:c", "more than 4");
}

static void test_wrong_sizes_are_refused(void **state)
{
	(void)state;
	assert_refused("zstd:", "''");
	assert_refused("zstd:0", "'0'");
	assert_refused("zstd:5000", "'5000'");
	assert_refused("lz4:129G", "'129G'");
	assert_refused("file:a:1", "'1'");
	assert_refused("lz4:99999999999999999999G", "'99999999999999999999G'");
}

static void test_a_file_needs_a_path(void **state)
{
	(void)state;
	assert_refused("file", "file:PATH");
	assert_refused("file:", "file:PATH");
	assert_refused("file::4K", "file:PATH");
}

static void test_a_server_needs_a_port(void **state)
{
	(void)state;
	assert_refused("redis", "redis:HOST:PORT");
	assert_refused("redis:", "redis:HOST:PORT");
	assert_refused("redis:host", "redis:HOST:PORT");
	assert_refused("redis::6379", "redis:HOST:PORT");
	assert_refused("redis:host:0", "redis:HOST:PORT");
	assert_refused("redis:host:65536", "redis:HOST:PORT");
	assert_refused("redis:/", "redis:HOST:PORT");
}

static void test_a_password_is_refused_and_not_repeated(void **state)
{
	(void)state;
	assert_refused("redis://me:hunter2@host:6379", RUN_REDIS_PASSWORD);
	assert_null(strstr(error, "hunter2"));
	assert_refused("redis:me:hunter2@host:6379", RUN_REDIS_PASSWORD);
	assert_null(strstr(error, "hunter2"));
}

static void test_none_is_left_if_one_cannot_be_had(void **state)
{
	struct s2_pool_tier *created[S2_POOL_TIERS] = { NULL };
	char path[] = "/tmp/stage2-tiers-XXXXXX", text[128];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	snprintf(text, sizeof(text), "file:%s:64K,file:/nosuch/place:64K", path);
	parse(text);
	assert_int_equal(run_tiers_create(&tiers, 1 << 20, created, error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "/nosuch/place"));
	run_tiers_clear(&tiers);
	/* A file that is in use would be refused. */
	*strchr(text, ',') = '\0';
	parse(text);
	assert_int_equal(run_tiers_create(&tiers, 1 << 20, created, error, sizeof(error)), 0);
	created[0]->ops->destroy(created[0]);
	run_tiers_clear(&tiers);
	unlink(path);
}

static void assert_size(const char *text, uint64_t expected)
{
	uint64_t size = 0;

	assert_true(run_size_parse(text, &size));
	assert_true(size == expected);
}

static void test_sizes_are_as_people_write_them(void **state)
{
	char buf[24];

	(void)state;
	assert_size("0", 0);
	assert_size("4096", 4096);
	assert_size("64K", 64 << 10);
	assert_size("3M", 3 << 20);
	assert_size("2G", UINT64_C(2) << 30);
	assert_size("1T", UINT64_C(1) << 40);
	assert_size("17179869183G", UINT64_MAX - (UINT64_C(1) << 30) + 1);
	assert_string_equal(run_size_text(0, buf, sizeof(buf)), "0");
	assert_string_equal(run_size_text(1023, buf, sizeof(buf)), "1023B");
	assert_string_equal(run_size_text(2000 << 10, buf, sizeof(buf)), "1.95M");
	assert_string_equal(run_size_text((2 << 20) - 1, buf, sizeof(buf)), "2M");
	assert_string_equal(run_size_text((1 << 20) - 1, buf, sizeof(buf)), "1M");
	assert_string_equal(run_size_text(1020 << 10, buf, sizeof(buf)), "1020K");
	assert_string_equal(run_size_text(1536, buf, sizeof(buf)), "1.5K");
	assert_string_equal(run_size_text(64 << 20, buf, sizeof(buf)), "64M");
	assert_string_equal(run_size_text(UINT64_C(2) << 40, buf, sizeof(buf)), "2T");
}

static void test_what_is_no_size_is_refused(void **state)
{
	static const char *const wrong[] = {
		"",   "K",   "-1",   "+1",   " 1",	     "1 ",
		"1k", "1KB", "0x10", "1.5M", "17179869184G", "18446744073709551616"
	};
	uint64_t size = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(run_size_parse(wrong[i], &size));
	assert_int_equal(size, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_is_kept),
		cmocka_unit_test(test_a_path_may_have_colons_and_a_size_behind),
		cmocka_unit_test(test_a_server_may_be_a_socket_or_an_address),
		cmocka_unit_test(test_what_is_no_tier_is_refused),
		cmocka_unit_test(test_wrong_sizes_are_refused),
		cmocka_unit_test(test_a_file_needs_a_path),
		cmocka_unit_test(test_a_server_needs_a_port),
		cmocka_unit_test(test_a_password_is_refused_and_not_repeated),
		cmocka_unit_test(test_none_is_left_if_one_cannot_be_had),
		cmocka_unit_test(test_sizes_are_as_people_write_them),
		cmocka_unit_test(test_what_is_no_size_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
