/* SPDX-License-Identifier: MIT */
/*
 * stage2 torture: its options and its report. What it does is in torture.c, and the scenarios in
 * torture_scenario.c.
 */
#include "cmd.h"

#include "base/schedule.h"
#include "clock.h"
#include "latency.h"
#include "options.h"
#include "table.h"
#include "torture.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef S2_HAVE_POOL
#define S2_HAVE_POOL 0
#endif

#define ALL_GATES ((1u << S2_NR_GATES) - 1)
#define SCENARIO_SECONDS 2.0
/* So that what is stuck is reported within 5 s of the scenario's beginning. */
#define SCENARIO_PATIENCE_S 3.0
/* One call of a pool may take away or move thousands of pages. */
#define POOL_PATIENCE_S 30.0

enum scenario { NO_SCENARIO, NESTED_LOCK, STARVE };

struct torture_command {
	struct torture_options options;
	unsigned int gates;
	enum scenario scenario;
	bool json;
	struct torture_report reports[S2_NR_GATES];
	unsigned int nr_reports;
};

enum key {
	KEY_GATE = 256,
	KEY_VCPUS,
	KEY_VMS,
	KEY_UNRELATED,
	KEY_RELATED,
	KEY_UPDATERS,
	KEY_NONBLOCK,
	KEY_ENTRIES,
	KEY_RSEQ,
	KEY_SECONDS,
	KEY_SEED,
	KEY_NEST,
	KEY_JSON,
	KEY_SCENARIO,
	KEY_SCHEDULE,
	KEY_FIRST,
	KEY_WINDOW,
	KEY_PROVIDER,
	KEY_POOL_SIZE,
	KEY_TIER_FAULTS,
};

static const struct argp_option argp_options[] = {
	{ "gate", KEY_GATE, "GATES", 0,
	  "range (the default), always, rwsem, count, several with commas, or all", 0 },
	{ "vms", KEY_VMS, "N", 0, "VMs that stay for the whole run (default 2)", 0 },
	{ "vcpus", KEY_VCPUS, "N", 0, "vCPU threads of each VM (default 2)", 0 },
	{ "unrelated", KEY_UNRELATED, "N", 0,
	  "threads that invalidate memory no guest has (default 2)", 0 },
	{ "related", KEY_RELATED, "N", 0,
	  "threads that take away and replace guest pages (default 2)", 0 },
	{ "updaters", KEY_UPDATERS, "N", 0,
	  "threads that create, move, re-flag and delete memslots (default 1)", 0 },
	{ "nonblock", KEY_NONBLOCK, "PERCENT", 0,
	  "of the churn's invalidations that must not sleep (default 10)", 0 },
	{ "entries", KEY_ENTRIES, "N", 0,
	  "size of the in-flight table, a power of two; small ones overflow (default 256)", 0 },
	{ "rseq", KEY_RSEQ, "PERCENT", 0,
	  "of the vCPUs that are shot down by restarting their accesses and never poll "
	  "(default 50)",
	  0 },
	{ "provider", KEY_PROVIDER, "NAME", 0,
	  "of the guests' memory: process (the default), this process's own; or pool, which is "
	  "reclaimed, swapped, merged, moved and cloned",
	  0 },
	{ "pool-size", KEY_POOL_SIZE, "MIB", 0,
	  "with --provider pool: frames; each VM has twice as much memory, up to 32 (default 8)", 0 },
	{ "tier-faults", KEY_TIER_FAULTS, "PERCENT", 0,
	  "with --provider pool: of the calls to what pages are swapped to that fail, damage or "
	  "take long, in the times when they do; 0 for no such times (default 5)",
	  0 },
	{ "window", KEY_WINDOW, "PERCENT", 0,
	  "with --provider pool: of the guests' threads that have no vCPU but use their memory by "
	  "plain pointers (default 50)",
	  0 },
	{ "nest", KEY_NEST, NULL, 0,
	  "also pairs inside pairs, overlapping pairs, and ends on other threads; not for rwsem",
	  0 },
	{ "seconds", KEY_SECONDS, "S", 0, "for each gate (default 5; for --scenario starve 2)", 0 },
	{ "seed", KEY_SEED, "N", 0, "of the random numbers; it is printed (default: the clock)",
	  0 },
	{ "scenario", KEY_SCENARIO, "NAME", 0,
	  "stage one situation under all gates instead: nested-lock or starve", 0 },
	{ "first", KEY_FIRST, NULL, 0, "stop at the first violation", 0 },
#if S2_SCHEDULES
	{ "schedule", KEY_SCHEDULE, "PERCENT", 0,
	  "of the protocol's steps at which a thread yields, spins or sleeps, by the seed (default "
	  "0)",
	  0 },
#else
	{ "schedule", KEY_SCHEDULE, "PERCENT", OPTION_HIDDEN, NULL, 0 },
#endif
	{ "json", KEY_JSON, NULL, 0, "print one JSON object and nothing else", 0 },
	{ 0 },
};

