/* SPDX-License-Identifier: MIT */
/*
 * stage2 run as one types it, with busybox as the guests' program: what they print, what is told
 * of them, and how it ends.
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

#include <signal.h>

#define BUSYBOX "/bin/busybox"
#define LINES 4000
/* What one guest needs for its program and these lines, and what two of them do not have. */
#define SMALL_POOL "--pool 2M"

static char output[1 << 20];
static char root[] = "/tmp/stage2-run-XXXXXX";

/* Of the guests' root. */
static FILE *create(const char *name)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "w");
	assert_non_null(file);
	return file;
}

/* What the shell sets before, as "ulimit -n 100"; until it is changed back. */
static const char *condition = "true";

/* In the guests' root; @output has what is written where @redirection leaves it. */
static int run(const char *arguments, const char *redirection)
{
	char command[1024];
	size_t length;
	FILE *pipe;

	snprintf(command, sizeof(command), "cd %s && %s && \"$S2_PROGRAM\" run %s %s", root,
		 condition, arguments, redirection);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	length = fread(output, 1, sizeof(output) - 1, pipe);
	output[length] = '\0';
	return WEXITSTATUS(pclose(pipe));
}

static void assert_in_output(const char *text)
{
	if (!strstr(output, text))
		fail_msg("no '%s' in:\n%s", text, output);
}

static void assert_runs(const char *arguments, int status, const char *redirection)
{
	int got = run(arguments, redirection);

	if (got != status)
		fail_msg("%s: status %d instead of %d:\n%s", arguments, got, status, output);
}

static void assert_fails(const char *arguments, int status, const char *error)
{
	const char *newline;

	assert_runs(arguments, status, "2>&1 >/dev/null");
	assert_in_output(error);
	newline = strchr(output, '\n');
	assert_non_null(newline);
	assert_int_equal(newline[1], '\0');
	run(arguments, "2>/dev/null");
	assert_string_equal(output, "");
}

static json_t *json_of(const char *arguments, int status)
{
	json_error_t error;
	json_t *json;

	assert_runs(arguments, status, "2>/dev/null");
	json = json_loads(output, 0, &error);
	if (!json)
		fail_msg("not one JSON object: %s in:\n%s", error.text, output);
	return json;
}

static void test_a_guest_prints_what_its_program_prints(void **state)
{
	(void)state;
	assert_runs("-- busybox echo 'hello, host'", 0, "2>/dev/null");
	assert_string_equal(output, "hello, host\n");
	assert_runs("--vms 3 -- busybox echo once", 0, "2>/dev/null");
	assert_string_equal(output, "once\n");
	assert_runs("--memory plain -- busybox echo plain", 0, "2>/dev/null");
	assert_string_equal(output, "plain\n");
}

static void test_the_only_guest_has_standard_input(void **state)
{
	(void)state;
	assert_runs("-- busybox sort", 0, "2>/dev/null <unsorted");
	assert_true(!strncmp(output, "line 0\nline 1\nline 10\n", 22));
	assert_runs("--vms 2 -- busybox wc -c", 0, "2>/dev/null <unsorted");
	assert_string_equal(output, "0\n");
}

static void test_the_report_is_beside_the_output(void **state)
{
	(void)state;
	assert_runs("-- busybox echo hi", 0, "2>&1 >/dev/null");
	assert_in_output("1 busybox echo hi");
	assert_in_output("a pool of 64M, gate range");
	assert_in_output("kept\n");
	assert_null(strchr(output, '\r'));
	assert_null(strchr(output, '\033'));
	assert_runs("--quiet -- busybox echo hi", 0, "2>/dev/null");
	assert_null(strstr(output, "hi\nguest"));
	assert_in_output("1 guest with 64M altogether");
}

static void test_copies_agree_with_each_other_and_the_host(void **state)
{
	json_t *json, *guest;
	size_t i;

	(void)state;
	json = json_of("--json --check --vms 3 -- busybox md5sum unsorted", 0);
	json_array_foreach(json_object_get(json_array_get(json_object_get(json, "runs"), 0),
					   "guests"),
			   i, guest)
	{
		assert_true(json_is_true(json_object_get(guest, "same_as_native")));
		if (i)
			assert_true(json_is_true(json_object_get(guest, "same_as_copies")));
		assert_true(json_integer_value(json_object_get(guest, "syscalls")) > 0);
		assert_true(json_integer_value(json_object_get(guest, "faults")) > 0);
		assert_string_equal(json_string_value(json_object_get(guest, "reason")), "");
	}
	assert_int_equal(i, 3);
	json_decref(json);
}

