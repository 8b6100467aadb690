/* SPDX-License-Identifier: MIT */
/*
 * stage2 replay: what would elision have saved this VMM, and does any gate stall it?
 */
#include "cmd.h"

#include "options.h"
#include "replay.h"
#include "replay_report.h"
#include "trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ALL_GATES ((1u << S2_NR_GATES) - 1)
#define MAX_VCPUS 64

struct replay_options {
	unsigned int gates;
	uint64_t vcpus;
	uint64_t seed;
	uint64_t stall_s;
	double speed;
	bool json;
	char **traces;
	int nr_traces;
};

enum { OPTION_VCPUS = 256, OPTION_SPEED, OPTION_JSON, OPTION_SEED, OPTION_WATCHDOG };

static const struct argp_option argp_options[] = {
	{ "gate", 'g', "NAME", 0,
	  "Replay through this gate only: range, always, rwsem or count; may be repeated, or name "
	  "several: range,count. All four by default",
	  0 },
	{ "vcpus", OPTION_VCPUS, "N", 0,
	  "Threads per VM that keep reading and writing guest memory meanwhile; 1 by default, 0 "
	  "for "
	  "none",
	  0 },
	{ "speed", OPTION_SPEED, "X", 0,
	  "1: in recorded time, 2: twice as fast, ...; 0, the default: as fast as possible", 0 },
	{ "json", OPTION_JSON, NULL, 0, "Report one JSON object on stdout and nothing else", 0 },
	{ "seed", OPTION_SEED, "N", 0, "Of what the vCPUs access; 1 by default", 0 },
	{ "watchdog", OPTION_WATCHDOG, "SECONDS", 0,
	  "Give up, and say where, when nothing has moved for so long; 60 by default, 0 for never",
	  0 },
	{ 0 },
};

static const char doc[] =
	"Replays what a VMM did to its address space, once through each gate, with live vCPUs, and "
	"reports how many invalidations elision keeps from mmu_lock and what each gate costs.\v"
	"A TRACE is what this writes, as it is or as .xz, of any PROGRAM that uses KVM:\n\n"
	"  strace -f -ttt -T -e trace=mmap,munmap,mremap,madvise,mprotect,brk,ioctl \\\n"
	"         -o FILE PROGRAM...\n\n"
	"Example:\n\n"
	"  stage2 replay --vcpus 2 tests/data/two-vms-churn.strace.xz\n\n"
	"Exit status: 0 if all gates replayed all recordings with the recorded counts; 1 if not, "
	"or a recording cannot be read; 2 for a wrong option.";

