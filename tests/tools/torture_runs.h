/* SPDX-License-Identifier: MIT */
/*
 * Runs of the torture test, as its tests have them: short, and all with the seed that was
 * printed.
 */
#ifndef TESTS_TOOLS_TORTURE_RUNS_H
#define TESTS_TOOLS_TORTURE_RUNS_H

#include "torture.h"

extern uint64_t torture_seed;

/* Before all tests: the seed, from the environment or the clock. */
void torture_test_start(void);

/* The defaults for a second. */
struct torture_options torture_test_options(enum s2_gate gate);

struct torture_report torture_test_run(const struct torture_options *o);
/* The same, and that there was no violation. */
struct torture_report torture_test_run_clean(const struct torture_options *o);

/* Runs the program with @args and returns its exit status; @text gets what it wrote. */
int torture_test_program(const char *args, char *text, size_t size);

#endif
