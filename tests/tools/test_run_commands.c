/* SPDX-License-Identifier: MIT */
/*
 * How a line becomes a program and its arguments, and which files are none of commands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../tools/run_commands.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static struct run_commands commands;
static char error[512];

static int clear(void **state)
{
	(void)state;
	run_commands_clear(&commands);
	return 0;
}

/* The words of @line, one after the other, each in brackets. */
static const char *words_of(const char *line)
{
	static char words[256];
	char *const *argv;

	words[0] = '\0';
	run_commands_clear(&commands);
	if (run_commands_add_line(&commands, line, error, sizeof(error)))
		fail_msg("'%s': %s", line, error);
	argv = commands.nr ? commands.command[0].argv : NULL;
	for (; argv && *argv; argv++)
		sprintf(words + strlen(words), "[%s]", *argv);
	return words;
}

static void test_blanks_divide_words(void **state)
{
	(void)state;
	assert_string_equal(words_of("a"), "[a]");
	assert_string_equal(words_of("  busybox\tsort   words  "), "[busybox][sort][words]");
}

static void test_quotes_keep_blanks(void **state)
{
	(void)state;
	assert_string_equal(words_of("a 'b  c' \"d e\""), "[a][b  c][d e]");
	assert_string_equal(words_of("a b'c d'e"), "[a][bc de]");
	assert_string_equal(words_of("a '' \"\""), "[a][][]");
	assert_string_equal(words_of("a 'say \"x\"' \"it's\""), "[a][say \"x\"][it's]");
}

static void test_a_backslash_keeps_what_follows(void **state)
{
	(void)state;
	assert_string_equal(words_of("a b\\ c \\'d"), "[a][b c]['d]");
	assert_string_equal(words_of("a \"b\\\"c\\\\d\\n\""), "[a][b\"c\\d\\n]");
	assert_string_equal(words_of("a 'b\\c'"), "[a][b\\c]");
	assert_string_equal(words_of("a \\#b"), "[a][#b]");
}

static void test_comments_and_empty_lines_are_nothing(void **state)
{
	(void)state;
	assert_string_equal(words_of(""), "");
	assert_string_equal(words_of("   \t"), "");
	assert_string_equal(words_of("# a b"), "");
	assert_string_equal(words_of("a # b"), "[a]");
	assert_string_equal(words_of("a b#c"), "[a][b#c]");
}

static void assert_line_refused(const char *line, const char *why)
{
	assert_int_equal(run_commands_add_line(&commands, line, error, sizeof(error)), -EINVAL);
	if (!strstr(error, why))
		fail_msg("'%s' is not about '%s'", error, why);
	assert_int_equal(commands.nr, 0);
}

static void test_what_does_not_end_is_refused(void **state)
{
	(void)state;
	assert_line_refused("a 'b", "nothing that ends it");
	assert_line_refused("a \"b", "nothing that ends it");
	assert_line_refused("a \"b\\\"", "nothing that ends it");
	assert_line_refused("a b\\", "nothing that ends it");
}

static void test_a_program_has_a_name(void **state)
{
	(void)state;
	assert_line_refused("'' a", "no program");
}

static void test_too_many_words_are_refused(void **state)
{
	char *line = malloc(2 * (RUN_MAX_WORDS + 1) + 1);

	(void)state;
	line[0] = '\0';
	for (int i = 0; i <= RUN_MAX_WORDS; i++)
		strcpy(line + 2 * i, "a ");
	assert_line_refused(line, "words");
	line[2 * RUN_MAX_WORDS] = '\0';
	assert_int_equal(run_commands_add_line(&commands, line, error, sizeof(error)), 0);
	free(line);
}

static void test_too_many_commands_are_refused(void **state)
{
	(void)state;
	for (int i = 0; i < RUN_MAX_COMMANDS; i++)
		assert_int_equal(run_commands_add_line(&commands, "a", error, sizeof(error)), 0);
	assert_int_equal(run_commands_add_line(&commands, "a", error, sizeof(error)), -EINVAL);
	assert_int_equal(commands.nr, RUN_MAX_COMMANDS);
}