static const char doc[] =
	"Search for races and deadlocks: vCPUs use real memory of this process while other threads "
	"replace it, invalidate other memory and update memslots, and all check each other.\v"
	"The exit status is 0 only if there was no violation and no deadlock; with --scenario, if "
	"the gates behaved as they are known to: in nested-lock rwsem deadlocks and no other does, "
	"in starve no updater starves but that of count.\n\n"
	"Example:\n"
	"  stage2 torture --gate all --vms 3 --updaters 2 --seconds 60\n"
	"  stage2 torture --provider pool --gate all --tier-faults 10\n"
	"  stage2 torture --scenario nested-lock";

static error_t parse_seconds(struct torture_command *c, const char *arg, struct argp_state *state)
{
	return option_parse_real(state, "--seconds", arg, 0.01, 1e6, &c->options.seconds);
}

static error_t parse_scenario(struct torture_command *c, const char *arg, struct argp_state *state)
{
	if (!strcmp(arg, "nested-lock"))
		c->scenario = NESTED_LOCK;
	else if (!strcmp(arg, "starve"))
		c->scenario = STARVE;
	else
		return option_refuse(state, "--scenario",
				     "'%s' is not a scenario; they are nested-lock and starve",
				     arg);
	return 0;
}

static error_t parse_provider(struct torture_command *c, const char *arg, struct argp_state *state)
{
	if (!strcmp(arg, "process"))
		c->options.provider = TORTURE_PROCESS;
	else if (strcmp(arg, "pool"))
		return option_refuse(state, "--provider",
				     "'%s' is not a provider; they are process and pool", arg);
	else if (!S2_HAVE_POOL)
		return option_refuse(state, "--provider",
				     "this build has no pool; install libxxhash and build anew");
	else
		c->options.provider = TORTURE_POOL;
	return 0;
}

static error_t parse_pool_size(struct torture_command *c, const char *arg,
			       struct argp_state *state)
{
	uint64_t mib;
	error_t error = option_parse_number(state, "--pool-size", arg, 1, 1024, &mib);

	if (!error)
		c->options.pool_size = mib << 20;
	return error;
}

static error_t parse_schedule(struct torture_command *c, const char *arg, struct argp_state *state)
{
	uint64_t percent;
	error_t error;

	if (!S2_SCHEDULES)
		return option_refuse(state, "--schedule",
				     "this build has no schedules; use one made with "
				     "-Ddebug_checks=true or -Dmutants=true");
	error = option_parse_number(state, "--schedule", arg, 0, 100, &percent);
	if (!error)
		c->options.schedule = (unsigned int)percent;
	return error;
}

static const struct count_option {
	enum key key;
	const char *name;
	uint64_t min;
	uint64_t max;
	size_t offset;
} count_options[] = {
	{ KEY_VMS, "--vms", 1, TORTURE_MAX_VMS, offsetof(struct torture_options, vms) },
	{ KEY_VCPUS, "--vcpus", 0, TORTURE_MAX_THREADS, offsetof(struct torture_options, vcpus) },
	{ KEY_UNRELATED, "--unrelated", 0, TORTURE_MAX_THREADS,
	  offsetof(struct torture_options, unrelated) },
	{ KEY_RELATED, "--related", 0, TORTURE_MAX_THREADS,
	  offsetof(struct torture_options, related) },
	{ KEY_UPDATERS, "--updaters", 0, TORTURE_MAX_UPDATERS,
	  offsetof(struct torture_options, updaters) },
	{ KEY_NONBLOCK, "--nonblock", 0, 100, offsetof(struct torture_options, nonblock) },
	{ KEY_ENTRIES, "--entries", 1, 65536, offsetof(struct torture_options, entries) },
	{ KEY_RSEQ, "--rseq", 0, 100, offsetof(struct torture_options, rseq) },
	{ KEY_WINDOW, "--window", 0, 100, offsetof(struct torture_options, window) },
	{ KEY_TIER_FAULTS, "--tier-faults", 0, 100, offsetof(struct torture_options, tier_faults) },
};

