/* SPDX-License-Identifier: MIT */
/* See run_compare.h. */
#include "run_compare.h"

#include "options.h"
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Long enough for tens of thousands of pairs; guests that all have to start first are in it. */
#define MEASURE_SECONDS 1.5

static bool add_number(struct run_compare *compare, unsigned int guests)
{
	for (unsigned int i = 0; i < compare->nr; i++)
		if (compare->guests[i] == guests)
			return false;
	compare->guests[compare->nr++] = guests;
	return true;
}

bool run_compare_parse(const char *text, struct run_compare *compare)
{
	char *list = strdup(text), *rest = list, *number;
	bool good = list;

	compare->nr = 0;
	while (good && (number = strsep(&rest, ","))) {
		uint64_t guests;

		good = compare->nr < RUN_MAX_COMPARED &&
		       option_number(number, 1, RUN_MAX_GUESTS, &guests) &&
		       add_number(compare, (unsigned int)guests);
	}
	free(list);
	return good;
}

/* Guests that cannot even start measure nothing. */
static int check_guests(const struct run_result *result, char *error, size_t len)
{
	for (unsigned int i = 0; i < result->nr_guests; i++) {
		if (!result->guests[i].error)
			continue;
		snprintf(error, len, "%s", result->guests[i].reason);
		return result->guests[i].error;
	}
	return 0;
}

static int measure(const struct run_pass *pass, struct run_report *report, char *error, size_t len)
{
	struct run_compare_cell *cell = &report->cells[report->nr_cells];
	struct run_result result;
	int ret = run_pass(pass, &result, error, len);

	if (ret)
		return ret;
	ret = check_guests(&result, error, len);
	*cell = (struct run_compare_cell){ .guests = pass->nr_guests, .gate = pass->gate };
	memcpy(cell->events, result.samples->events, sizeof(cell->events));
	if (!ret && !result.stopped)
		report->nr_cells++;
	run_result_clear(&result);
	return ret;
}

int run_compare(const struct run_options *options, const struct run_compare *compare,
		unsigned int gates, struct run_view *view, struct run_interrupt *interrupt,
		struct run_report *report, char *error, size_t len)
{
	unsigned int nr = compare->nr * S2_NR_GATES;
	int ret = 0;

	report->cells = calloc(nr ? nr : 1, sizeof(*report->cells));
	if (!report->cells) {
		snprintf(error, len, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < nr && !ret && !run_interrupt_came(interrupt); i++) {
		const struct run_pass pass = {
			.options = options,
			.gate = (enum s2_gate)(i % S2_NR_GATES),
			.nr_guests = compare->guests[i / S2_NR_GATES],
			.measure = MEASURE_SECONDS,
			.errors = stderr,
			.view = view,
			.interrupt = interrupt,
		};

		if (gates & 1u << pass.gate)
			ret = measure(&pass, report, error, len);
	}
	return ret;
}

/* How many cells are a row: their gates go up. */
static unsigned int nr_columns(const struct run_report *report)
{
	unsigned int nr = 1;

	while (nr < report->nr_cells && report->cells[nr].gate > report->cells[nr - 1].gate)
		nr++;
	return nr;
}

static int print_event(const struct run_report *report, enum run_event event, FILE *stream)
{
	const char *header[1 + S2_NR_GATES] = { "guests" };
	unsigned int columns = nr_columns(report);
	char p50[16], p99[16];
	struct table *table;
	int error;

	for (unsigned int i = 0; i < columns; i++)
		header[1 + i] = s2_gate_name(report->cells[i].gate);
	table = table_create(1 + columns, header);
	if (!table)
		return -ENOMEM;
	for (unsigned int i = 0; i < report->nr_cells; i++) {
		const struct latency *latency = &report->cells[i].events[event];

		if (i % columns == 0)
			table_cell(table, "%u", report->cells[i].guests);
		table_cell(table, "%s, %s", latency_percentile_text(latency, 50, p50, sizeof(p50)),
			   latency_percentile_text(latency, 99, p99, sizeof(p99)));
	}
	error = table_print(table, stream);
	table_destroy(table);
	return error;
}

int run_compare_print(const struct run_report *report, FILE *stream)
{
	static const char *const titles[RUN_NR_EVENTS] = {
		[RUN_UNRELATED] = "An invalidation that concerns no guest",
		[RUN_RELATED] = "An invalidation of a guest's page",
		[RUN_UPDATE] = "A memslot update",
	};
	int error = 0;

	for (unsigned int e = 0; e < RUN_NR_EVENTS && !error && report->nr_cells; e++) {
		fprintf(stream,
			"%s%s, while guests run: median and 99 %%, two readings of the clock "
			"included\n",
			e ? "\n" : "", titles[e]);
		error = print_event(report, (enum run_event)e, stream);
	}
	return error;
}
