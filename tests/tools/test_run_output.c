/* SPDX-License-Identifier: MIT */
/* What guests print on standard error, on its way to the user: in lines, and in turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/run_output.h"

#include <unistd.h>

static struct run_errors errors;
static char *text;
static size_t text_size;
static FILE *stream;

static void say(const char *words)
{
	assert_int_equal(write(errors.write_fd, words, strlen(words)), strlen(words));
}

static void assert_text(const char *expected)
{
	assert_int_equal(fflush(stream), 0);
	assert_string_equal(text, expected);
}

static void test_a_line_is_passed_on_when_it_is_whole(void **state)
{
	(void)state;
	say("first\nsec");
	run_errors_pass_on(&errors, stream);
	assert_text("guest 7: first\n");
	say("ond\n");
	run_errors_pass_on(&errors, stream);
	assert_text("guest 7: first\nguest 7: second\n");
}

static void test_the_last_line_need_not_end(void **state)
{
	(void)state;
	say("no newline");
	run_errors_pass_on(&errors, stream);
	assert_text("");
	run_errors_close(&errors, stream);
	assert_text("guest 7: no newline\n");
}

static void test_a_line_without_an_end_is_cut(void **state)
{
	char line[RUN_ERRORS_LINE + 2];

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	say(line);
	run_errors_close(&errors, stream);
	assert_int_equal(fflush(stream), 0);
	assert_int_equal(text_size, sizeof(line) - 1 + 2 * strlen("guest 7: \n"));
	assert_non_null(strstr(text, "x\nguest 7: x\n"));
}

/* A line for each that is printed, as by a guest that is as fast as we are. */
static ssize_t say_more(void *cookie, const char *buf, size_t size)
{
	(void)cookie;
	if (memchr(buf, '\n', size))
		say("and on\n");
	return (ssize_t)size;
}

static void test_a_guest_that_goes_on_writing_is_left_for_others(void **state)
{
	FILE *endless = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = say_more });

	(void)state;
	assert_non_null(endless);
	setvbuf(endless, NULL, _IONBF, 0);
	say("a line\n");
	run_errors_pass_on(&errors, endless);
	fclose(endless);
}

static int open_errors(void **state)
{
	(void)state;
	stream = open_memstream(&text, &text_size);
	return stream ? run_errors_open(&errors, 7) : -1;
}

static int close_errors(void **state)
{
	(void)state;
	run_errors_close(&errors, stream);
	fclose(stream);
	free(text);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_errors, close_errors)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_a_line_is_passed_on_when_it_is_whole),
		TEST(test_the_last_line_need_not_end),
		TEST(test_a_line_without_an_end_is_cut),
		TEST(test_a_guest_that_goes_on_writing_is_left_for_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