static error_t parse_count(struct torture_command *c, int key, const char *arg,
			   struct argp_state *state)
{
	for (size_t i = 0; i < sizeof(count_options) / sizeof(count_options[0]); i++) {
		const struct count_option *o = &count_options[i];
		uint64_t value;
		error_t error;

		if ((int)o->key != key)
			continue;
		error = option_parse_number(state, o->name, arg, o->min, o->max, &value);
		if (!error && key == KEY_ENTRIES && (value & (value - 1)))
			error = option_refuse(state, o->name, "'%s' is not a power of two", arg);
		if (!error)
			*(unsigned int *)((char *)&c->options + o->offset) = (unsigned int)value;
		return error;
	}
	return ARGP_ERR_UNKNOWN;
}

/* What one provider knows of, the other does not. */
static error_t check_provider(struct torture_command *c, struct argp_state *state)
{
	const struct torture_options *o = &c->options;

	if (o->provider == TORTURE_POOL && c->scenario)
		return option_refuse(state, "--scenario", "is for --provider process only");
	if (o->provider == TORTURE_POOL && o->nest)
		return option_refuse(state, "--nest", "is for --provider process only");
	if (o->provider == TORTURE_POOL && o->entries)
		return option_refuse(state, "--entries", "is for --provider process only");
	if (o->provider == TORTURE_PROCESS && o->pool_size != torture_defaults.pool_size)
		return option_refuse(state, "--pool-size", "is for --provider pool only");
	if (o->provider == TORTURE_PROCESS && o->tier_faults != torture_defaults.tier_faults)
		return option_refuse(state, "--tier-faults", "is for --provider pool only");
	if (o->provider == TORTURE_PROCESS && o->window != torture_defaults.window)
		return option_refuse(state, "--window", "is for --provider pool only");
	return 0;
}

static error_t check_options(struct torture_command *c, struct argp_state *state)
{
	if (!c->gates)
		c->gates = c->scenario ? ALL_GATES : 1u << S2_GATE_RANGE;
	if (c->scenario && c->gates != ALL_GATES)
		return option_refuse(state, "--gate",
				     "a --scenario compares all four; leave it out");
	if (c->options.nest && (c->gates & 1u << S2_GATE_RWSEM))
		return option_refuse(state, "--nest",
				     "a pair inside a pair deadlocks under the rwsem gate, as "
				     "known; use --gate range,always,count");
	if (check_provider(c, state))
		return EINVAL;
	if (c->options.provider == TORTURE_POOL)
		c->options.patience_s = POOL_PATIENCE_S;
	if (c->options.seconds == 0)
		c->options.seconds = c->scenario ? SCENARIO_SECONDS : torture_defaults.seconds;
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct torture_command *c = state->input;

	switch (key) {
	case KEY_GATE:
		return option_parse_gates(state, "--gate", arg, &c->gates);
	case KEY_SECONDS:
		return parse_seconds(c, arg, state);
	case KEY_SCENARIO:
		return parse_scenario(c, arg, state);
	case KEY_PROVIDER:
		return parse_provider(c, arg, state);
	case KEY_POOL_SIZE:
		return parse_pool_size(c, arg, state);
	case KEY_SCHEDULE:
		return parse_schedule(c, arg, state);
	case KEY_SEED:
		return option_parse_number(state, "--seed", arg, 0, INT64_MAX, &c->options.seed);
	case KEY_NEST:
		c->options.nest = true;
		return 0;
	case KEY_FIRST:
		c->options.first = true;
		return 0;
	case KEY_JSON:
		c->json = true;
		return 0;
	case ARGP_KEY_ARG:
		return option_refuse(state, NULL, "'%s' is too much; there are only options", arg);
	case ARGP_KEY_END:
		return check_options(c, state);
	default:
		return parse_count(c, key, arg, state);
	}
}

static int print_json(json_t *object)
{
	if (!object) {
		fputs("stage2 torture: out of memory for the report\n", stderr);
		return 1;
	}
	/* What cannot be written is told at the program's end. */
	json_dumpf(object, stdout, JSON_INDENT(2));
	puts("");
	json_decref(object);
	return 0;
}

