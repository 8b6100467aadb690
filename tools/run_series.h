/* SPDX-License-Identifier: MIT */
/*
 * All of `stage2 run`, once its options are known: programs found, native runs if they are wanted,
 * a pass for each gate, measurements, and the report.
 */
#ifndef STAGE2_TOOLS_RUN_SERIES_H
#define STAGE2_TOOLS_RUN_SERIES_H

#include "run.h"
#include "run_compare.h"

/* @options: but for programs and root. @gates: a mask. @command: as the user gave it. */
struct run_request {
	struct run_options options;
	const char *root;
	unsigned int gates;
	bool plain;
	bool window;
	bool check;
	bool json;
	bool top;
	bool quiet;
	const char *report;
	struct run_compare compare;
	const char *command;
};

/* The exit status: 0, or 1 if anything was not as it should be, of which stderr has a line. */
int run_series(struct run_request *request);

#endif
