/* SPDX-License-Identifier: MIT */
/*
 * The report's counts of the recording come from the recording, those of a gate from the library;
 * replay_run() has compared them before anything gets here.
 */
#include "replay_report.h"

#include "table.h"

#include <errno.h>
#include <inttypes.h>

const enum s2_gate replay_gates[S2_NR_GATES] = {
	S2_GATE_ALWAYS,
	S2_GATE_RWSEM,
	S2_GATE_COUNT,
	S2_GATE_RANGE,
};

#define NR_INVALIDATING TRACE_MEMSLOT

/* Sets @object[@key], taking over the reference to @value; false if @value is NULL. */
static bool set(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) == 0;
}

static json_t *by_call_json(const uint64_t *count)
{
	json_t *object = json_object();

	for (unsigned int kind = 0; kind < NR_INVALIDATING; kind++) {
		if (!set(object, trace_kind_name(kind), json_integer((json_int_t)count[kind]))) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static json_int_t vms_of(const struct trace *trace, size_t process)
{
	json_int_t nr = 0;

	for (size_t i = 0; i < trace->nr_vms; i++)
		nr += trace->vms[i].process == process;
	return nr;
}

static json_t *processes_json(const struct replay_plan *plan)
{
	json_t *array = json_array();

	for (size_t i = 0; i < plan->trace->nr_processes; i++) {
		const struct plan_process *p = &plan->processes[i];
		json_t *process = json_pack("{s:I, s:I, s:I, s:I, s:I}", "pid",
					    (json_int_t)plan->trace->processes[i].tid,
					    "invalidations", (json_int_t)p->invalidations,
					    "related", (json_int_t)p->related, "memslot_updates",
					    (json_int_t)p->memslot_updates, "vms",
					    vms_of(plan->trace, i));

		if (json_array_append_new(array, process)) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *gate_json(const struct replay_result *result)
{
	return json_pack("{s:I, s:I, s:o, s:o, s:I, s:I, s:o, s:f}", "mmu_lock_acquired",
			 (json_int_t)result->mmu_lock_acquired, "elided",
			 (json_int_t)result->elided, "invalidation_ns",
			 latency_json(&result->invalidation_ns), "memslot_update_ns",
			 latency_json(&result->memslot_update_ns), "vcpu_accesses",
			 (json_int_t)result->vcpus.accesses, "vcpu_faults",
			 (json_int_t)result->vcpus.faults, "vcpu_fault_ns",
			 latency_json(&result->vcpus.fault_ns), "wall_s",
			 (double)result->wall_ns / 1e9);
}

static json_t *gates_json(const struct replay_report *report)
{
	json_t *object = json_object();

	for (unsigned int i = 0; i < S2_NR_GATES; i++) {
		enum s2_gate gate = replay_gates[i];

		if (!(report->gates & 1u << gate))
			continue;
		if (!set(object, s2_gate_name(gate), gate_json(&report->result[gate]))) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

json_t *replay_report_json(const struct replay_report *report)
{
	const struct trace *trace = report->plan->trace;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:f, s:o, s:o, s:o, s:o}",
			 "trace", report->plan->name, "invalidations",
			 (json_int_t)trace->invalidations, "related", (json_int_t)trace->nr_related,
			 "unrelated", (json_int_t)(trace->invalidations - trace->nr_related),
			 "memslot_updates", (json_int_t)trace->count[TRACE_MEMSLOT], "threads",
			 (json_int_t)trace->nr_threads, "vms", (json_int_t)trace->nr_vms, "vcpus",
			 (int)report->vcpus, "speed", report->speed, "by_call",
			 by_call_json(trace->count), "related_by_call",
			 by_call_json(trace->related), "processes", processes_json(report->plan),
			 "gates", gates_json(report));
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_recording(const struct replay_report *report, FILE *stream)
{
	const struct trace *trace = report->plan->trace;
	uint64_t unrelated = trace->invalidations - trace->nr_related;
	const char *separator = ": ";

	fprintf(stream, "%s\n", report->plan->name);
	fprintf(stream,
		"  recorded: %zu thread%s, %zu VM%s, %" PRIu64 " memslot updates, %" PRIu64
		" invalidations",
		trace->nr_threads, trace->nr_threads == 1 ? "" : "s", trace->nr_vms,
		trace->nr_vms == 1 ? "" : "s", trace->count[TRACE_MEMSLOT], trace->invalidations);
	for (unsigned int kind = 0; kind < NR_INVALIDATING; kind++) {
		if (!trace->count[kind])
			continue;
		fprintf(stream, "%s%s %" PRIu64, separator, trace_kind_name(kind),
			trace->count[kind]);
		separator = ", ";
	}
	fprintf(stream,
		"\n  related to guest memory: %" PRIu64 " (%.1f%%), unrelated: %" PRIu64
		" (%.1f%%)\n\n",
		trace->nr_related, percent(trace->nr_related, trace->invalidations), unrelated,
		percent(unrelated, trace->invalidations));
}

static void add_gate_row(struct table *table, enum s2_gate gate, const struct replay_result *result)
{
	const struct latency *inv = &result->invalidation_ns, *update = &result->memslot_update_ns;
	const struct latency *fault = &result->vcpus.fault_ns;
	char buf[24];

	table_cell(table, "%s", s2_gate_name(gate));
	table_cell(table, "%" PRIu64, result->elided);
	table_cell(table, "%" PRIu64, result->mmu_lock_acquired);
	table_cell(table, "%s", latency_percentile_text(inv, 50, buf, sizeof(buf)));
	table_cell(table, "%s", latency_percentile_text(inv, 99, buf, sizeof(buf)));
	table_cell(table, "%s", latency_percentile_text(inv, 100, buf, sizeof(buf)));
	table_cell(table, "%s", latency_percentile_text(update, 50, buf, sizeof(buf)));
	table_cell(table, "%s", latency_percentile_text(update, 100, buf, sizeof(buf)));
	table_cell(table, "%" PRIu64, result->vcpus.faults);
	table_cell(table, "%s", latency_percentile_text(fault, 50, buf, sizeof(buf)));
	table_cell(table, "%s", latency_percentile_text(fault, 99, buf, sizeof(buf)));
	table_cell(table, "%.2f s", (double)result->wall_ns / 1e9);
}

static int print_gates(const struct replay_report *report, FILE *stream)
{
	static const char *const header[] = {
		"gate",	      "elided",	    "mmu_lock", "inv p50",   "inv p99",	  "inv max",
		"update p50", "update max", "faults",	"fault p50", "fault p99", "wall",
	};
	struct table *table = table_create(sizeof(header) / sizeof(header[0]), header);
	int error;

	if (!table)
		return -ENOMEM;
	for (unsigned int i = 0; i < S2_NR_GATES; i++) {
		enum s2_gate gate = replay_gates[i];

		if (report->gates & 1u << gate)
			add_gate_row(table, gate, &report->result[gate]);
	}
	error = table_print(table, stream);
	table_destroy(table);
	return error;
}

static bool was_run(const struct replay_report *report, enum s2_gate gate)
{
	return report->gates & 1u << gate;
}

/* What elision would have saved this VMM. */
static void print_savings(const struct replay_report *report, FILE *stream)
{
	const struct trace *trace = report->plan->trace;
	uint64_t before = report->result[S2_GATE_ALWAYS].mmu_lock_acquired;
	uint64_t after = report->result[S2_GATE_RANGE].mmu_lock_acquired;

	fprintf(stream,
		"\n%" PRIu64 " of %" PRIu64 " invalidations in this VMM touch no guest memory",
		trace->invalidations - trace->nr_related, trace->invalidations);
	if (was_run(report, S2_GATE_ALWAYS) && was_run(report, S2_GATE_RANGE) && before >= after)
		fprintf(stream,
			": elision saves %" PRIu64 " of %" PRIu64 " acquisitions of mmu_lock",
			before - after, before);
	fprintf(stream, ".\n");
}

/* Does any gate stall it? One that did for good would not have come here. */
static void print_longest_update(const struct replay_report *report, FILE *stream)
{
	const struct latency *longest = NULL;
	enum s2_gate longest_gate = S2_GATE_RANGE;
	char buf[24];

	for (unsigned int i = 0; i < S2_NR_GATES; i++) {
		const struct latency *update = &report->result[replay_gates[i]].memslot_update_ns;

		if (!was_run(report, replay_gates[i]) || !update->count ||
		    (longest && longest->max >= update->max))
			continue;
		longest = update;
		longest_gate = replay_gates[i];
	}
	if (longest)
		fprintf(stream,
			"No gate stalled it for good; the longest memslot update took %s, under "
			"%s.\n",
			latency_text(longest->max, buf, sizeof(buf)), s2_gate_name(longest_gate));
}

int replay_report_print(const struct replay_report *report, FILE *stream)
{
	int error;

	print_recording(report, stream);
	error = print_gates(report, stream);
	if (error)
		return error;
	print_savings(report, stream);
	print_longest_update(report, stream);
	return 0;
}