/* The lines of @text, without their ends. */
static json_t *lines_json(const char *text)
{
	json_t *lines = json_array();

	while (*text) {
		size_t len = strcspn(text, "\n");

		json_array_append_new(lines, json_stringn(text, len));
		text += len + (text[len] == '\n');
	}
	return lines;
}

/* A run in which something never happened says nothing about it. */
static bool never_happened(const struct torture_report *r, enum torture_count count)
{
	return count >= TORTURE_PAGES_CHECKED && torture_counts(r->provider, count) &&
	       !r->counts[count];
}

static void add_pool_json(json_t *run, const struct torture_command *c,
			  const struct torture_report *r)
{
	json_t *never = json_array();

	for (unsigned int i = 0; i < TORTURE_UPDATER_MAX_WAIT_NS; i++)
		if (never_happened(r, i))
			json_array_append_new(never, json_string(torture_count_names[i]));
	json_object_set_new(run, "provider", json_string("pool"));
	json_object_set_new(run, "pool_mib", json_integer((json_int_t)(c->options.pool_size >> 20)));
	json_object_set_new(run, "tier_fault_percent",
			    json_integer((json_int_t)c->options.tier_faults));
	json_object_set_new(run, "window_percent", json_integer((json_int_t)c->options.window));
	json_object_set_new(run, "never_happened", never);
}

static json_t *report_json(const struct torture_command *c, const struct torture_report *r)
{
	const struct torture_options *o = &c->options;
	json_t *kinds = json_object(), *examples = json_array();
	json_t *run = json_pack("{s:s, s:I, s:f, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:b}",
				"gate", s2_gate_name(r->gate), "seed", (json_int_t)r->seed,
				"seconds", o->seconds, "nest", o->nest, "vms", o->vms, "vcpus",
				o->vcpus, "unrelated", o->unrelated, "related", o->related,
				"updaters", o->updaters, "nonblock", o->nonblock, "violations",
				(json_int_t)torture_nr_violations(r), "deadlock", !!r->threads);

	for (unsigned int i = 0; i < TORTURE_UPDATER_MAX_WAIT_NS; i++)
		if (torture_counts(r->provider, i))
			json_object_set_new(run, torture_count_names[i],
					    json_integer((json_int_t)r->counts[i]));
	if (r->provider == TORTURE_POOL)
		add_pool_json(run, c, r);
	json_object_set_new(run, "updater_max_wait_ms",
			    json_real((double)r->counts[TORTURE_UPDATER_MAX_WAIT_NS] / 1e6));
	for (unsigned int i = 0; i < TORTURE_NR_VIOLATIONS; i++)
		json_object_set_new(kinds, torture_violation_names[i],
				    json_integer((json_int_t)r->violations[i]));
	for (unsigned int i = 0; i < r->nr_examples; i++)
		json_array_append_new(examples, json_string(r->examples[i]));
	json_object_set_new(run, "violations_by_kind", kinds);
	json_object_set_new(run, "examples", examples);
	if (r->threads)
		json_object_set_new(run, "threads", lines_json(r->threads));
	return run;
}

static int print_reports_json(const struct torture_command *c)
{
	json_t *runs;

	if (!(c->gates & (c->gates - 1)))
		return print_json(report_json(c, &c->reports[0]));
	runs = json_array();
	for (unsigned int i = 0; i < c->nr_reports; i++)
		json_array_append_new(runs, report_json(c, &c->reports[i]));
	return print_json(json_pack("{s:o}", "runs", runs));
}

static void print_never_happened(const struct torture_report *r)
{
	const char *separator = ": never happened: ";

	for (unsigned int i = 0; i < TORTURE_UPDATER_MAX_WAIT_NS; i++) {
		if (!never_happened(r, i))
			continue;
		printf("%s%s%s", *separator == ':' ? s2_gate_name(r->gate) : "", separator,
		       torture_count_names[i]);
		separator = ", ";
	}
	if (*separator == ',')
		putchar('\n');
}

static void print_findings(const struct torture_report *r)
{
	const char *gate = s2_gate_name(r->gate);

	for (unsigned int i = 0; i < TORTURE_NR_VIOLATIONS; i++)
		if (r->violations[i])
			printf("%s: %" PRIu64 " times %s\n", gate, r->violations[i],
			       torture_violation_names[i]);
	for (unsigned int i = 0; i < r->nr_examples; i++)
		printf("%s: for example: %s\n", gate, r->examples[i]);
	print_never_happened(r);
	if (r->threads)
		printf("%s: deadlock; the threads:\n%s", gate, r->threads);
}

