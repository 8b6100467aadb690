/* SPDX-License-Identifier: MIT */
/* Several passes side by side: each a column, since there are more rows than gates. */
#include "run_print.h"

#include "run_size.h"
#include "table.h"

#include <errno.h>
#include <inttypes.h>

#define MAX_COLUMNS (1 + S2_NR_GATES)

/* Of all passes: as expected wherever there was something to compare with, and ended by itself. */
static const char *as_expected(const struct run_report *report, unsigned int guest)
{
	bool compared = false;

	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_guest_result *g = &report->results[i].guests[guest];

		if (g->error || g->native == RUN_DIFFERENT || g->copies == RUN_DIFFERENT)
			return "no";
		compared |= g->native == RUN_SAME || g->copies == RUN_SAME;
	}
	return compared ? "yes" : "-";
}

static int print_guests(const struct run_report *report, FILE *stream)
{
	const char *header[2 + MAX_COLUMNS] = { "seconds", "same everywhere" };
	struct table *table;
	int error;

	for (unsigned int i = 0; i < report->nr_results; i++)
		header[2 + i] = run_result_title(&report->results[i]);
	table = table_create(2 + report->nr_results, header);
	if (!table)
		return -ENOMEM;
	table_left(table, 0);
	for (unsigned int g = 0; g < report->results[0].nr_guests; g++) {
		table_cell(table, "%s", report->results[0].guests[g].name);
		table_cell(table, "%s", as_expected(report, g));
		for (unsigned int i = 0; i < report->nr_results; i++)
			table_cell(table, "%.2f", report->results[i].guests[g].seconds);
	}
	error = table_print(table, stream);
	table_destroy(table);
	return error;
}

static void print_reasons(const struct run_report *report, FILE *stream)
{
	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_result *result = &report->results[i];

		for (unsigned int g = 0; g < result->nr_guests; g++)
			if (result->guests[g].reason[0])
				fprintf(stream, "%s: guest %s: %s\n", run_result_title(result),
					result->guests[g].name, result->guests[g].reason);
	}
}

enum row_kind { COUNT, BYTES, SECONDS };

/* What is read from a result, wherever it is in it. */
static const struct row {
	const char *name;
	size_t offset;
	enum row_kind kind;
	bool of_pool;
} rows[] = {
	{ "seconds", offsetof(struct run_result, seconds), SECONDS, false },
	{ "processor seconds", offsetof(struct run_result, cpu_seconds), SECONDS, false },
	{ "of which guests'", offsetof(struct run_result, guest_cpu_seconds), SECONDS, false },
	{ "pages swapped out", offsetof(struct run_result, pool.swap_outs), COUNT, true },
	{ "pages swapped in", offsetof(struct run_result, pool.swap_ins), COUNT, true },
	{ "pages merged", offsetof(struct run_result, pool.merged), COUNT, true },
	{ "pages migrated", offsetof(struct run_result, pool.migrated), COUNT, true },
	{ "invalidations", offsetof(struct run_result, mm.invalidations), COUNT, true },
	{ "elided", offsetof(struct run_result, mm.elided), COUNT, true },
	{ "mmu_lock taken by them", offsetof(struct run_result, mm.mmu_lock_acquired), COUNT,
	  true },
	{ "memslot updates", offsetof(struct run_result, mm.memslot_updates), COUNT, true },
	{ "guests' memory", offsetof(struct run_result, memory.pool_peak), BYTES, false },
	{ "beside it", offsetof(struct run_result, memory.other_peak), BYTES, false },
};

static void add_value(struct table *table, const struct row *row, const struct run_result *result)
{
	const void *value = (const char *)result + row->offset;
	char buf[24];

	if (row->of_pool && result->plain)
		table_cell(table, "-");
	else if (row->kind == SECONDS)
		table_cell(table, "%.2f", *(const double *)value);
	else if (row->kind == BYTES)
		table_cell(table, "%s", run_size_text(*(const uint64_t *)value, buf, sizeof(buf)));
	else
		table_cell(table, "%" PRIu64, *(const uint64_t *)value);
}