static void test_the_text_is_for_people(void **state)
{
	char *argv[] = { "busybox", "sort", "a b", NULL };

	(void)state;
	assert_int_equal(run_commands_add_words(&commands, 3, argv, error, sizeof(error)), 0);
	assert_string_equal(commands.command[0].text, "busybox sort a b");
	assert_null(commands.command[0].argv[3]);
}

/* The name is good until the next call. */
static const char *file_of(const char *text, size_t len)
{
	static char name[64];
	FILE *file;
	int fd;

	strcpy(name, "/tmp/stage2-commands-XXXXXX");
	fd = mkstemp(name);
	assert_true(fd >= 0);
	file = fdopen(fd, "w");
	fwrite(text, 1, len, file);
	fclose(file);
	return name;
}

static void assert_file_refused(const char *text, size_t len, const char *why)
{
	const char *name = file_of(text, len);

	assert_int_equal(run_commands_add_file(&commands, name, error, sizeof(error)), -EINVAL);
	if (!strstr(error, why))
		fail_msg("'%s' is not about '%s'", error, why);
	assert_non_null(strstr(error, name));
	unlink(name);
	run_commands_clear(&commands);
}

static void test_a_file_has_a_command_in_each_line(void **state)
{
	const char text[] = "# two of them\nbusybox true\n\n  a 'b c'";
	const char *name = file_of(text, strlen(text));

	(void)state;
	assert_int_equal(run_commands_add_file(&commands, name, error, sizeof(error)), 0);
	assert_int_equal(commands.nr, 2);
	assert_string_equal(commands.command[0].text, "busybox true");
	assert_string_equal(commands.command[1].argv[1], "b c");
	unlink(name);
}

static void test_errors_name_the_line(void **state)
{
	const char text[] = "busybox true\n\nbusybox 'x\n";

	(void)state;
	assert_file_refused(text, strlen(text), ":3: a quote");
}

static void test_files_without_commands_are_refused(void **state)
{
	char *large = malloc(RUN_MAX_FILE + 1);

	(void)state;
	assert_file_refused("", 0, "no command");
	assert_file_refused("# a\n\n", 5, "no command");
	assert_file_refused("a\0b\n", 4, "not a text file");
	memset(large, 'a', RUN_MAX_FILE + 1);
	assert_file_refused(large, RUN_MAX_FILE + 1, "larger than");
	free(large);
	assert_int_equal(run_commands_add_file(&commands, "/nosuch", error, sizeof(error)),
			 -ENOENT);
}

/* Not even looked into: nobody writes to the one, and the other has no end. */
static void test_what_is_no_regular_file_is_refused(void **state)
{
	static const char pipe[] = "/tmp/stage2-commands-pipe";
	const char *const names[] = { pipe, "/dev/zero", "/dev/ptmx", "/" };

	(void)state;
	unlink(pipe);
	assert_int_equal(mkfifo(pipe, 0600), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_true(run_commands_add_file(&commands, names[i], error, sizeof(error)) < 0);
		assert_non_null(strstr(error, "it is not a regular file"));
	}
	unlink(pipe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_blanks_divide_words, clear),
		cmocka_unit_test_teardown(test_quotes_keep_blanks, clear),
		cmocka_unit_test_teardown(test_a_backslash_keeps_what_follows, clear),
		cmocka_unit_test_teardown(test_comments_and_empty_lines_are_nothing, clear),
		cmocka_unit_test_teardown(test_what_does_not_end_is_refused, clear),
		cmocka_unit_test_teardown(test_a_program_has_a_name, clear),
		cmocka_unit_test_teardown(test_too_many_words_are_refused, clear),
		cmocka_unit_test_teardown(test_too_many_commands_are_refused, clear),
		cmocka_unit_test_teardown(test_the_text_is_for_people, clear),
		cmocka_unit_test_teardown(test_a_file_has_a_command_in_each_line, clear),
		cmocka_unit_test_teardown(test_errors_name_the_line, clear),
		cmocka_unit_test_teardown(test_files_without_commands_are_refused, clear),
		cmocka_unit_test_teardown(test_what_is_no_regular_file_is_refused, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