/* A guest's root is not the host's. */
static void test_what_is_not_as_on_the_host_is_told(void **state)
{
	(void)state;
	assert_runs("--check --quiet --vms 2 -- busybox pwd", 1, "2>&1 >/dev/null");
	assert_in_output("guest 1 busybox pwd, gate range: output or status is not that of its "
			 "native run\n");
	assert_in_output("guest 2 busybox pwd");
}

static void test_the_hosts_status_is_expected_too(void **state)
{
	(void)state;
	assert_runs("-- busybox false", 1, "2>&1");
	assert_runs("--check -- busybox false", 0, "2>&1");
}

static void assert_swapped_and_right(const json_t *json, size_t nr)
{
	json_t *runs = json_object_get(json, "runs"), *one, *guest;
	size_t i, g;

	assert_int_equal(json_array_size(runs), nr);
	json_array_foreach(runs, i, one)
	{
		json_int_t outs, updates, invalidations;

		assert_int_equal(json_unpack(one, "{s:{s:I}, s:{s:I, s:I}}", "pool", "swap_outs",
					     &outs, "mm", "memslot_updates", &updates,
					     "invalidations", &invalidations),
				 0);
		assert_true(outs > 0);
		assert_true(invalidations > 0);
		json_array_foreach(json_object_get(one, "guests"), g, guest)
			assert_true(json_is_true(json_object_get(guest, "same_as_native")));
	}
}

static void test_a_pool_smaller_than_the_guests_changes_nothing(void **state)
{
	json_t *json = json_of("--json --check --vms 3 " SMALL_POOL " -- busybox sort unsorted", 0);

	(void)state;
	assert_swapped_and_right(json, 1);
	json_decref(json);
}

static void test_churn_changes_nothing_under_any_gate(void **state)
{
	json_t *json = json_of("--json --check --vms 2 --merge --churn 3 --gate all " SMALL_POOL
			       " --commands jobs",
			       0);

	(void)state;
	assert_swapped_and_right(json, 4);
	json_decref(json);
}

static void test_every_level_of_churn_ends(void **state)
{
	(void)state;
	assert_runs("--quiet --churn 1 -- busybox sort unsorted", 0, "2>&1");
	assert_runs("--quiet --churn 2 -- busybox sort unsorted", 0, "2>&1");
	assert_runs("--quiet --merge -- busybox sort unsorted", 0, "2>&1");
}

static void test_pages_may_be_swapped_to_a_file(void **state)
{
	json_t *json = json_of("--json --check --vms 2 " SMALL_POOL
			       " --swap lz4:64K,file:pages:64M -- busybox sort unsorted",
			       0);
	json_t *tiers = json_object_get(
		json_object_get(json_array_get(json_object_get(json, "runs"), 0), "pool"), "tiers");

	(void)state;
	assert_swapped_and_right(json, 1);
	assert_int_equal(json_array_size(tiers), 2);
	json_decref(json);
}

/* Under always each of them takes each guest's mmu_lock. */
static void test_each_guest_tells_what_was_elided_for_it(void **state)
{
	json_t *json = json_of("--json --churn 3 --gate range,always --vms 2 -- busybox sort unsorted",
			       0);
	json_t *runs = json_object_get(json, "runs"), *one, *guest;
	size_t i, g;

	(void)state;
	json_array_foreach(runs, i, one)
	{
		json_array_foreach(json_object_get(one, "guests"), g, guest)
		{
			json_int_t invalidations = 0, elided = 0;

			json_unpack(guest, "{s:I, s:I}", "invalidations", &invalidations, "elided",
				    &elided);
			assert_true(invalidations > 0);
			assert_true(i ? elided == 0 : elided > 0);
		}
	}
	assert_int_equal(i, 2);
	json_decref(json);
}

/* It can be pasted, to have the same again. */
static void test_the_report_has_the_command_line(void **state)
{
	json_t *json = json_of("--json -- busybox echo 'a  b' \"it's\" '' '*' plain", 0);

	(void)state;
	assert_string_equal(json_string_value(json_object_get(json, "command")),
			    "stage2 run --json -- busybox echo 'a  b' 'it'\\''s' '' '*' plain");
	json_decref(json);
}

