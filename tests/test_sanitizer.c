/* SPDX-License-Identifier: MIT */
/*
 * Does a build with a sanitizer fail a program that does what the sanitizer is
 * there to find? Each fault here is made in a child process, whose exit status
 * must tell of it: a sanitizer that only prints would let every test pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sanitized.h"

static volatile int sink;

static void use_after_free(void)
{
	char *volatile block = malloc(16);

	free(block);
	sink = block[3];
}

static void beyond_the_end(void)
{
	char *volatile block = malloc(16);
	volatile size_t at = 16;

	sink = block[at];
	free(block);
}

/* Nothing points at it any more, so it cannot be freed. */
static void leak(void)
{
	void *volatile block = malloc(100);

	sink = block != NULL;
	block = NULL;
}

static void signed_overflow(void)
{
	volatile int most = INT_MAX;

	sink = most + 1;
}

static void misaligned_load(void)
{
	static char bytes[16];
	volatile size_t at = 1;

	sink = *(int *)(void *)(bytes + at);
}

static int shared;

static void *racer(void *arg)
{
	for (int i = 0; i < 1000; i++)
		*(volatile int *)&shared += 1;
	return arg;
}

static void data_race(void)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, racer, NULL))
			return;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* exit(), not _exit(): leaks and races are told of there. What the sanitizer prints is not wanted. */
static void assert_caught(void (*fault)(void), int built, const char *which)
{
	int status;
	pid_t child;

	if (!built) {
		print_message("not built with -fsanitize=%s\n", which);
		skip();
	}
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int nowhere = open("/dev/null", O_WRONLY);

		dup2(nowhere, STDOUT_FILENO);
		dup2(nowhere, STDERR_FILENO);
		fault();
		exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static void test_use_after_free_is_caught(void **state)
{
	assert_caught(use_after_free, WITH_ADDRESS_SANITIZER, "address");
}

static void test_access_beyond_the_end_is_caught(void **state)
{
	assert_caught(beyond_the_end, WITH_ADDRESS_SANITIZER, "address");
}

static void test_leak_is_caught(void **state)
{
	assert_caught(leak, WITH_ADDRESS_SANITIZER, "address");
}

static void test_signed_overflow_is_caught(void **state)
{
	assert_caught(signed_overflow, WITH_UNDEFINED_SANITIZER, "undefined");
}

static void test_misaligned_load_is_caught(void **state)
{
	assert_caught(misaligned_load, WITH_UNDEFINED_SANITIZER, "undefined");
}

static void test_data_race_is_caught(void **state)
{
	assert_caught(data_race, WITH_THREAD_SANITIZER, "thread");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_use_after_free_is_caught),
		cmocka_unit_test(test_access_beyond_the_end_is_caught),
		cmocka_unit_test(test_leak_is_caught),
		cmocka_unit_test(test_signed_overflow_is_caught),
		cmocka_unit_test(test_misaligned_load_is_caught),
		cmocka_unit_test(test_data_race_is_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