static void add_latency(struct table *table, const struct run_report *report, enum run_event event,
			double percent)
{
	char buf[16];

	table_cell(table, percent == 50 ? "%s, median" : "%s, 99 %%", run_event_names[event]);
	for (unsigned int i = 0; i < report->nr_results; i++)
		table_cell(table, "%s",
			   latency_percentile_text(&report->results[i].samples->events[event],
						   percent, buf, sizeof(buf)));
}

/* Without churn nothing was. */
static bool was_timed(const struct run_report *report, enum run_event event)
{
	for (unsigned int i = 0; i < report->nr_results; i++)
		if (report->results[i].samples->events[event].count)
			return true;
	return false;
}

static void add_event(struct table *table, const struct run_report *report, enum run_event event)
{
	if (!was_timed(report, event))
		return;
	add_latency(table, report, event, 50);
	add_latency(table, report, event, 99);
}

static void add_faults(struct table *table, const struct run_report *report)
{
	table_cell(table, "faults");
	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_result *result = &report->results[i];
		uint64_t faults = 0;

		for (unsigned int g = 0; g < result->nr_guests; g++)
			faults += result->guests[g].last.faults;
		if (result->plain)
			table_cell(table, "-");
		else
			table_cell(table, "%" PRIu64, faults);
	}
}

static void add_share_above(struct table *table, const struct run_result *result,
			    const struct run_result *plain)
{
	if (result == plain)
		table_cell(table, "-");
	else
		table_cell(table, "%+.1f %%",
			   100 * (result->guest_cpu_seconds / plain->guest_cpu_seconds - 1));
}

/* Of the guests' processor time: that of the clock depends on how many are left at the end. */
static void add_cost(struct table *table, const struct run_report *report)
{
	const struct run_result *plain = run_plain_of(report);

	if (!plain)
		return;
	table_cell(table, "guests' cost beside plain memory");
	for (unsigned int i = 0; i < report->nr_results; i++)
		add_share_above(table, &report->results[i], plain);
}

static void add_verdicts(struct table *table, const struct run_report *report)
{
	table_cell(table, "pool + 15 %% + Unicorn");
	for (unsigned int i = 0; i < report->nr_results; i++) {
		const struct run_result *result = &report->results[i];

		table_cell(table, "%s",
			   result->plain				    ? "-"
			   : run_verdict(result, run_plain_of(report)).kept ? "kept"
									    : "exceeded");
	}
}

static int print_columns(const struct run_report *report, FILE *stream)
{
	const char *header[1 + MAX_COLUMNS] = { "" };
	struct table *table;
	int error;

	for (unsigned int i = 0; i < report->nr_results; i++)
		header[1 + i] = run_result_title(&report->results[i]);
	table = table_create(1 + report->nr_results, header);
	if (!table)
		return -ENOMEM;
	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
		table_cell(table, "%s", rows[row].name);
		for (unsigned int i = 0; i < report->nr_results; i++)
			add_value(table, &rows[row], &report->results[i]);
	}
	add_faults(table, report);
	for (unsigned int e = 0; e < RUN_NR_EVENTS; e++)
		add_event(table, report, (enum run_event)e);
	add_cost(table, report);
	add_verdicts(table, report);
	error = table_print(table, stream);
	table_destroy(table);
	if (was_timed(report, RUN_UNRELATED) || was_timed(report, RUN_RELATED))
		fputs("unrelated: an invalidation of memory that no guest has; related: of a "
		      "guest's page\n",
		      stream);
	return error;
}

int run_print_gates(const struct run_report *report, FILE *stream)
{
	int error = print_guests(report, stream);

	if (error)
		return error;
	print_reasons(report, stream);
	fputc('\n', stream);
	return print_columns(report, stream);
}