static void test_several_gates_are_compared(void **state)
{
	(void)state;
	assert_runs("--quiet --gate range,count --memory both -- busybox true", 0, "2>&1");
	assert_in_output("plain memory");
	assert_in_output("count");
	assert_in_output("mmu_lock taken by them");
	assert_in_output("cost beside plain memory");
}

static void test_costs_are_measured_beside_more_guests(void **state)
{
	json_t *json =
		json_of("--json --gate range,always --compare 1,3 -- busybox sort unsorted", 0);
	json_t *cells = json_object_get(json, "compare"), *cell;
	size_t i;

	(void)state;
	assert_int_equal(json_array_size(cells), 4);
	json_array_foreach(cells, i, cell)
	{
		json_int_t unrelated = 0, related = 0, updates = 0;

		assert_int_equal(json_unpack(cell, "{s:{s:{s:I}, s:{s:I}, s:{s:I}}}", "events",
					     "unrelated", "count", &unrelated, "related", "count",
					     &related, "memslot update", "count", &updates),
				 0);
		assert_true(unrelated > 0 && related > 0 && updates > 0);
	}
	json_decref(json);
}

static void test_a_file_names_several_commands(void **state)
{
	(void)state;
	assert_runs("--commands jobs", 0, "2>/dev/null");
	assert_true(!strncmp(output, "line 0\n", 7));
	assert_in_output("two words\n");
}

static void test_standard_error_says_whose_it_is(void **state)
{
	(void)state;
	assert_runs("--vms 2 -- busybox cat nosuch", 1, "2>&1 >/dev/null");
	assert_in_output("guest 1: cat: can't open 'nosuch'");
	assert_in_output("guest 2: cat: can't open 'nosuch'");
}

static void test_limits_end_a_guest_and_say_so(void **state)
{
	(void)state;
	assert_runs("--quiet --vms 2 --output-limit 4K -- busybox yes", 1, "2>&1");
	assert_in_output("guest 1 busybox yes: it wrote more than");
	assert_in_output("guest 2 busybox yes: it wrote more than");
	assert_runs("--quiet --seconds 1 -- busybox sh -c 'while :; do :; done'", 1, "2>&1");
	assert_in_output("it ran longer than the 1 s");
}

static int no_condition(void **state)
{
	(void)state;
	condition = "true";
	return 0;
}

static void test_guests_may_have_more_files_than_the_soft_limit(void **state)
{
	(void)state;
	condition = "ulimit -Sn 60";
	assert_runs("--vms 16 --check -- busybox true", 0, "2>&1");
}

static void test_too_few_descriptors_are_told_before_guests_run(void **state)
{
	(void)state;
	condition = "ulimit -n 500";
	assert_fails("--vms 16 --files 64 -- busybox echo hi", 1,
		     "stage2 run: --files: 16 guests with 64 files each need");
	assert_fails("--compare 16 --files 64 -- busybox echo hi", 1, "16 guests with 64 files");
	condition = "ulimit -n 100";
	assert_fails("--vms 16 -- busybox echo hi", 1, "run fewer guests");
}

static json_int_t calls_with(const char *maps)
{
	char arguments[64];
	json_t *report, *guest;
	json_int_t calls;

	snprintf(arguments, sizeof(arguments), "--json --maps %s -- \"$S2_GUEST\" mapping_bomb", maps);
	report = json_of(arguments, 0);
	guest = json_array_get(json_object_get(json_array_get(json_object_get(report, "runs"), 0),
					       "guests"), 0);
	calls = json_integer_value(json_object_get(guest, "syscalls"));
	json_decref(report);
	assert_true(calls > 0);
	return calls;
}

static void test_a_guest_maps_as_many_ranges_as_it_may(void **state)
{
	(void)state;
	if (!getenv("S2_GUEST"))
		skip();
	assert_int_equal(calls_with("200") - calls_with("100"), 100);
	assert_fails("--maps 15 -- busybox true", 2, "stage2 run: --maps: '15' is not a number from 16");
}

/* Unless it was said how many each is to have. */
static void test_descriptors_are_shared_out(void **state)
{
	int files;

	(void)state;
	condition = "ulimit -n 600";
	assert_runs("--vms 16 -- busybox sh -c 'ulimit -n'", 0, "2>/dev/null");
	files = atoi(output);
	assert_in_range(files, 8, 600 / 16);
	condition = "true";
	assert_runs("-- busybox sh -c 'ulimit -n'", 0, "2>/dev/null");
	assert_string_equal(output, "64\n");
}

