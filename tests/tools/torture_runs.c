/* SPDX-License-Identifier: MIT */
/* Runs of the torture test, as its tests have them. */
#include "torture_runs.h"

#include "clock.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t torture_seed;

void torture_test_start(void)
{
	const char *given = getenv("S2_SEED");

	torture_seed = given ? strtoull(given, NULL, 0) : clock_ns();
	printf("# S2_SEED=%" PRIu64 "\n", torture_seed);
}

static void die_of_deadlock(void *ctx, const struct torture_report *report)
{
	fprintf(stderr, "deadlock under %s, seed %" PRIu64 ":\n%s", s2_gate_name(report->gate),
		report->seed, report->threads);
	_exit(1);
}

struct torture_options torture_test_options(enum s2_gate gate)
{
	struct torture_options o = torture_defaults;

	o.gate = gate;
	o.seed = torture_seed;
	o.seconds = 1;
	o.deadlock = die_of_deadlock;
	/* A slow machine is not a deadlock; a hang still is one. */
	o.patience_s = 30;
	return o;
}

struct torture_report torture_test_run(const struct torture_options *o)
{
	struct torture_report report;

	assert_int_equal(torture_run(o, &report), 0);
	return report;
}

static void assert_no_violation(const struct torture_report *report)
{
	for (unsigned int i = 0; i < report->nr_examples; i++)
		fprintf(stderr, "%s\n", report->examples[i]);
	assert_int_equal(torture_nr_violations(report), 0);
}

struct torture_report torture_test_run_clean(const struct torture_options *o)
{
	struct torture_report report = torture_test_run(o);

	assert_no_violation(&report);
	return report;
}

int torture_test_program(const char *args, char *text, size_t size)
{
	const char *program = getenv("S2_PROGRAM");
	char command[512];
	size_t used;
	FILE *pipe;

	if (!program) {
		print_message("S2_PROGRAM does not name the program stage2\n");
		skip();
	}
	snprintf(command, sizeof(command), "'%s' torture %s", program, args);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	used = fread(text, 1, size - 1, pipe);
	text[used] = '\0';
	return WEXITSTATUS(pclose(pipe));
}
