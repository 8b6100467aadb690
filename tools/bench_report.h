/* SPDX-License-Identifier: MIT */
/*
 * The report of stage2 bench for people. Each benchmark's rows become one table, with one of the
 * rows' keys for its columns, so that what is to be compared stands side by side.
 */
#ifndef STAGE2_TOOLS_BENCH_REPORT_H
#define STAGE2_TOOLS_BENCH_REPORT_H

#include "bench.h"

#include <stdio.h>

/* Both return 0, or -ENOMEM. */
int bench_print_rows(const struct bench *bench, const json_t *results, FILE *stream);
int bench_print_goals(const json_t *goals, FILE *stream);

#endif
