/* SPDX-License-Identifier: MIT */
/*
 * Guests that run programs, all at once, on one pool and under one gate: a pass. `stage2 run` makes
 * one, or one for each gate, or some that only measure.
 */
#ifndef STAGE2_TOOLS_RUN_H
#define STAGE2_TOOLS_RUN_H

#include "guest.h"
#include "run_commands.h"
#include "run_interrupt.h"
#include "run_program.h"
#include "run_result.h"
#include "run_tiers.h"

#include <stdio.h>

/* An error that is told to the user, in one line. */
#define RUN_ERROR 512

/* @programs: of each command. @mem: of each guest; @pool: 0 for as large as all guests together. */
struct run_options {
	struct run_commands commands;
	struct run_program *programs;
	unsigned int vms;
	uint64_t mem;
	uint64_t pool;
	struct run_tiers tiers;
	bool merge;
	unsigned int churn;
	int root;
	struct guest_limits limits;
};

/* The environment that guests have, and their native twins. */
extern char *const run_environment[];

/* What a command is expected to print and to end with: -1 for not known yet. */
struct run_expectation {
	int fd;
	int status;
};

/*
 * @nr_guests:   guest i runs command i / options->vms, or, where there are more, from the first
 *               one again.
 * @measure:     0: each guest runs once, to its end, under the churn of the options. Otherwise
 *               seconds: guests run again and again beside pairs and updates that are timed,
 *               and their output goes nowhere.
 * @stream:      the only guest's output goes to this program's own, and cannot be compared.
 * @interactive: the only guest has this program's standard input.
 * @direct_errors: it has its standard error, too; else @errors is where guests' standard error
 *               goes, line by line.
 * @native, @first: of each command, or NULL; the first guest that has run one to its end sets the
 *               latter.
 */
struct run_pass {
	const struct run_options *options;
	enum s2_gate gate;
	bool plain;
	unsigned int nr_guests;
	double measure;
	bool stream;
	bool interactive;
	bool direct_errors;
	FILE *errors;
	struct run_view *view;
	struct run_interrupt *interrupt;
	const struct run_expectation *native;
	struct run_expectation *first;
};

/*
 * 0, though guests may have failed, as the result tells; run_result_clear() frees what is in it.
 * -errno: the pass could not be made, @error says why, and there is no result.
 */
int run_pass(const struct run_pass *pass, struct run_result *result, char *error, size_t len);

void run_result_clear(struct run_result *result);

#endif
