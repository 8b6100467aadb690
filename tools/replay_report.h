/* SPDX-License-Identifier: MIT */
/*
 * What `stage2 replay` tells about one recording, for people and for programs.
 */
#ifndef STAGE2_TOOLS_REPLAY_REPORT_H
#define STAGE2_TOOLS_REPLAY_REPORT_H

#include "replay.h"

#include <jansson.h>
#include <stdio.h>

struct replay_report {
	const struct replay_plan *plan;
	unsigned int gates; /* a mask, 1 << gate, of the results that are there */
	unsigned int vcpus;
	double speed;
	struct replay_result result[S2_NR_GATES];
};

/* A new reference, or NULL when out of memory. */
json_t *replay_report_json(const struct replay_report *report);

/* Returns 0 or -ENOMEM. */
int replay_report_print(const struct replay_report *report, FILE *stream);

/* In the order of the story they tell, from before the patch to ours. */
extern const enum s2_gate replay_gates[S2_NR_GATES];

#endif
