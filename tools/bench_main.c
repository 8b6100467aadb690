/* SPDX-License-Identifier: MIT */
/*
 * A program that benchmarks: the options, and the report as tables or as one JSON object. Which
 * benchmarks it has is told by its bench_suite: that of stage2 bench is in cmd_bench.c, those of
 * what it is compared with in bench/peers/.
 */
#include "bench.h"
#include "bench_report.h"
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Above this share of the time the report says so; waking up after a lock takes a little, too. */
#define MUCH_BUSY_PERCENT 10

struct arguments {
	struct bench_options options;
	unsigned int benches; /* a mask of indices of bench_suite.benches; 0 is all */
	bool json;
};

enum { OPTION_DIR = 0x100, OPTION_GATE, OPTION_JSON, OPTION_QUICK, OPTION_ROUNDS, OPTION_THREADS };

static const struct argp_option option_list[] = {
	{ "dir", OPTION_DIR, "DIR", 0, "make files to measure in here ($TMPDIR, or /tmp)", 0 },
	{ "gate", OPTION_GATE, "LIST", 0, "only these of range, always, rwsem, count",
	  0 },
	{ "json", OPTION_JSON, NULL, 0, "print one JSON object instead of tables", 0 },
	{ "quick", OPTION_QUICK, NULL, 0,
	  "3 rounds of half a millisecond: shows what there is, says nothing about speed", 0 },
	{ "rounds", OPTION_ROUNDS, "N", 0,
	  "measure everything N times and report the medians (11; 1 to 1000)", 0 },
	{ "threads", OPTION_THREADS, "LIST", 0,
	  "gate: numbers of threads, fault: of vCPUs (1,2,4,... up to the number of CPUs)", 0 },
	{ 0 }
};

/* Adds the numbers in "1,2,4" to options->threads. */
static error_t parse_threads(const struct argp_state *state, const char *text,
			     struct bench_options *options)
{
	for (const char *p = text;; p++) {
		size_t len = strcspn(p, ",");
		uint64_t threads;
		char number[16];
		error_t error;

		snprintf(number, sizeof(number), "%.*s", (int)(len < 16 ? len : 15), p);
		error = option_parse_number(state, "--threads", number, 1, options->nr_cpus,
					    &threads);
		if (error)
			return error;
		for (unsigned int i = 0; i < options->nr_threads; i++)
			if (options->threads[i] == threads)
				threads = 0;
		if (threads)
			options->threads[options->nr_threads++] = (unsigned int)threads;
		p += len;
		if (!*p)
			return 0;
	}
}

/* "pool" is each of pool-swap, pool-fault and so on. */
static bool is_called(const struct bench *bench, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(bench->name, name, len) &&
	       (!bench->name[len] || (len && bench->name[len] == '-'));
}

static error_t parse_bench(const struct argp_state *state, const char *text,
			   struct arguments *arguments)
{
	bool all = !strcmp(text, "all");
	unsigned int chosen = 0;

	for (unsigned int i = 0; bench_suite.benches[i]; i++)
		if (all || is_called(bench_suite.benches[i], text))
			chosen |= 1u << i;
	arguments->benches |= chosen;
	return chosen ? 0 : option_refuse(state, NULL, "'%s' is not a benchmark; --help lists them",
					  text);
}

static error_t parse_dir(const struct argp_state *state, const char *text,
			 struct bench_options *options)
{
	struct stat st;