/* The rows are the counts, since there are more of them than gates. */
static int print_reports_text(const struct torture_command *c)
{
	const char *header[1 + S2_NR_GATES] = { "" };
	struct table *table;
	char text[16];

	for (unsigned int i = 0; i < c->nr_reports; i++)
		header[1 + i] = s2_gate_name(c->reports[i].gate);
	table = table_create(1 + c->nr_reports, header);
	if (!table)
		return 1;
	for (unsigned int n = 0; n < TORTURE_UPDATER_MAX_WAIT_NS; n++) {
		if (!torture_counts(c->options.provider, n))
			continue;
		table_cell(table, "%s", torture_count_names[n]);
		for (unsigned int i = 0; i < c->nr_reports; i++)
			table_cell(table, "%" PRIu64, c->reports[i].counts[n]);
	}
	table_cell(table, "updater_max_wait");
	for (unsigned int i = 0; i < c->nr_reports; i++)
		table_cell(table, "%s",
			   latency_text(c->reports[i].counts[TORTURE_UPDATER_MAX_WAIT_NS], text,
					sizeof(text)));
	table_cell(table, "violations");
	for (unsigned int i = 0; i < c->nr_reports; i++)
		table_cell(table, "%" PRIu64, torture_nr_violations(&c->reports[i]));
	printf("seed %" PRIu64 ", %g s%s\n\n", c->options.seed, c->options.seconds,
	       c->options.nest ? ", nested" : "");
	table_print(table, stdout);
	table_destroy(table);
	for (unsigned int i = 0; i < c->nr_reports; i++)
		print_findings(&c->reports[i]);
	return 0;
}

static int print_reports(const struct torture_command *c)
{
	return c->json ? print_reports_json(c) : print_reports_text(c);
}

/* On the watchdog's thread: the others cannot be joined, so this is the end of the program. */
static void die_of_deadlock(void *ctx, const struct torture_report *report)
{
	struct torture_command *c = ctx;

	c->reports[c->nr_reports++] = *report;
	print_reports(c);
	fflush(stdout);
	_exit(1);
}

static int run_mix(struct torture_command *c)
{
	int status = 0;

	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++) {
		struct torture_report *report = &c->reports[c->nr_reports];
		int error;

		if (!(c->gates & 1u << gate))
			continue;
		c->options.gate = (enum s2_gate)gate;
		error = torture_run(&c->options, report);
		if (error) {
			fprintf(stderr, "stage2 torture: %s: could not go on: %s\n",
				s2_gate_name(c->options.gate), strerror(-error));
			return 1;
		}
		c->nr_reports++;
		status |= !!torture_nr_violations(report);
	}
	return print_reports(c) || status;
}

static const char *nested_verdict(const struct torture_nested *result)
{
	return result->deadlock ? "deadlock" : result->failed ? "failed" : "passed";
}

static int print_nested_json(const struct torture_nested results[S2_NR_GATES], bool as_known)
{
	json_t *gates = json_object();

	for (unsigned int i = 0; i < S2_NR_GATES; i++)
		json_object_set_new(gates, s2_gate_name((enum s2_gate)i),
				    json_pack("{s:s, s:b, s:f, s:o}", "result",
					      nested_verdict(&results[i]), "deadlock",
					      results[i].deadlock, "seconds", results[i].seconds,
					      "threads", lines_json(results[i].threads)));
	return print_json(json_pack("{s:s, s:b, s:o}", "scenario", "nested-lock", "as_known",
				    as_known, "gates", gates));
}

static int print_nested_text(const struct torture_nested results[S2_NR_GATES], bool as_known)
{
	static const char *const header[] = { "gate", "result", "after" };
	struct table *table = table_create(3, header);
	char text[16];

	if (!table)
		return 1;
	for (unsigned int i = 0; i < S2_NR_GATES; i++) {
		table_cell(table, "%s", s2_gate_name((enum s2_gate)i));
		table_cell(table, "%s", nested_verdict(&results[i]));
		table_cell(table, "%s",
			   latency_text((uint64_t)(results[i].seconds * 1e9), text, sizeof(text)));
	}
	table_print(table, stdout);
	table_destroy(table);
	for (unsigned int i = 0; i < S2_NR_GATES; i++)
		if (results[i].deadlock)
			printf("\n%s, deadlocked:\n%s", s2_gate_name((enum s2_gate)i),
			       results[i].threads);
	printf("\n%s\n", as_known ? "as known: rwsem deadlocks, the others pass" : "NOT as known");
	return 0;
}

