/* SPDX-License-Identifier: MIT */
/* One pass as a table of its guests, and some lines about all of them. */
#include "run_print.h"

#include "run_size.h"
#include "table.h"

#include <errno.h>
#include <inttypes.h>

#define COMMAND_COLUMN 36

static void add_guest(struct table *table, const struct run_guest_result *guest)
{
	char resident[24], swapped[24];

	table_cell(table, "%.*s", COMMAND_COLUMN, guest->name);
	if (guest->error)
		table_cell(table, "not run");
	else
		table_cell(table, "%d", guest->status);
	table_cell(table, "%s", run_same_names[guest->native]);
	table_cell(table, "%s", run_same_names[guest->copies]);
	table_cell(table, "%.2f", guest->seconds);
	table_cell(table, "%" PRIu64, guest->last.faults);
	table_cell(table, "%s",
		   run_pages_text(guest->resident_peak, resident, sizeof(resident)));
	table_cell(table, "%s",
		   run_pages_text(guest->swapped_peak, swapped, sizeof(swapped)));
	table_cell(table, "%" PRIu64, guest->last.syscalls);
	table_cell(table, "%s", guest->unknown_calls[0] ? guest->unknown_calls : "none");
}

static int print_guests(const struct run_result *result, FILE *stream)
{
	static const char *const header[] = {
		"guest",  "status",   "as native", "as its copies", "seconds",
		"faults", "resident", "swapped",   "system calls",  "got ENOSYS",
	};
	struct table *table = table_create(sizeof(header) / sizeof(header[0]), header);
	int error;

	if (!table)
		return -ENOMEM;
	table_left(table, 0);
	for (unsigned int i = 0; i < result->nr_guests; i++)
		add_guest(table, &result->guests[i]);
	error = table_print(table, stream);
	table_destroy(table);
	for (unsigned int i = 0; i < result->nr_guests; i++) {
		const struct run_guest_result *guest = &result->guests[i];

		if (guest->reason[0])
			fprintf(stream, "guest %s: %s\n", guest->name, guest->reason);
		if (guest->translations_dropped)
			fprintf(stream,
				"guest %s: its code did not fit into --code, and was translated "
				"anew %" PRIu64 " times\n",
				guest->name, guest->translations_dropped);
	}
	return error;
}

static void print_tiers(const struct run_result *result, FILE *stream)
{
	const struct run_samples *samples = result->samples;

	for (unsigned int i = 0; i < samples->nr_tiers; i++)
		fprintf(stream, "%s%s", i ? ", " : " (", samples->tiers[i]);
	if (samples->nr_tiers)
		fputc(')', stream);
}

static void print_pool(const struct run_result *result, FILE *stream)
{
	const struct s2_pool_stats *pool = &result->pool;

	fprintf(stream, "pages: %" PRIu64 " swapped out and %" PRIu64 " in", pool->swap_outs,
		pool->swap_ins);
	print_tiers(result, stream);
	fprintf(stream, ", %" PRIu64 " merged, %" PRIu64 " migrated, %" PRIu64 " copied on write\n",
		pool->merged, pool->migrated, pool->cow_breaks);
	if (pool->tier_errors)
		fprintf(stream, "tiers failed %" PRIu64 " times\n", pool->tier_errors);
}

static void print_invalidations(const struct run_result *result, FILE *stream)
{
	char p50[16], p99[16];

	fprintf(stream,
		"invalidations: %" PRIu64 ", of which %" PRIu64 " elided; memslot updates: %" PRIu64
		"\n",
		result->mm.invalidations, result->mm.elided, result->mm.memslot_updates);
	for (unsigned int e = 0; e < RUN_NR_EVENTS; e++) {
		const struct latency *latency = &result->samples->events[e];

		if (latency->count)
			fprintf(stream,
				"  %s: %" PRIu64 " timed, half within %s, 99 %% within %s\n",
				run_event_names[e], latency->count,
				latency_percentile_text(latency, 50, p50, sizeof(p50)),
				latency_percentile_text(latency, 99, p99, sizeof(p99)));
	}
}

static void print_memory(const struct run_report *report, const struct run_result *result,
			 FILE *stream)
{
	const struct run_memory_result *memory = &result->memory;
	struct run_verdict verdict = run_verdict(result, run_plain_of(report));
	char pool[24], other[24], library[24], each[24], used[24], allowed[24], engines[24];

	fprintf(stream,
		"memory: %s of frames at most (the pool's memfd), and %s beside them, %s a guest; "
		"%s of it were tables and tiers\n",
		run_size_text(memory->pool_peak, pool, sizeof(pool)),
		run_size_text(memory->other_peak, other, sizeof(other)),
		run_size_text(memory->other_peak / result->nr_guests, each, sizeof(each)),
		run_size_text(memory->library, library, sizeof(library)));
	fprintf(stream,
		"  that is %s; the pool, 15 %% of it, and the %s that Unicorn %s are %s: %s\n",
		run_size_text(verdict.used, used, sizeof(used)),
		run_size_text(verdict.engines, engines, sizeof(engines)),
		verdict.measured ? "takes on plain memory" : "has of that",
		run_size_text(verdict.allowed, allowed, sizeof(allowed)),
		verdict.kept ? "kept" : "exceeded");
}

static void print_plain_memory(const struct run_result *result, FILE *stream)
{
	char guests[24], other[24];

	fprintf(stream, "memory: at most %s of the guests' own, and %s beside it\n",
		run_size_text(result->memory.pool_peak, guests, sizeof(guests)),
		run_size_text(result->memory.other_peak, other, sizeof(other)));
}

int run_print_pass(const struct run_report *report, const struct run_result *result, FILE *stream)
{
	int error = print_guests(result, stream);
	char guests[24], pool[24];

	if (error)
		return error;
	fprintf(stream, "%u guest%s with %s altogether on ", result->nr_guests,
		result->nr_guests == 1 ? "" : "s",
		run_size_text(result->memory.guests, guests, sizeof(guests)));
	if (result->plain)
		fprintf(stream, "plain memory");
	else
		fprintf(stream, "a pool of %s, gate %s",
			run_size_text(result->memory.pool_size, pool, sizeof(pool)),
			s2_gate_name(result->gate));
	fprintf(stream, ": %.2f s, %.2f s of processor time%s\n", result->seconds,
		result->cpu_seconds, result->stopped ? "; stopped by the user" : "");
	if (result->plain) {
		print_plain_memory(result, stream);
		return 0;
	}
	print_pool(result, stream);
	print_invalidations(result, stream);
	print_memory(report, result, stream);
	return 0;
}
