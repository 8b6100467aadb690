/* SPDX-License-Identifier: MIT */
/*
 * The report's plots of what an invalidation or a memslot update costs. Logarithmic throughout:
 * between a gate that takes no lock and one that waits for all VMs lie orders of magnitude.
 */
#include "run_page.h"
#include "run_plot.h"
#include "run_report_plots.h"

#include <math.h>

#define WIDTH 440
#define HEIGHT 270

/* How many sizes of pool one plot compares: 1, 8 and 64 guests, as a rule. */
#define MAX_GUESTS 8

static const char *const compare_titles[RUN_NR_EVENTS] = {
	[RUN_UNRELATED] = "Cost of an unrelated invalidation",
	[RUN_RELATED] = "Cost of a related invalidation",
	[RUN_UPDATE] = "Cost of a memslot update",
};

static const char *const latency_titles[RUN_NR_EVENTS] = {
	[RUN_UNRELATED] = "Unrelated invalidations",
	[RUN_RELATED] = "Related invalidations",
	[RUN_UPDATE] = "Memslot updates",
};

const struct run_compare_cell *report_cell(const struct run_report *report, unsigned int guests,
					   enum s2_gate gate)
{
	for (unsigned int i = 0; i < report->nr_cells; i++) {
		if (report->cells[i].guests == guests && report->cells[i].gate == gate)
			return &report->cells[i];
	}
	return NULL;
}

static unsigned int guest_counts(const struct run_report *report, unsigned int *counts)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < report->nr_cells; i++) {
		bool known = false;

		for (unsigned int j = 0; j < n; j++)
			known |= counts[j] == report->cells[i].guests;
		if (!known && n < MAX_GUESTS)
			counts[n++] = report->cells[i].guests;
	}
	return n;
}

/* One scale for both kinds of invalidations, so that they can be compared with each other. */
static void scale_cells(const struct run_report *report, enum run_event event,
			struct plot_scale *y)
{
	plot_scale_init(y, PLOT_NS, true);
	for (unsigned int i = 0; i < report->nr_cells; i++) {
		for (unsigned int e = 0; e < RUN_NR_EVENTS; e++) {
			const struct latency *latency = &report->cells[i].events[e];

			if ((e == RUN_UPDATE) != (event == RUN_UPDATE))
				continue;
			plot_scale_include(y, (double)latency_percentile(latency, 50));
			plot_scale_include(y, (double)latency_percentile(latency, 99));
		}
	}
	plot_scale_round(y);
}

/* Beside each other, so that marks of one size do not hide each other. */
static double beside(unsigned int i, enum s2_gate gate)
{
	return i + ((double)gate - (S2_NR_GATES - 1) / 2.0) * 0.11;
}

static void mark_cell(struct plot *plot, enum s2_gate gate, double x, unsigned int guests,
		      const struct latency *latency)
{
	char p50[24], p99[24], tip[96];

	if (!latency->count)
		return;
	snprintf(tip, sizeof(tip), "%s, %u guest%s: p50 %s, p99 %s", s2_gate_name(gate), guests,
		 guests == 1 ? "" : "s", latency_percentile_text(latency, 50, p50, sizeof(p50)),
		 latency_percentile_text(latency, 99, p99, sizeof(p99)));
	plot_mark(plot, gate, x, (double)latency_percentile(latency, 50),
		  (double)latency_percentile(latency, 99), tip);
}

static void draw_gate(struct plot *plot, const struct run_report *report, enum run_event event,
		      enum s2_gate gate, unsigned int n, const unsigned int *counts)
{
	double x[MAX_GUESTS], y[MAX_GUESTS] = { 0 };
	char text[24];

	for (unsigned int i = 0; i < n; i++) {
		const struct run_compare_cell *cell = report_cell(report, counts[i], gate);

		x[i] = beside(i, gate);
		if (cell && cell->events[event].count)
			y[i] = (double)latency_percentile(&cell->events[event], 50);
	}
	plot_line(plot, gate, n, x, y);
	for (unsigned int i = 0; i < n; i++) {
		const struct run_compare_cell *cell = report_cell(report, counts[i], gate);

		if (cell)
			mark_cell(plot, gate, x[i], counts[i], &cell->events[event]);
	}
	plot_label(plot, gate, y[n - 1], "%s %s", s2_gate_name(gate),
		   plot_number(PLOT_NS, y[n - 1], text, sizeof(text)));
}