/* Their sizes are limited for this process, which would end of it, and both guests with it. */
static void test_a_file_that_gets_too_large_is_its_guests_error(void **state)
{
	json_t *json;
	int statuses[2] = { -1, -1 };

	(void)state;
	condition = "ulimit -f 8192";
	json = json_of("--json --pool 2M --commands large", 1);
	assert_int_equal(json_unpack(json, "{s:[{s:[{s:i},{s:i}]}]}", "runs", "guests", "status",
				     &statuses[0], "status", &statuses[1]),
			 0);
	assert_int_equal(statuses[0], 1);
	assert_int_equal(statuses[1], 0);
	json_decref(json);
}

static void test_a_tier_that_gets_too_large_is_an_error(void **state)
{
	(void)state;
	condition = "ulimit -f 8192";
	assert_fails("--pool 2M --swap file:large-pages:64M -- busybox true", 1,
		     "stage2 run: --swap: file:large-pages: File too large");
}

static void test_a_pool_that_gets_too_large_says_why(void **state)
{
	(void)state;
	condition = "ulimit -f 8192";
	assert_fails("--pool 64M -- busybox true", 1, "ulimit -f");
}

/* The limit as the user has it, and a signal that ends who writes too much. */
static void test_native_runs_are_as_they_would_be_without_us(void **state)
{
	(void)state;
	condition = "ulimit -Sn 60";
	assert_runs("--quiet --check --vms 16 --files 60 -- busybox sh -c 'ulimit -n'", 0, "2>&1");
	condition = "ulimit -f 8192";
	assert_runs("--quiet --check --pool 2M -- busybox cp numbers copy", 1, "2>&1");
	assert_in_output("is not that of its native run");
}

/* One has no memory left, or is ended, and the other goes on. */
static void test_a_guest_that_fails_hurts_nobody_else(void **state)
{
	json_t *json = json_of("--json --output-limit 100000 --commands unequal", 1);
	int statuses[2] = { -1, -1 };

	(void)state;
	assert_int_equal(json_unpack(json, "{s:[{s:[{s:i},{s:i}]}]}", "runs", "guests", "status",
				     &statuses[0], "status", &statuses[1]),
			 0);
	assert_true(statuses[0] > 128);
	assert_int_equal(statuses[1], 0);
	json_decref(json);
}

static void test_a_pool_that_is_full_ends_the_guest_that_wants_more(void **state)
{
	(void)state;
	assert_runs("--quiet --pool 4M --swap lz4:64K -- "
		    "busybox sh -c 'x=aaaaaaaa; while :; do x=$x$x; done'",
		    1, "2>&1");
	assert_in_output("the host could not provide its memory");
	assert_in_output("--pool or --swap may be too small");
}

/* The second pass has the file of the first, which is not what is found under its name by then. */
static void test_a_guest_changes_no_program(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "cp " BUSYBOX " %s/busybox-of-root", root);
	assert_int_equal(system(command), 0);
	assert_runs("--gate range,always -- /busybox-of-root ln -sf unsorted /busybox-of-root", 0,
		    "2>&1");
}

static void test_a_guest_that_cannot_start_leaves_the_others_alone(void **state)
{
	(void)state;
	assert_runs("--commands impossible", 1, "2>&1");
	assert_in_output("unsorted is not an ELF file");
	assert_in_output("two words\n");
	assert_in_output("not run");
}

static void test_the_user_may_end_it_and_still_gets_the_table(void **state)
{
	char command[512], line[256];
	size_t length;
	FILE *pipe;
	pid_t pid;

	(void)state;
	snprintf(command, sizeof(command),
		 "cd %s && echo $$ && exec \"$S2_PROGRAM\" run --vms 2 "
		 "-- busybox sh -c 'echo runs >&2; while :; do :; done' 2>&1",
		 root);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(line, sizeof(line), pipe));
	pid = (pid_t)atoi(line);
	while (fgets(line, sizeof(line), pipe) && strcmp(line, "guest 2: runs\n"))
		;
	assert_int_equal(kill(pid, SIGTERM), 0);
	length = fread(output, 1, sizeof(output) - 1, pipe);
	output[length] = '\0';
	assert_int_equal(WEXITSTATUS(pclose(pipe)), 1);
	assert_in_output("2 busybox sh");
	assert_in_output("stopped by the user");
}