static error_t parse_number(const struct argp_state *state, const char *option, const char *arg,
			    uint64_t max, uint64_t *out)
{
	return option_parse_number(state, option, arg, 0, max, out);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct replay_options *options = state->input;

	switch (key) {
	case 'g':
		return option_parse_gates(state, "--gate", arg, &options->gates);
	case OPTION_VCPUS:
		return parse_number(state, "--vcpus", arg, MAX_VCPUS, &options->vcpus);
	case OPTION_SPEED:
		return option_parse_real(state, "--speed", arg, 0, 1e6, &options->speed);
	case OPTION_JSON:
		options->json = true;
		return 0;
	case OPTION_SEED:
		return parse_number(state, "--seed", arg, UINT64_MAX, &options->seed);
	case OPTION_WATCHDOG:
		return parse_number(state, "--watchdog", arg, 86400, &options->stall_s);
	case ARGP_KEY_ARGS:
		options->traces = state->argv + state->next;
		options->nr_traces = state->argc - state->next;
		return 0;
	case ARGP_KEY_NO_ARGS:
		return option_refuse(state, NULL,
				     "no recording named; 'stage2 replay --help' tells how to make "
				     "one");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

struct progress {
	const char *trace;
	enum s2_gate gate;
	bool shown;
};

static void show_progress(void *ctx, size_t done, size_t total)
{
	struct progress *progress = ctx;

	progress->shown = true;
	fprintf(stderr, "\r%s: gate %-6s %3u%%", progress->trace, s2_gate_name(progress->gate),
		(unsigned int)(100.0 * (double)done / (double)total));
}

static void clear_progress(const struct progress *progress)
{
	if (progress->shown)
		fprintf(stderr, "\r%*s\r", (int)strlen(progress->trace) + 20, "");
}

static int replay_gate(const struct replay_options *options, struct replay_report *report,
		       enum s2_gate gate)
{
	struct progress progress = { .trace = report->plan->name, .gate = gate };
	const struct replay_settings settings = {
		.gate = gate,
		.vcpus = (unsigned int)options->vcpus,
		.speed = options->speed,
		.stall_s = (unsigned int)options->stall_s,
		.seed = options->seed,
		.progress = isatty(STDERR_FILENO) ? show_progress : NULL,
		.progress_ctx = &progress,
	};
	struct trace_error err;
	int error = replay_run(report->plan, &settings, &report->result[gate], &err);

	clear_progress(&progress);
	report->gates |= 1u << gate;
	if (!error)
		return 0;
	fprintf(stderr, "stage2 replay: %s\n", err.message);
	fflush(NULL);
	/* Threads may be stuck in the library, where exit() would pull the ground from under them.
	 */
	_exit(1);
}

/* The plan's recording, through the gates, and told; with --json into @reports. */
static int replay_plan(const struct replay_options *options, const struct replay_plan *plan,
		       json_t *reports)
{
	struct replay_report *report = calloc(1, sizeof(*report));
	int error = 0;

	if (!report)
		return -ENOMEM;
	report->plan = plan;
	report->vcpus = (unsigned int)options->vcpus;
	report->speed = options->speed;
	for (unsigned int i = 0; i < S2_NR_GATES && !error; i++) {
		if (options->gates & 1u << replay_gates[i])
			error = replay_gate(options, report, replay_gates[i]);
	}
	if (!error && reports)
		error = json_array_append_new(reports, replay_report_json(report)) ? -ENOMEM : 0;
	else if (!error)
		error = replay_report_print(report, stdout);
	free(report);
	return error;
}

static int replay_file(const struct replay_options *options, const char *name, json_t *reports)
{
	struct trace_error err;
	struct replay_plan *plan;
	struct trace *trace;
	int error;

	if (trace_read(name, &trace, &err)) {
		fprintf(stderr, "stage2 replay: %s\n", err.message);
		return 1;
	}
	/* Not an error: the counts, which JSON has, are what they are. But nobody records for this. */
	if (!trace->count[TRACE_MEMSLOT] && !options->json)
		fprintf(stderr,
			"stage2 replay: %s: no memslot in it; record a program that uses KVM, with "
			"ioctl in -e trace=\n",
			name);
	error = replay_plan_create(name, trace, &plan);
	if (!error) {
		error = replay_plan(options, plan, reports);
		replay_plan_destroy(plan);
	}
	trace_free(trace);
	if (error)
		fprintf(stderr, "stage2 replay: %s: %s\n", name, strerror(-error));
	return error ? 1 : 0;
}

/* One recording is the object itself; several are in one. */
static int print_json(json_t *reports)
{
	json_t *object = json_array_size(reports) == 1 ? json_incref(json_array_get(reports, 0))
						       : json_pack("{s:O}", "traces", reports);

	if (!object) {
		fprintf(stderr, "stage2 replay: out of memory for the report\n");
		return 1;
	}
	/* What cannot be written is told at the program's end. */
	json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(object);
	return 0;
}

int cmd_replay(int argc, char **argv)
{
	const struct argp argp = { argp_options, parse_option, "TRACE...", doc, NULL, NULL, NULL };
	struct replay_options options = { .vcpus = 1, .seed = 1, .stall_s = 60 };
	json_t *reports = NULL;
	int status = options_parse(&argp, "stage2 replay", 0, argc, argv, &options);

	if (status)
		return status;
	if (!options.gates)
		options.gates = ALL_GATES;
	if (options.json)
		reports = json_array();
	for (int i = 0; i < options.nr_traces && !status; i++) {
		if (i && !options.json)
			putchar('\n');
		status = replay_file(&options, options.traces[i], reports);
		fflush(stdout);
	}
	if (!status && options.json)
		status = print_json(reports);
	json_decref(reports);
	return status;
}
