/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: any bytes as a recording. What the reader makes of them must
 * hold together, since replay relies on it without looking again: indexes in
 * bounds, ranges page aligned and not empty, events in order and each call's once.
 */
#include "trace.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(truth)                                                                               \
	do {                                                                                       \
		if (!(truth))                                                                      \
			abort();                                                                   \
	} while (0)

static void check_call(const struct trace *trace, const struct trace_call *call)
{
	CHECK(call->kind < TRACE_KINDS);
	CHECK(call->thread < trace->nr_threads);
	CHECK(call->process < trace->nr_processes);
	CHECK(call->start_line >= 1 && call->start_line <= call->end_line);
	CHECK(call->end_line <= trace->lines);
	CHECK(call->start_ns <= call->end_ns);
	CHECK(call->nr_ranges <= 2);
	for (unsigned int i = 0; i < call->nr_ranges; i++)
		CHECK(call->range[i].start < call->range[i].end &&
		      !((call->range[i].start | call->range[i].end) & 4095));
	if (call->kind == TRACE_MEMSLOT)
		CHECK(call->vm < trace->nr_vms && call->nr_ranges == 0);
	else
		CHECK(call->nr_ranges >= 1);
}

/* 0 none, 1 started, 2 over: in that order, and none left half-way. */
static void check_events(const struct trace *trace)
{
	unsigned char *seen = calloc(trace->nr_calls + 1, 1);
	uint64_t line = 0, ns = 0;

	CHECK(seen);
	for (size_t i = 0; i < trace->nr_events; i++) {
		const struct trace_event *event = &trace->events[i];

		CHECK(event->line >= line && event->ns >= ns);
		line = event->line;
		ns = event->ns;
		if (event->type == TRACE_VM_GONE) {
			CHECK(event->index < trace->nr_vms);
			continue;
		}
		CHECK(event->index < trace->nr_calls);
		CHECK(seen[event->index] == (event->type == TRACE_END));
		seen[event->index] = event->type == TRACE_START ? 1 : 2;
	}
	for (size_t i = 0; i < trace->nr_calls; i++)
		CHECK(seen[i] == 2);
	free(seen);
}

static void check_counts(const struct trace *trace)
{
	uint64_t sum = 0, related = 0;

	for (int kind = 0; kind < TRACE_KINDS; kind++) {
		CHECK(trace->related[kind] <= trace->count[kind]);
		sum += trace->count[kind];
		related += trace->related[kind];
	}
	CHECK(sum == trace->nr_calls);
	CHECK(trace->invalidations + trace->count[TRACE_MEMSLOT] == sum);
	CHECK(trace->nr_related == related);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trace *trace;
	struct trace_error err;
	int ret = trace_parse((const char *)data, size, "fuzz", &trace, &err);

	if (ret) {
		CHECK(!trace && err.message[0]);
		CHECK(!strchr(err.message, '\n'));
		CHECK(memchr(err.message, 0, sizeof(err.message)));
		return 0;
	}
	CHECK(trace);
	for (size_t i = 0; i < trace->nr_calls; i++)
		check_call(trace, &trace->calls[i]);
	check_events(trace);
	check_counts(trace);
	trace_free(trace);
	return 0;
}
