/* SPDX-License-Identifier: MIT */
/*
 * stage2 replay as one types it: what is on standard output and on standard error, and the exit
 * status.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "replay_traces.h"

#define SAMPLE "\"$S2_TEST_DATA\"/two-vms-churn.strace.xz"

static char output[65536];

/* Runs the command in a shell; @output has what it wrote where @redirection leaves it. */
static int run(const char *arguments, const char *redirection)
{
	char command[1024];
	size_t length;
	FILE *pipe;

	snprintf(command, sizeof(command), "\"$S2_PROGRAM\" %s %s", arguments, redirection);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	length = fread(output, 1, sizeof(output) - 1, pipe);
	output[length] = '\0';
	return WEXITSTATUS(pclose(pipe));
}

static void assert_fails(const char *arguments, int status, const char *error)
{
	const char *newline;

	assert_int_equal(run(arguments, "2>&1 >/dev/null"), status);
	if (!strstr(output, error))
		fail_msg("'%s' is not about '%s'", output, error);
	newline = strchr(output, '\n');
	assert_non_null(newline);
	assert_int_equal(newline[1], '\0');
	run(arguments, "2>/dev/null");
	assert_string_equal(output, "");
}

/* A recording in a file of its own; the name is good until the next call. */
static const char *file_of(const char *text)
{
	static char name[64];
	FILE *file;
	int fd;

	strcpy(name, "/tmp/stage2-replay-XXXXXX");
	fd = mkstemp(name);
	assert_true(fd >= 0);
	file = fdopen(fd, "w");
	fputs(text, file);
	fclose(file);
	return name;
}

static void assert_recording_fails(const char *text, const char *error)
{
	const char *name = file_of(text);
	char arguments[128], expected[256];

	snprintf(arguments, sizeof(arguments), "replay %s", name);
	snprintf(expected, sizeof(expected), "stage2 replay: %s:%s", name, error);
	assert_fails(arguments, 1, expected);
	unlink(name);
}

static json_t *json_output(void)
{
	json_error_t error;
	json_t *json = json_loads(output, 0, &error);

	if (!json)
		fail_msg("not one JSON object: %s", error.text);
	return json;
}

static void test_json_of_one_recording_is_its_object(void **state)
{
	json_t *json, *gates;
	json_int_t related = 0, elided = 0;

	(void)state;
	assert_int_equal(run("replay --json --vcpus 2 " SAMPLE, "2>&1"), 0);
	json = json_output();
	gates = json_object_get(json, "gates");
	assert_int_equal(json_object_size(gates), 4);
	assert_int_equal(json_unpack(json, "{s:I, s:{s:{s:I}}}", "related", &related, "gates",
				     "range", "elided", &elided),
			 0);
	assert_int_equal(related, 129);
	assert_int_equal(elided, 1474);
	json_decref(json);
}

static void test_json_of_several_is_one_object(void **state)
{
	json_t *json;

	(void)state;
	assert_int_equal(run("replay --json --gate range --gate count,range " SAMPLE " " SAMPLE,
			     "2>&1"),
			 0);
	json = json_output();
	assert_int_equal(json_array_size(json_object_get(json, "traces")), 2);
	json_decref(json);
}

static void test_gate_chooses_what_is_run(void **state)
{
	json_t *json;

	(void)state;
	assert_int_equal(run("replay --json --vcpus 0 -g count " SAMPLE, "2>&1"), 0);
	json = json_output();
	assert_int_equal(json_object_size(json_object_get(json, "gates")), 1);
	json_decref(json);
}

static void test_the_table_is_for_people(void **state)
{
	(void)state;
	assert_int_equal(run("replay " SAMPLE, "2>&1"), 0);
	assert_non_null(strstr(output, "two-vms-churn.strace.xz\n"));
	assert_non_null(strstr(output, "1474 of 1603 invalidations"));
	/* Progress is for terminals. */
	assert_null(strchr(output, '\r'));
	assert_null(strchr(output, '\033'));
}