/*
 * Twelve seconds of measuring are still to come when it is stopped. In the foreground: otherwise
 * timeout sends the signal twice, and the second one ends the program at once.
 */
static void test_a_comparison_that_was_stopped_is_a_failure(void **state)
{
	char command[512];

	(void)state;
	snprintf(command, sizeof(command),
		 "cd %s && timeout --foreground --preserve-status -s INT 2 \"$S2_PROGRAM\" run "
		 "--compare 1,2,3,4,5,6,7,8 -- busybox true >/dev/null 2>&1",
		 root);
	assert_int_equal(WEXITSTATUS(system(command)), 1);
}

static void test_a_report_can_be_looked_at(void **state)
{
	char path[128], text[64] = "";
	FILE *file;

	(void)state;
	assert_runs("--quiet --report run.html --churn 2 -- busybox sort unsorted", 0, "2>&1");
	snprintf(path, sizeof(path), "%s/run.html", root);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	assert_non_null(strstr(text, "<!"));
	fclose(file);
	assert_fails("--report /nosuch/run.html -- busybox true", 1,
		     "--report: '/nosuch/run.html'");
}

static void test_wrong_options_are_one_line_and_status_2(void **state)
{
	(void)state;
	assert_fails("", 2, "stage2 run: no program named");
	assert_fails("--vms 0 -- x", 2, "stage2 run: --vms: '0'");
	assert_fails("--vms 257 -- x", 2, "stage2 run: --vms: '257'");
	assert_fails("--mem 5M1 -- x", 2, "stage2 run: --mem: '5M1' is not a size");
	assert_fails("--mem 2097153 -- x", 2,
		     "stage2 run: --mem: '2097153' is not a multiple of 4K");
	assert_fails("--mem 64G --vms 200 -- x", 2, "stage2 run: --mem: all guests together");
	assert_fails("--pool 4K -- x", 2, "stage2 run: --pool: '4K'");
	assert_fails("--churn 4 -- x", 2, "stage2 run: --churn: '4'");
	assert_fails("--gate mutex -- x", 2, "stage2 run: --gate: 'mutex'");
	assert_fails("--memory disk -- x", 2, "stage2 run: --memory: 'disk'");
	assert_fails("--memory plain --pool 8M -- x", 2, "stage2 run: --pool: plain memory");
	assert_fails("--compare 1,,2 -- x", 2, "stage2 run: --compare: '1,,2'");
	assert_fails("--compare 1,1000 -- x", 2, "stage2 run: --compare: '1,1000'");
	assert_fails("--compare 8,1,8 -- x", 2, "stage2 run: --compare: '8,1,8'");
	assert_fails("--json --top -- x", 2, "stage2 run: --top");
	assert_fails("--root /nosuch -- x", 2, "stage2 run: --root: '/nosuch': ");
	assert_fails("--root jobs -- x", 2, "stage2 run: --root: 'jobs': ");
	assert_fails("--root '' -- x", 2, "stage2 run: --root: '': ");
	assert_fails("--pool 2T -- x", 2, "from 64K to 1T");
	assert_fails("-- ''", 2, "stage2 run: it names no program");
	assert_fails("--nosuch -- x", 2, "stage2 run: unrecognized option '--nosuch'");
	assert_fails("--commands jobs -- x", 2, "stage2 run: --commands: leave out PROGRAM, 'x'");
	assert_fails("--commands /nosuch", 2, "stage2 run: --commands: /nosuch: ");
	assert_fails("--swap nosuch -- x", 2, "stage2 run: --swap: 'nosuch'");
}

static void test_a_password_is_not_repeated(void **state)
{
	(void)state;
	assert_fails("--swap redis://u:hunter2@host:1 -- x", 2,
		     "stage2 run: --swap: a Redis server");
	assert_null(strstr(output, "hunter2"));
}

