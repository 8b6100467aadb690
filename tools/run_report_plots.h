/* SPDX-License-Identifier: MIT */
/* The plots of --report, a figure each; where there is nothing to plot, there is no figure. */
#ifndef STAGE2_TOOLS_RUN_REPORT_PLOTS_H
#define STAGE2_TOOLS_RUN_REPORT_PLOTS_H

#include "run_result.h"

#include <stdio.h>

/* What was measured beside so many guests, or NULL. */
const struct run_compare_cell *report_cell(const struct run_report *report, unsigned int guests,
					   enum s2_gate gate);

/* What an event costs beside one guest, beside some, and beside many, under each gate. */
void report_plot_compare(FILE *out, const struct run_report *report, enum run_event event);

/* How long an event took while the guests ran, percentile by percentile, under each gate. */
void report_plot_latency(FILE *out, const struct run_report *report, enum run_event event);

/* Of one run, over its time. */
void report_plot_memory(FILE *out, const struct run_samples *samples);
void report_plot_process(FILE *out, const struct run_samples *samples);
void report_plot_faults(FILE *out, const struct run_samples *samples);
void report_plot_invalidations(FILE *out, const struct run_samples *samples);

/* A small one for each guest's memory, of the first REPORT_MAX_SMALL. */
#define REPORT_MAX_SMALL 64
void report_plot_guests(FILE *out, const struct run_samples *samples);

#endif
