/* SPDX-License-Identifier: MIT */
/*
 * --compare: what pairs and memslot updates cost beside so many VMs with windows on one pool, whose
 * guests run meanwhile, under each gate.
 */
#ifndef STAGE2_TOOLS_RUN_COMPARE_H
#define STAGE2_TOOLS_RUN_COMPARE_H

#include "run.h"

#define RUN_MAX_COMPARED 8

struct run_compare {
	unsigned int nr;
	unsigned int guests[RUN_MAX_COMPARED];
};

/* "1,8,64"; false: it is no such list of different numbers from 1 to RUN_MAX_GUESTS. */
bool run_compare_parse(const char *text, struct run_compare *compare);

/*
 * Adds cells to @report, as far as the user does not interrupt. -errno: @error says in one line
 * what went wrong.
 */
int run_compare(const struct run_options *options, const struct run_compare *compare,
		unsigned int gates, struct run_view *view, struct run_interrupt *interrupt,
		struct run_report *report, char *error, size_t len);

/* 0 or -ENOMEM. */
int run_compare_print(const struct run_report *report, FILE *stream);

#endif