static void test_what_cannot_be_had_is_one_line_and_status_1(void **state)
{
	(void)state;
	assert_fails("-- nosuchprogram", 1, "stage2 run: nosuchprogram: No such file");
	assert_fails("-- ./nosuchprogram", 1, "stage2 run: ./nosuchprogram: No such file");
	assert_fails("-- ./unsorted", 1, "is not an ELF file");
	assert_fails("--vms 3 -- ./truncated", 1, "truncated");
	assert_fails("-- \"$S2_PROGRAM\" --help", 1, "dynamically");
	assert_fails("--swap file:/nosuch/pages --pool 1M -- busybox true", 1,
		     "stage2 run: --swap: file:/nosuch/pages: ");
	assert_fails("--json -- nosuchprogram", 1, "stage2 run: nosuchprogram");
}

static void test_what_is_no_file_is_neither_a_program_nor_commands(void **state)
{
	(void)state;
	assert_fails("--commands pipe", 2, "--commands: pipe: it is not a regular file");
	assert_fails("--commands /dev/tty", 2, "stage2 run: --commands: /dev/tty: ");
	assert_fails("--commands .", 2, "--commands: .: it is not a regular file");
	assert_fails("-- ./pipe", 1, "stage2 run: ./pipe: it is not a regular file");
}

static void test_options_behind_the_program_need_dashes_before_it(void **state)
{
	(void)state;
	assert_fails("busybox ls -l", 2,
		     "'-l' follows PROGRAM without a '--' before that; as in: stage2 run [OPTIONS] "
		     "-- busybox");
	assert_fails("busybox true --vms 2", 2, "'--vms'");
	assert_fails("--vms 2 busybox --help", 2, "'--help'");
	assert_runs("busybox echo - plain words", 0, "2>/dev/null");
	assert_string_equal(output, "- plain words\n");
	assert_runs("-- busybox echo -n", 0, "2>/dev/null");
	assert_string_equal(output, "");
}

#define FULL "stage2: could not write to standard output"

static void test_what_cannot_be_written_is_a_failure_in_one_line(void **state)
{
	static const char *const arguments[] = { "--help", "--json -- busybox true",
						 "--quiet -- busybox true" };

	(void)state;
	for (size_t i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++) {
		assert_runs(arguments[i], 1, "2>&1 >/dev/full");
		assert_int_equal(strncmp(output, FULL, strlen(FULL)), 0);
		assert_ptr_equal(strchr(output, '\n'), output + strlen(output) - 1);
	}
	assert_runs("--vms 2 -- busybox cat numbers", 1, "2>&1 >/dev/full");
	assert_null(strstr(output, "stage2 run:"));
	assert_in_output(FULL);
}

static void test_what_to_change_is_said_where_memory_is_short(void **state)
{
	(void)state;
	assert_fails("--mem 1M -- busybox true", 1, "--mem");
	assert_fails("--pool 64K --swap lz4:4K -- busybox true", 1, "--pool or --swap");
}

static void test_a_file_with_contents_is_no_place_for_pages(void **state)
{
	(void)state;
	assert_fails("--swap file:unsorted --pool 1M -- busybox true", 1,
		     "stage2 run: --swap: file:unsorted: what is in it would be overwritten");
	assert_runs("-- busybox wc -l unsorted", 0, "2>/dev/null");
	assert_in_output("4000 unsorted");
}

/* The next file that is opened must not get the descriptor, and the guest's output. */
static void test_closed_standard_files_stay_closed(void **state)
{
	(void)state;
	assert_runs("-- busybox echo lost", 1, "2>&1 >&-");
	assert_in_output("echo: write error: Bad file descriptor");
	assert_runs("--json -- busybox true", 1, "2>&1 >&-");
	assert_in_output("stage2: could not write to standard output: Bad file descriptor");
	assert_runs("-- busybox cat", 1, "2>/dev/null <&-");
	assert_runs("-- busybox echo alone", 0, "2>&- <&-");
	assert_string_equal(output, "alone\n");
}

static void test_help_has_examples(void **state)
{
	(void)state;
	assert_runs("--help", 0, "2>/dev/null");
	assert_in_output("Examples:");
	assert_in_output("Exit status:");
}