/* What a scenario is at, on a terminal; NULL clears the line. */
static void show_scenario(const struct torture_command *c, const char *what)
{
	if (!c->options.progress)
		return;
	if (what)
		fprintf(stderr, "\rstage2 torture: %-40s", what);
	else
		fprintf(stderr, "\r%60s\r", "");
}

static int run_nested_lock(const struct torture_command *c)
{
	struct torture_nested *results = calloc(S2_NR_GATES, sizeof(*results));
	int status = 1, error;

	show_scenario(c, "all gates; a deadlock takes 3 s to tell");
	error = results ? torture_nested_lock(SCENARIO_PATIENCE_S, results) : -ENOMEM;
	show_scenario(c, NULL);
	if (error) {
		fprintf(stderr, "stage2 torture: could not go on: %s\n", strerror(-error));
	} else {
		bool as_known = torture_nested_as_known(results);

		status = c->json ? print_nested_json(results, as_known)
				 : print_nested_text(results, as_known);
		status = status || !as_known;
	}
	free(results);
	return status;
}

static int print_starve_json(const struct torture_command *c, const struct torture_starve *results)
{
	json_t *gates = json_object();

	for (unsigned int i = 0; i < S2_NR_GATES; i++)
		json_object_set_new(gates, s2_gate_name((enum s2_gate)i),
				    json_pack("{s:I, s:f, s:b}", "memslot_updates",
					      (json_int_t)results[i].updates, "updater_max_wait_ms",
					      (double)results[i].max_wait_ns / 1e6, "starved",
					      results[i].starved));
	return print_json(json_pack("{s:s, s:f, s:o}", "scenario", "starve", "seconds",
				    c->options.seconds, "gates", gates));
}

static int print_starve_text(const struct torture_command *c, const struct torture_starve *results)
{
	static const char *const header[] = { "gate", "memslot updates", "longest wait",
					      "starved" };
	struct table *table = table_create(4, header);
	char text[16];

	if (!table)
		return 1;
	for (unsigned int i = 0; i < S2_NR_GATES; i++) {
		table_cell(table, "%s", s2_gate_name((enum s2_gate)i));
		table_cell(table, "%" PRIu64, results[i].updates);
		table_cell(table, "%s", latency_text(results[i].max_wait_ns, text, sizeof(text)));
		table_cell(table, "%s", results[i].starved ? "yes" : "no");
	}
	table_print(table, stdout);
	table_destroy(table);
	printf("\nFor %g s under each gate, an invalidation was in flight at all times. Starved: "
	       "the updater\nwaited for more than half of that and was still waiting when the "
	       "invalidations stopped.\n",
	       c->options.seconds);
	return 0;
}

static int run_starve(const struct torture_command *c)
{
	struct torture_starve results[S2_NR_GATES];
	bool unexpected = false;
	int status;

	for (unsigned int gate = 0; gate < S2_NR_GATES; gate++) {
		int error;

		show_scenario(c, s2_gate_name((enum s2_gate)gate));
		error = torture_starve((enum s2_gate)gate, c->options.seconds, &results[gate]);
		show_scenario(c, NULL);
		if (error) {
			fprintf(stderr, "stage2 torture: %s: could not go on: %s\n",
				s2_gate_name((enum s2_gate)gate), strerror(-error));
			return 1;
		}
		unexpected |= results[gate].starved && gate != S2_GATE_COUNT;
	}
	status = c->json ? print_starve_json(c, results) : print_starve_text(c, results);
	return status || unexpected;
}

int cmd_torture(int argc, char **argv)
{
	static const struct argp argp = { .options = argp_options, .parser = parse, .doc = doc };
	struct torture_command c = { .options = torture_defaults };
	int status;

	c.options.seconds = 0;
	c.options.seed = clock_ns() / 1000;
	c.options.deadlock = die_of_deadlock;
	c.options.ctx = &c;
	status = options_parse(&argp, "stage2 torture", 0, argc, argv, &c);
	if (status)
		return status;
	c.options.progress = isatty(STDERR_FILENO);
	switch (c.scenario) {
	case NESTED_LOCK:
		return run_nested_lock(&c);
	case STARVE:
		return run_starve(&c);
	case NO_SCENARIO:
		break;
	}
	return run_mix(&c);
}