static void test_recorded_time_can_be_asked_for(void **state)
{
	const char *name = file_of("1 1.0 " UNMAP(FREE) ")" DONE "1 1.01 " UNMAP(FREE) ")" DONE);
	char arguments[128];
	double wall_s = 0;
	json_t *json;

	(void)state;
	snprintf(arguments, sizeof(arguments), "replay --json --speed 1 -g range %s", name);
	assert_int_equal(run(arguments, "2>&1"), 0);
	json = json_output();
	assert_int_equal(json_unpack(json, "{s:{s:{s:F}}}", "gates", "range", "wall_s", &wall_s), 0);
	/* It cannot have been sooner, however fast or slow the machine is. */
	assert_true(wall_s >= 0.01);
	json_decref(json);
	unlink(name);
}

static void test_wrong_options_are_one_line_and_status_2(void **state)
{
	(void)state;
	assert_fails("replay", 2, "stage2 replay: no recording");
	assert_fails("replay --vcpus 65 x", 2, "stage2 replay: --vcpus: '65'");
	assert_fails("replay --speed -1 x", 2, "stage2 replay: --speed: '-1'");
	assert_fails("replay --gate mutex x", 2, "stage2 replay: --gate: 'mutex'");
	assert_fails("replay --nosuch x", 2, "stage2 replay: unrecognized option '--nosuch'");
	assert_fails("nosuch", 2, "stage2: 'nosuch' is not a command");
}

static void test_what_cannot_be_read_is_one_line_and_status_1(void **state)
{
	(void)state;
	assert_fails("replay /nosuch/file", 1, "stage2 replay: /nosuch/file: ");
	assert_fails("replay --json /nosuch/file", 1, "stage2 replay: /nosuch/file: ");
	assert_fails("replay /", 1, "stage2 replay: /: ");
	assert_recording_fails("1 1.0 munmap(0x1000, 4096) = 0\nnonsense\n", "2: ");
}

static void test_what_cannot_be_replayed_is_one_line_and_status_1(void **state)
{
	(void)state;
	assert_recording_fails(CREATE_VM("4") "1 1.0 " ADD("1") DONE
					      "1 1.0 " SLOT("4", "2", "0x10000", "4096", "2") DONE,
			       "3: gate ");
}

static void test_a_failure_leaves_no_json(void **state)
{
	(void)state;
	assert_int_equal(run("replay --json --gate range " SAMPLE " /nosuch/file", "2>/dev/null"), 1);
	assert_string_equal(output, "");
}

static void test_a_report_that_cannot_be_written_is_a_failure(void **state)
{
	(void)state;
	assert_int_equal(run("replay --gate range " SAMPLE, "2>&1 >/dev/full"), 1);
	assert_non_null(strstr(output, "could not write to standard output"));
	assert_int_equal(run("replay --json --gate range " SAMPLE, "2>&1 >/dev/full"), 1);
	assert_non_null(strstr(output, "could not write to standard output"));
}

static void test_help_has_an_example(void **state)
{
	(void)state;
	assert_int_equal(run("replay --help", "2>/dev/null"), 0);
	assert_non_null(strstr(output, "Example:"));
	assert_non_null(strstr(output, "strace -f -ttt -T"));
	assert_int_equal(run("--help", "2>/dev/null"), 0);
	assert_non_null(strstr(output, "replay"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_of_one_recording_is_its_object),
		cmocka_unit_test(test_json_of_several_is_one_object),
		cmocka_unit_test(test_gate_chooses_what_is_run),
		cmocka_unit_test(test_the_table_is_for_people),
		cmocka_unit_test(test_recorded_time_can_be_asked_for),
		cmocka_unit_test(test_wrong_options_are_one_line_and_status_2),
		cmocka_unit_test(test_what_cannot_be_read_is_one_line_and_status_1),
		cmocka_unit_test(test_what_cannot_be_replayed_is_one_line_and_status_1),
		cmocka_unit_test(test_a_failure_leaves_no_json),
		cmocka_unit_test(test_a_report_that_cannot_be_written_is_a_failure),
		cmocka_unit_test(test_help_has_an_example),
	};

	if (!getenv("S2_PROGRAM") || !getenv("S2_TEST_DATA")) {
		print_message("# skipped: S2_PROGRAM and S2_TEST_DATA say what to run on what; "
			      "meson test sets them\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
