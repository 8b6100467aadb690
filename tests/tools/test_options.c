/* SPDX-License-Identifier: MIT */
/*
 * Checked parsing of what comes from the command line, and that an error is one line that names the
 * option.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../tools/options.h"

static void assert_number(const char *text, uint64_t min, uint64_t max, uint64_t expected)
{
	uint64_t value;

	assert_true(option_number(text, min, max, &value));
	assert_true(value == expected);
}

static void assert_no_number(const char *text, uint64_t min, uint64_t max)
{
	uint64_t value = 77;

	assert_false(option_number(text, min, max, &value));
	assert_int_equal(value, 77);
}

static void test_numbers_in_range_are_taken(void **state)
{
	(void)state;
	assert_number("0", 0, 64, 0);
	assert_number("64", 0, 64, 64);
	assert_number("007", 0, 64, 7);
	assert_number("18446744073709551615", 0, UINT64_MAX, UINT64_MAX);
}

static void test_anything_else_is_no_number(void **state)
{
	(void)state;
	assert_no_number("", 0, 64);
	assert_no_number("65", 0, 64);
	assert_no_number("3", 4, 64);
	assert_no_number("-1", 0, 64);
	assert_no_number("+1", 0, 64);
	assert_no_number(" 1", 0, 64);
	assert_no_number("1 ", 0, 64);
	assert_no_number("0x10", 0, 64);
	assert_no_number("1.5", 0, 64);
	assert_no_number("18446744073709551616", 0, UINT64_MAX);
	assert_no_number("99999999999999999999999999", 0, UINT64_MAX);
}

static void test_each_gate_has_its_name(void **state)
{
	enum s2_gate gate;

	(void)state;
	for (unsigned int i = 0; i < S2_NR_GATES; i++) {
		assert_true(option_gate(s2_gate_name((enum s2_gate)i), &gate));
		assert_int_equal(gate, i);
	}
	assert_false(option_gate("", &gate));
	assert_false(option_gate("rangeX", &gate));
}

/* One parser with an option of each sort, as a subcommand's would be. */

struct parsed {
	uint64_t number;
	double real;
	unsigned int gates;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct parsed *parsed = state->input;

	switch (key) {
	case 'n':
		return option_parse_number(state, "--number", arg, 1, 9, &parsed->number);
	case 'r':
		return option_parse_real(state, "--real", arg, 0, 2, &parsed->real);
	case 'g':
		return option_parse_gates(state, "--gate", arg, &parsed->gates);
	case ARGP_KEY_ARG:
		return option_refuse(state, NULL, "'%s' is not expected here", arg);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static struct parsed parsed;
static char errors[1024];

/* Parses the words, with stderr in @errors. */
static int run_parser(char *first, char *second)
{
	static const struct argp_option options[] = {
		{ "number", 'n', "N", 0, "", 0 },
		{ "real", 'r', "X", 0, "", 0 },
		{ "gate", 'g', "NAME", 0, "", 0 },
		{ 0 },
	};
	const struct argp argp = { .options = options, .parser = parse };
	char name[] = "test";
	char *argv[] = { name, first, second, NULL };
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO), status;
	size_t length;

	parsed = (struct parsed){ 0 };
	assert_non_null(file);
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	status = options_parse(&argp, "stage2 test", 0, 1 + !!first + !!second, argv, &parsed);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	length = fread(errors, 1, sizeof(errors) - 1, file);
	errors[length] = '\0';
	fclose(file);
	return status;
}

static void assert_parser_refuses(const char *first, const char *second, const char *error)
{
	char a[64], b[64];

	snprintf(a, sizeof(a), "%s", first);
	snprintf(b, sizeof(b), "%s", second ? second : "");
	assert_int_equal(run_parser(a, second ? b : NULL), 2);
	assert_string_equal(errors, error);
}

static void test_good_options_are_quiet(void **state)
{
	char number[] = "--number=5", gates[] = "--gate=range,count", real[] = "-r0.5";

	(void)state;
	assert_int_equal(run_parser(NULL, NULL), 0);
	assert_int_equal(run_parser(number, gates), 0);
	assert_int_equal(parsed.number, 5);
	assert_int_equal(parsed.gates, 1u << S2_GATE_RANGE | 1u << S2_GATE_COUNT);
	assert_int_equal(run_parser(real, NULL), 0);
	assert_true(parsed.real > 0.4 && parsed.real < 0.6);
	assert_string_equal(errors, "");
}

static void test_wrong_values_are_named_on_one_line(void **state)
{
	(void)state;
	assert_parser_refuses("--number=10", NULL,
			      "stage2 test: --number: '10' is not a number from 1 to 9\n");
	assert_parser_refuses("--real", "nan",
			      "stage2 test: --real: 'nan' is not a number from 0 to 2\n");
	assert_parser_refuses("--real", "1x",
			      "stage2 test: --real: '1x' is not a number from 0 to 2\n");
	assert_parser_refuses("--real", "-1",
			      "stage2 test: --real: '-1' is not a number from 0 to 2\n");
}

static void test_wrong_gates_are_named_on_one_line(void **state)
{
	(void)state;
	assert_parser_refuses(
		"--gate=range,", NULL,
		"stage2 test: --gate: 'range,' is not a gate; the gates are range, always, rwsem "
		"and count\n");
	assert_parser_refuses(
		"--gate", "averylongnamewithoutasense",
		"stage2 test: --gate: 'averylongnamewithoutasense' is not a gate; the gates are "
		"range, always, rwsem and count\n");
}

static void test_unknown_options_are_named_on_one_line(void **state)
{
	(void)state;
	assert_parser_refuses("--nosuch", NULL, "stage2 test: unrecognized option '--nosuch'\n");
	assert_parser_refuses("-x", NULL, "stage2 test: invalid option -- 'x'\n");
	assert_parser_refuses("--number", NULL,
			      "stage2 test: option '--number' requires an argument\n");
	assert_parser_refuses("word", NULL, "stage2 test: 'word' is not expected here\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_in_range_are_taken),
		cmocka_unit_test(test_anything_else_is_no_number),
		cmocka_unit_test(test_each_gate_has_its_name),
		cmocka_unit_test(test_good_options_are_quiet),
		cmocka_unit_test(test_wrong_values_are_named_on_one_line),
		cmocka_unit_test(test_wrong_gates_are_named_on_one_line),
		cmocka_unit_test(test_unknown_options_are_named_on_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
