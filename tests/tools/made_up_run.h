/* SPDX-License-Identifier: MIT */
/* A run that never was, for what shows runs: two guests with hostile names on a pool of 1 MiB. */
#ifndef TESTS_TOOLS_MADE_UP_RUN_H
#define TESTS_TOOLS_MADE_UP_RUN_H

#include "../../tools/run_result.h"

#define MADE_UP_GUESTS 2

/* What markup, quotes, terminals and readers could be fooled by, and no UTF-8. */
#define HOSTILE "<script src=\"x\">'&\033[31m\xff\xe2\x80\xae"

struct made_up_run {
	struct run_report report;
	struct run_result result;
	struct run_guest_result guests[MADE_UP_GUESTS];
	struct run_compare_cell cells[2 * S2_NR_GATES];
};

/* With @points in its series. Fails the test if there is no memory. */
void make_up_run(struct made_up_run *run, unsigned int points);
void forget_run(struct made_up_run *run);

#endif