static void draw_guest_counts(struct plot *plot, unsigned int n, const unsigned int *counts)
{
	char text[MAX_GUESTS][24];
	const char *ticks[MAX_GUESTS];
	double at[MAX_GUESTS];

	for (unsigned int i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "%u guest%s", counts[i],
			 counts[i] == 1 ? "" : "s");
		ticks[i] = text[i];
		at[i] = i;
	}
	plot_x_axis_at(plot, n, at, ticks);
}

void report_plot_compare(FILE *out, const struct run_report *report, enum run_event event)
{
	struct plot plot = { .out = out, .width = WIDTH, .height = HEIGHT };
	unsigned int counts[MAX_GUESTS], n = guest_counts(report, counts);

	if (!n)
		return;
	plot_scale_init(&plot.x, PLOT_COUNT, false);
	plot.x.min = -0.4;
	plot.x.max = n - 0.6;
	scale_cells(report, event, &plot.y);

	page_figure(out, compare_titles[event], "mark: half took no longer; line up: 99 of 100");
	plot_begin(&plot, compare_titles[event],
		   "Nanoseconds on a logarithmic axis, for some numbers of guests on one pool, a "
		   "line for each gate. The table below has the same numbers.");
	plot_y_axis(&plot);
	draw_guest_counts(&plot, n, counts);
	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++)
		draw_gate(&plot, report, event, gate, n, counts);
	plot_end(&plot);
	page_figure_end(out);
}

/* The x axis: of how many events one took longer. 10 is the 90th percentile, 100 the 99th. */
#define MAX_ONE_IN 1e6
#define STEPS 96

/* From one in one to one in a million, evenly on the axis. */
static unsigned int percentile_points(const struct latency *latency, double *x, double *y)
{
	unsigned int n = 0;
	bool last = false;

	while (n <= STEPS && !last) {
		double one_in = pow(10, 6.0 * n / STEPS);

		last = one_in >= (double)latency->count;
		x[n] = one_in;
		y[n] = last ? (double)latency->max :
			      (double)latency_percentile(latency, 100 - 100 / one_in);
		n++;
	}
	return n;
}

static const struct latency *latency_of(const struct run_report *report, unsigned int result,
					enum run_event event)
{
	const struct run_result *run = &report->results[result];

	return run->plain || !run->samples->events[event].count ? NULL :
								   &run->samples->events[event];
}

static void draw_percentiles(struct plot *plot, enum s2_gate gate, const struct latency *latency)
{
	double x[STEPS + 1], y[STEPS + 1];
	unsigned int n = percentile_points(latency, x, y);
	char text[24];

	plot_line(plot, gate, n, x, y);
	plot_label(plot, gate, y[n - 1], "%s %s", s2_gate_name(gate),
		   latency_text(latency->max, text, sizeof(text)));
}

static void draw_percentile_axis(struct plot *plot)
{
	static const double at[] = { 2, 10, 100, 1e3, 1e4, 1e5, 1e6 };
	static const char *const text[] = { "p50", "p90", "p99", "p99.9", "p99.99", "",
					    "p99.9999" };
	unsigned int n = 0;

	while (n < sizeof(at) / sizeof(at[0]) && at[n] <= plot->x.max * 1.01)
		n++;
	plot_x_axis_at(plot, n, at, text);
}

/* Returns how many runs have such events. */
static unsigned int scale_latency(struct plot *plot, const struct run_report *report,
				  enum run_event event)
{
	unsigned int runs = 0;

	plot_scale_init(&plot->x, PLOT_COUNT, true);
	plot_scale_init(&plot->y, PLOT_NS, true);
	plot_scale_include(&plot->x, 1);
	plot_scale_include(&plot->x, 100);
	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct latency *latency = latency_of(report, i, event);

		if (!latency)
			continue;
		runs++;
		plot_scale_include(&plot->x, fmin((double)latency->count, MAX_ONE_IN));
		plot_scale_include(&plot->y, (double)latency_percentile(latency, 0));
		plot_scale_include(&plot->y, (double)latency->max);
	}
	plot_scale_round(&plot->y);
	return runs;
}

void report_plot_latency(FILE *out, const struct run_report *report, enum run_event event)
{
	struct plot plot = { .out = out, .width = WIDTH, .height = HEIGHT };

	if (!scale_latency(&plot, report, event))
		return;
	page_figure(out, latency_titles[event], "time by percentile; at the right: the longest");
	plot_begin(&plot, latency_titles[event],
		   "How long they took, percentile by percentile, logarithmic, a line for each "
		   "gate.");
	plot_y_axis(&plot);
	draw_percentile_axis(&plot);
	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct latency *latency = latency_of(report, i, event);

		if (latency)
			draw_percentiles(&plot, report->results[i].gate, latency);
	}
	plot_end(&plot);
	page_figure_end(out);
}
