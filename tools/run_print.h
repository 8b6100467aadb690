/* SPDX-License-Identifier: MIT */
/* What came of a run, told to people and to programs. */
#ifndef STAGE2_TOOLS_RUN_PRINT_H
#define STAGE2_TOOLS_RUN_PRINT_H

#include "run_result.h"

#include <stdio.h>

/*
 * Did this process keep to the pool's size, 15 % of that, and what Unicorn itself needs? In bytes.
 *
 * @engines:  what Unicorn needs: all that the same guests took beside their memory on plain
 *            memory, if they ran there as well (@measured); otherwise all that did not come back
 *            when VMs, windows and pool were destroyed.
 */
struct run_verdict {
	uint64_t used;
	uint64_t allowed;
	uint64_t engines;
	bool measured;
	bool kept;
};

/* @plain: NULL if there was no such pass. */
struct run_verdict run_verdict(const struct run_result *result, const struct run_result *plain);

/* The pass on plain memory, or NULL. */
const struct run_result *run_plain_of(const struct run_report *report);

/* One pass: a row for each guest, and what all did together. 0 or -ENOMEM. */
int run_print_pass(const struct run_report *report, const struct run_result *result, FILE *stream);

/* Several: how long each guest took in each, and a column of counts and times for each. */
int run_print_gates(const struct run_report *report, FILE *stream);

/* A new reference to the whole report, or NULL when out of memory. */
json_t *run_json(const struct run_report *report);

#endif