/* The same lines in every run, in an order that sorting changes. */
static int create_root(void **state)
{
	char command[128];
	FILE *file;

	(void)state;
	if (!mkdtemp(root))
		return -1;
	file = create("unsorted");
	for (unsigned int i = 0; i < LINES; i++)
		fprintf(file, "line %u\n", i * 2741 % LINES);
	fclose(file);
	file = create("jobs");
	fputs("# two of them\nbusybox sort unsorted\nbusybox echo 'two words'\n", file);
	fclose(file);
	file = create("large");
	fputs("busybox cp numbers copy\nbusybox md5sum unsorted\n", file);
	fclose(file);
	file = create("numbers");
	for (unsigned int i = 0; i < 800000; i++)
		fprintf(file, "%09u\n", i);
	fclose(file);
	file = create("unequal");
	fputs("busybox yes\nbusybox md5sum unsorted\n", file);
	fclose(file);
	file = create("impossible");
	fputs("./unsorted\nbusybox echo 'two words'\n", file);
	fclose(file);
	snprintf(command, sizeof(command), "cd %s && mkfifo pipe && head -c 3000 " BUSYBOX " >truncated",
		 root);
	return system(command) ? -1 : 0;
}

static int remove_root(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command) ? -1 : 0;
}

/* It may set a condition. */
#define UNDER(test) cmocka_unit_test_teardown(test, no_condition)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_guest_prints_what_its_program_prints),
		cmocka_unit_test(test_the_only_guest_has_standard_input),
		cmocka_unit_test(test_the_report_is_beside_the_output),
		cmocka_unit_test(test_copies_agree_with_each_other_and_the_host),
		cmocka_unit_test(test_what_is_not_as_on_the_host_is_told),
		cmocka_unit_test(test_the_hosts_status_is_expected_too),
		cmocka_unit_test(test_a_pool_smaller_than_the_guests_changes_nothing),
		cmocka_unit_test(test_churn_changes_nothing_under_any_gate),
		cmocka_unit_test(test_every_level_of_churn_ends),
		cmocka_unit_test(test_pages_may_be_swapped_to_a_file),
		cmocka_unit_test(test_each_guest_tells_what_was_elided_for_it),
		cmocka_unit_test(test_the_report_has_the_command_line),
		cmocka_unit_test(test_several_gates_are_compared),
		cmocka_unit_test(test_costs_are_measured_beside_more_guests),
		cmocka_unit_test(test_a_file_names_several_commands),
		cmocka_unit_test(test_standard_error_says_whose_it_is),
		cmocka_unit_test(test_limits_end_a_guest_and_say_so),
		UNDER(test_guests_may_have_more_files_than_the_soft_limit),
		UNDER(test_too_few_descriptors_are_told_before_guests_run),
		UNDER(test_a_guest_maps_as_many_ranges_as_it_may),
		UNDER(test_descriptors_are_shared_out),
		UNDER(test_a_file_that_gets_too_large_is_its_guests_error),
		UNDER(test_a_tier_that_gets_too_large_is_an_error),
		UNDER(test_a_pool_that_gets_too_large_says_why),
		UNDER(test_native_runs_are_as_they_would_be_without_us),
		cmocka_unit_test(test_a_guest_that_fails_hurts_nobody_else),
		cmocka_unit_test(test_a_pool_that_is_full_ends_the_guest_that_wants_more),
		cmocka_unit_test(test_a_guest_changes_no_program),
		cmocka_unit_test(test_a_guest_that_cannot_start_leaves_the_others_alone),
		cmocka_unit_test(test_the_user_may_end_it_and_still_gets_the_table),
		cmocka_unit_test(test_a_comparison_that_was_stopped_is_a_failure),
		cmocka_unit_test(test_a_report_can_be_looked_at),
		cmocka_unit_test(test_wrong_options_are_one_line_and_status_2),
		cmocka_unit_test(test_a_password_is_not_repeated),
		cmocka_unit_test(test_what_cannot_be_had_is_one_line_and_status_1),
		cmocka_unit_test(test_what_is_no_file_is_neither_a_program_nor_commands),
		cmocka_unit_test(test_options_behind_the_program_need_dashes_before_it),
		cmocka_unit_test(test_what_cannot_be_written_is_a_failure_in_one_line),
		cmocka_unit_test(test_what_to_change_is_said_where_memory_is_short),
		cmocka_unit_test(test_a_file_with_contents_is_no_place_for_pages),
		cmocka_unit_test(test_closed_standard_files_stay_closed),
		cmocka_unit_test(test_help_has_examples),
	};

	if (!getenv("S2_PROGRAM")) {
		print_message("# skipped: S2_PROGRAM says what to run; meson test sets it\n");
		return 77;
	}
	if (access(BUSYBOX, X_OK)) {
		print_message("# skipped: " BUSYBOX
			      " (busybox-static) is the guests' program, and is not "
			      "there\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, create_root, remove_root);
}
