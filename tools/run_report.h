/* SPDX-License-Identifier: MIT */
/*
 * --report FILE.html: one page about a run, with plots, that needs no network. It appears under
 * its name when it is complete, so that a run that failed leaves the last one alone.
 */
#ifndef STAGE2_TOOLS_RUN_REPORT_H
#define STAGE2_TOOLS_RUN_REPORT_H

#include "run_result.h"

/*
 * Before the run: whether it could be written there, as far as can be told. Otherwise says why not
 * in one line on stderr, and returns a negative errno.
 */
int run_report_check(const char *path);

/* As above if it fails. */
int run_report_write(const struct run_report *report, const char *path);

/* The page itself. */
void run_report_page(const struct run_report *report, FILE *out);

#endif