	if (stat(text, &st))
		return option_refuse(state, "--dir", "%s: %s", text, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return option_refuse(state, "--dir", "%s is not a directory", text);
	if (access(text, W_OK | X_OK))
		return option_refuse(state, "--dir", "no files can be made in %s: %s", text,
				     strerror(errno));
	options->dir = text;
	return 0;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	uint64_t rounds;
	error_t error;

	switch (key) {
	case OPTION_DIR:
		return parse_dir(state, arg, &arguments->options);
	case OPTION_GATE:
		return option_parse_gates(state, "--gate", arg, &arguments->options.gates);
	case OPTION_JSON:
		arguments->json = true;
		return 0;
	case OPTION_QUICK:
		arguments->options.quick = true;
		return 0;
	case OPTION_ROUNDS:
		error = option_parse_number(state, "--rounds", arg, 1, 1000, &rounds);
		if (!error)
			arguments->options.rounds = (unsigned int)rounds;
		return error;
	case OPTION_THREADS:
		return parse_threads(state, arg, &arguments->options);
	case ARGP_KEY_ARG:
		return parse_bench(state, arg, arguments);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void find_cpus(struct bench_options *options)
{
	cpu_set_t cpus;

	if (!sched_getaffinity(0, sizeof(cpus), &cpus))
		for (unsigned int i = 0; i < CPU_SETSIZE && options->nr_cpus < BENCH_MAX_CPUS; i++)
			if (CPU_ISSET(i, &cpus))
				options->cpus[options->nr_cpus++] = i;
	/* More CPUs than a cpu_set_t holds: then one thread, wherever it may be pinned. */
	if (!options->nr_cpus)
		options->nr_cpus = 1;
}

static void set_defaults(struct arguments *arguments)
{
	struct bench_options *options = &arguments->options;

	if (!arguments->benches)
		arguments->benches = UINT_MAX;
	if (!options->rounds)
		options->rounds = options->quick ? 3 : 11;
	if (!options->dir)
		options->dir = getenv("TMPDIR");
	if (!options->dir || !*options->dir)
		options->dir = "/tmp";
	if (!options->gates)
		options->gates = (1u << S2_NR_GATES) - 1;
	if (options->nr_threads)
		return;
	for (unsigned int n = 1; n < options->nr_cpus; n *= 2)
		options->threads[options->nr_threads++] = n;
	options->threads[options->nr_threads++] = options->nr_cpus;
}

bool bench_is_end(const struct bench_options *options, unsigned int threads)
{
	bool less = false, more = false;

	for (unsigned int i = 0; i < options->nr_threads; i++) {
		less = less || options->threads[i] < threads;
		more = more || options->threads[i] > threads;
	}
	return !less || !more;
}

static double busy_percent(const struct bench_load *load)
{
	if (!load->measured_ns)
		return 0;
	return round(1000.0 * (double)load->waited_ns / (double)load->measured_ns) / 10;
}

/*
 * Sets *@report to a new {"bench","results","goals","busy_percent"}; returns the exit status, after
 * saying why if it is not 0.
 */
static int run_bench(const struct bench *bench, struct bench_options *options, json_t **report)
{
	json_t *results = json_array(), *goals = json_array();
	struct bench_load load = { 0 };
	int ret = -ENOMEM;

	options->load = &load;
	if (!results || !goals) {
		bench_fail(bench, ret, "cannot begin");
	} else {
		ret = bench->run(options, results);
		if (!ret && bench->add_goals)
			bench->add_goals(results, goals);
	}
	if (!ret) {
		*report = json_pack("{s:s, s:O, s:O, s:f}", "bench", bench->name, "results",
				    results, "goals", goals, "busy_percent", busy_percent(&load));
		if (!*report)
			ret = bench_fail(bench, -ENOMEM, "cannot report");
	}
	options->load = NULL;
	json_decref(goals);
	json_decref(results);
	return ret < 0 ? 1 : ret;
}

static int print_report(const struct bench *bench, const json_t *report)
{
	double busy = json_real_value(json_object_get(report, "busy_percent"));
	int error = bench_print_rows(bench, json_object_get(report, "results"), stdout);

	if (!error)
		error = bench_print_goals(json_object_get(report, "goals"), stdout);
	if (error)
		bench_fail(bench, error, "cannot report");
	if (busy >= MUCH_BUSY_PERCENT)
		printf("Other work held the CPUs for %.0f %% of the time: a quieter machine will "
		       "show better numbers.\n\n",
		       busy);
	/* The next benchmark takes a while. */
	fflush(stdout);
	return error;
}

/* One benchmark is an object by itself, several are the members of one. */
static int print_json(json_t *reports)
{
	json_t *object = json_array_size(reports) == 1 ? json_incref(json_array_get(reports, 0))
						       : json_pack("{s:O}", "benches", reports);
	int error = json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));

	printf("\n");
	json_decref(object);
	if (error)
		fprintf(stderr, "%s: cannot report: %s\n", bench_suite.program, strerror(ENOMEM));
	return error;
}

/* One benchmark; its report is printed, or kept in @reports. */
static int do_bench(const struct bench *bench, struct arguments *arguments, json_t *reports)
{
	json_t *report = NULL;
	int status = run_bench(bench, &arguments->options, &report);

	if (!status && !arguments->json && print_report(bench, report))
		status = 1;
	if (report && json_array_append_new(reports, report))
		status = 1;
	return status;
}

int bench_main(int argc, char **argv)
{
	const struct argp argp = {
		.options = option_list,
		.parser = parse_option,
		.args_doc = "[BENCHMARK|all]...",
		.doc = bench_suite.about,
	};
	struct arguments arguments = { 0 };
	json_t *reports = json_array();
	bool skipped = false;
	int status;

	find_cpus(&arguments.options);
	status = options_parse(&argp, bench_suite.program, 0, argc, argv, &arguments);
	set_defaults(&arguments);
	if (!status && bench_suite.begin)
		status = bench_suite.begin();
	for (unsigned int i = 0; !status && bench_suite.benches[i]; i++) {
		if (!(arguments.benches & 1u << i))
			continue;
		status = do_bench(bench_suite.benches[i], &arguments, reports);
		skipped = skipped || status == BENCH_SKIPPED;
		status = status == BENCH_SKIPPED ? 0 : status;
	}
	/* What could be measured counts, if there is any. */
	if (!status && skipped && !json_array_size(reports))
		status = BENCH_SKIPPED;
	else if (!status && arguments.json && print_json(reports))
		status = 1;
	json_decref(reports);
	return status;
}
