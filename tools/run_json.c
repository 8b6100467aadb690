/* SPDX-License-Identifier: MIT */
/* The report as one JSON object. Sizes are bytes, times of events ns; pages are 4 KiB. */
#include "run_print.h"

static json_int_t number(uint64_t value)
{
	return (json_int_t)(value & INT64_MAX);
}

static json_t *same_json(enum run_same same)
{
	return same == RUN_NOT_COMPARED ? json_null() : json_boolean(same == RUN_SAME);
}

/* What a program prints into its arguments need not be UTF-8. */
static json_t *text_json(const char *text)
{
	json_t *string = json_string(text);

	return string ? string : json_string("(not UTF-8)");
}

static json_t *guest_json(const struct run_guest_result *guest)
{
	return json_pack(
		"{s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:I, s:I}",
		"name", text_json(guest->name), "command", text_json(guest->command), "status",
		guest->error ? -1 : guest->status, "reason", text_json(guest->reason),
		"same_as_native", same_json(guest->native), "same_as_copies",
		same_json(guest->copies), "unknown_calls", text_json(guest->unknown_calls),
		"seconds", guest->seconds, "cpu_seconds", guest->cpu_seconds, "output_bytes",
		number(guest->last.output), "faults", number(guest->last.faults), "resident_peak_pages",
		number(guest->resident_peak), "swapped_peak_pages", number(guest->swapped_peak),
		"swap_ins", number(guest->last.swap_ins), "merged", number(guest->last.merged),
		"invalidations", number(guest->last.invalidations), "elided",
		number(guest->last.elided), "syscalls", number(guest->last.syscalls),
		"translations_dropped", number(guest->translations_dropped));
}

static json_t *guests_json(const struct run_result *result)
{
	json_t *guests = json_array();

	for (unsigned int i = 0; i < result->nr_guests; i++)
		json_array_append_new(guests, guest_json(&result->guests[i]));
	return guests;
}

static json_t *events_json(const struct latency events[RUN_NR_EVENTS])
{
	json_t *object = json_object();

	for (unsigned int e = 0; e < RUN_NR_EVENTS; e++) {
		json_t *event = latency_json(&events[e]);

		json_object_set_new(event, "count", json_integer(number(events[e].count)));
		json_object_set_new(object, run_event_names[e], event);
	}
	return object;
}

static json_t *tiers_json(const struct run_samples *samples)
{
	json_t *tiers = json_array();

	for (unsigned int i = 0; i < samples->nr_tiers; i++)
		json_array_append_new(tiers, json_string(samples->tiers[i]));
	return tiers;
}

static json_t *pool_json(const struct run_result *result)
{
	const struct s2_pool_stats *pool = &result->pool;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "frames",
			 number(pool->frames), "swap_outs", number(pool->swap_outs), "swap_ins",
			 number(pool->swap_ins), "merged", number(pool->merged), "migrated",
			 number(pool->migrated), "cow_breaks", number(pool->cow_breaks),
			 "tier_errors", number(pool->tier_errors), "direct_reclaims",
			 number(pool->direct_reclaims), "tiers", tiers_json(result->samples));
}

static json_t *mm_json(const struct s2_mm_stats *mm)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "invalidations", number(mm->invalidations),
			 "elided", number(mm->elided), "mmu_lock", number(mm->mmu_lock_acquired),
			 "nonblock_failed", number(mm->nonblock_failed), "memslot_updates",
			 number(mm->memslot_updates));
}

static json_t *memory_json(const struct run_report *report, const struct run_result *result)
{
	const struct run_memory_result *memory = &result->memory;
	json_t *object = json_pack("{s:I, s:I, s:I, s:I}", "guests", number(memory->guests),
				   "frames_peak", number(memory->pool_peak), "beside_peak",
				   number(memory->other_peak), "vm_hwm", number(memory->hwm));
	struct run_verdict verdict = run_verdict(result, run_plain_of(report));

	if (result->plain)
		return object;
	json_object_set_new(object, "pool", json_integer(number(memory->pool_size)));
	json_object_set_new(object, "tables_and_tiers", json_integer(number(memory->library)));
	json_object_set_new(object, "unicorn", json_integer(number(verdict.engines)));
	json_object_set_new(object, "unicorn_measured", json_boolean(verdict.measured));
	json_object_set_new(object, "used", json_integer(number(verdict.used)));
	json_object_set_new(object, "allowed", json_integer(number(verdict.allowed)));
	json_object_set_new(object, "kept", json_boolean(verdict.kept));
	return object;
}

static json_t *result_json(const struct run_report *report, const struct run_result *result)
{
	json_t *object = json_pack("{s:s, s:b, s:f, s:f, s:f, s:i, s:i, s:o, s:o}", "memory_kind",
				   result->plain ? "plain" : "window", "stopped", result->stopped,
				   "seconds", result->seconds, "cpu_seconds", result->cpu_seconds,
				   "guest_cpu_seconds", result->guest_cpu_seconds, "failed",
				   result->failed, "different", result->different, "guests",
				   guests_json(result), "memory", memory_json(report, result));

	if (result->plain)
		return object;
	json_object_set_new(object, "gate", json_string(s2_gate_name(result->gate)));
	json_object_set_new(object, "pool", pool_json(result));
	json_object_set_new(object, "mm", mm_json(&result->mm));
	json_object_set_new(object, "events", events_json(result->samples->events));
	return object;
}

static json_t *cells_json(const struct run_report *report)
{
	json_t *cells = json_array();

	for (unsigned int i = 0; i < report->nr_cells; i++) {
		const struct run_compare_cell *cell = &report->cells[i];

		json_array_append_new(cells,
				      json_pack("{s:i, s:s, s:o}", "guests", (int)cell->guests,
						"gate", s2_gate_name(cell->gate), "events",
						events_json(cell->events)));
	}
	return cells;
}

json_t *run_json(const struct run_report *report)
{
	json_t *runs = json_array();

	for (unsigned int i = 0; i < report->nr_results; i++)
		json_array_append_new(runs, result_json(report, &report->results[i]));
	return json_pack("{s:o, s:o, s:o}", "command", text_json(report->command), "runs", runs,
			 "compare", cells_json(report));
}
