/* SPDX-License-Identifier: MIT */
/*
 * What a whole program pays when every unmap it makes is told to this library: malloc_workload,
 * under several allocators, with preload_notifier.so telling VMs under each gate, only passing the
 * calls on, or not there at all. Allocator and preload belong to a process, so that each
 * measurement is a process of its own, and a round starts one of each.
 *
 * glibc's malloc() makes its system calls inside the C library, where no preload sees them: it is
 * here to show by its calls, which are none, that it cannot be told of that way.
 */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKLOAD "./malloc_workload"
#define PRELOAD "./preload_notifier.so"

/*
 * @library: to be preloaded.
 * @setting: NULL, or an environment variable that is @value.
 */
struct allocator {
	const char *name;
	const char *library;
	const char *setting;
	const char *value;
};

static const struct allocator allocators[] = {
	{ .name = "jemalloc", .library = "libjemalloc.so.2" },
	/* Eager: no page ages before it is given back, for as many calls as can be. */
	{ .name = "jemalloc-eager",
	  .library = "libjemalloc.so.2",
	  .setting = "MALLOC_CONF",
	  .value = "dirty_decay_ms:0,muzzy_decay_ms:0" },
	{ .name = "mimalloc-eager",
	  .library = "libmimalloc.so.2",
	  .setting = "MIMALLOC_RESET_DELAY",
	  .value = "0" },
	{ .name = "glibc", .library = "libc.so.6" },
};

#define NR_ALLOCATORS (sizeof(allocators) / sizeof(allocators[0]))

static const unsigned int vm_counts[] = { 1, 64 };

#define NR_VM_COUNTS (sizeof(vm_counts) / sizeof(vm_counts[0]))

/* None at all, one that only passes the calls on, and those that tell them. */
#define NR_PRELOADS (2 + S2_NR_GATES * NR_VM_COUNTS)

/* One thread, and all. */
#define NR_THREADS 2

#define MOST_CONFIGS (NR_ALLOCATORS * NR_PRELOADS * NR_THREADS)

/*
 * What is told of each. The overheads compare with the same round without a preload, so that a slow
 * minute of the machine slows both.
 */
enum { NS, CPU_NS, CALLS, OVERHEAD, CPU_OVERHEAD, NR_NUMBERS };

static const struct {
	const char *name;
	double digits;
} numbers[NR_NUMBERS] = {
	[NS] = { "ns", 100 },
	[CPU_NS] = { "cpu_ns", 100 },
	[CALLS] = { "calls", 1e6 },
	[OVERHEAD] = { "overhead_percent", 100 },
	[CPU_OVERHEAD] = { "cpu_overhead_percent", 100 },
};

/*
 * One row of the report.
 *
 * @vms:    0 without a gate.
 * @plain:  the same without a preload, which comes before it in each round.
 * @number: one of each round.
 */
struct config {
	const struct allocator *allocator;
	const char *gate;
	unsigned int vms;
	unsigned int threads;
	const struct config *plain;
	double *number[NR_NUMBERS];
};

struct configs {
	struct config config[MOST_CONFIGS];
	unsigned int nr;
};

static const struct bench bench_malloc;

static bool has_preload(const struct config *config)
{
	return strcmp(config->gate, "none");
}

/* Where this program is, the others are. A path of the preload would be split at its spaces. */
static int enter_own_directory(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path));

	if (length < 0 || length == sizeof(path))
		return -1;
	path[length] = '\0';
	*strrchr(path, '/') = '\0';
	return chdir(path);
}

static int set_environment(const struct config *config)
{
	const struct allocator *allocator = config->allocator;
	char preload[128], vms[16];
	int error;

	snprintf(preload, sizeof(preload), "%s %s", has_preload(config) ? PRELOAD : "",
		 allocator->library);
	snprintf(vms, sizeof(vms), "%u", config->vms);
	error = setenv("LD_PRELOAD", preload, 1) || setenv("S2_PRELOAD_VMS", vms, 1);
	if (!error && config->vms)
		error = setenv("S2_PRELOAD_GATE", config->gate, 1);
	else if (!error)
		error = unsetenv("S2_PRELOAD_GATE");
	if (!error && allocator->setting)
		error = setenv(allocator->setting, allocator->value, 1);
	return error;
}

/* In the child. Returns only if it fails. */
static void run_workload(const struct config *config, bool quick, int out)
{
	char threads[16];

	snprintf(threads, sizeof(threads), "%u", config->threads);
	if (dup2(out, STDOUT_FILENO) < 0 || enter_own_directory() || set_environment(config))
		return;
	execl(WORKLOAD, WORKLOAD, "--json", "--threads", threads, "--rounds", quick ? "1" : "3",
	      quick ? "--quick" : (char *)NULL, (char *)NULL);
}

/* The report of one run of the workload, or NULL. */
static json_t *start_workload(const struct config *config, bool quick)
{
	json_t *report = NULL;
	int fds[2], status;
	pid_t child;

	if (pipe(fds))
		return NULL;
	child = fork();
	if (!child) {
		close(fds[0]);
		run_workload(config, quick, fds[1]);
		fprintf(stderr, "%s: %s: %m\n", bench_suite.program, WORKLOAD);
		_exit(1);
	}
	close(fds[1]);
	if (child > 0) {
		report = json_loadfd(fds[0], 0, NULL);
		if (waitpid(child, &status, 0) != child || status) {
			json_decref(report);
			report = NULL;
		}
	}
	close(fds[0]);
	return report;
}

static int fail_config(const struct config *config)
{
	return bench_fail(&bench_malloc, -EPROTO,
			  "no result from the workload under %s, gate %s, %u VMs, %u threads",
			  config->allocator->name, config->gate, config->vms, config->threads);
}

/* The row of @report, if it is of the allocator that was meant. */
static const json_t *row_under(const json_t *report, const struct allocator *allocator)
{
	const json_t *row = json_array_get(json_object_get(report, "results"), 0);
	const char *file = json_string_value(json_object_get(row, "malloc"));

	return file && strstr(file, allocator->library) ? row : NULL;
}

/* The dynamic loader starts a program also without a library that it has not got. */
static int probe(const struct allocator *allocator, bool *installed)
{
	const struct config config = { .allocator = allocator, .gate = "none", .threads = 1 };
	json_t *report = start_workload(&config, true);

	if (!report)
		return fail_config(&config);
	*installed = row_under(report, allocator);
	json_decref(report);
	return 0;
}

/* A slice of time as all others: the report's busy_percent is their mean. */
static void add_load(struct bench_load *load, const json_t *report)
{
	double busy = json_number_value(json_object_get(report, "busy_percent"));

	if (!load)
		return;
	load->measured_ns += 100000;
	load->waited_ns += (uint64_t)(busy * 1000);
}

static double overhead(const struct config *config, unsigned int number, unsigned int round)
{
	return 100 * (config->number[number][round] / config->plain->number[number][round] - 1);
}

static int measure_config(const struct config *config, unsigned int round,
			  const struct bench_options *options)
{
	json_t *report = start_workload(config, options->quick);
	const json_t *row = row_under(report, config->allocator);
	bool complete = json_number_value(json_object_get(row, "ns")) > 0 &&
			json_number_value(json_object_get(row, "cpu_ns")) > 0 &&
			has_preload(config) == json_is_number(json_object_get(row, "calls"));

	if (complete) {
		for (unsigned int i = NS; i <= CALLS; i++)
			config->number[i][round] =
				json_number_value(json_object_get(row, numbers[i].name));
		config->number[OVERHEAD][round] = overhead(config, NS, round);
		config->number[CPU_OVERHEAD][round] = overhead(config, CPU_NS, round);
		add_load(options->load, report);
	}
	json_decref(report);
	return complete ? 0 : fail_config(config);
}

static void add_config(struct configs *configs, const struct allocator *allocator, const char *gate,
		       unsigned int vms, unsigned int threads)
{
	struct config *config = &configs->config[configs->nr++], *plain = config;

	*config = (struct config){
		.allocator = allocator,
		.gate = gate,
		.vms = vms,
		.threads = threads,
	};
	while (has_preload(plain))
		plain--;
	config->plain = plain;
}

/* Without a preload first, then all preloads, at once after it. */
static void add_preloads(struct configs *configs, const struct allocator *allocator,
			 unsigned int gates, unsigned int threads)
{
	add_config(configs, allocator, "none", 0, threads);
	add_config(configs, allocator, "forward", 0, threads);
	for (enum s2_gate gate = 0; gate < S2_NR_GATES; gate++)
		for (unsigned int i = 0; i < NR_VM_COUNTS; i++)
			if (gates & 1u << gate)
				add_config(configs, allocator, s2_gate_name(gate), vm_counts[i],
					   threads);
}

static int add_allocator(struct configs *configs, const struct allocator *allocator,
			 const struct bench_options *options)
{
	unsigned int last = options->threads[options->nr_threads - 1];
	bool installed = false;
	int error = probe(allocator, &installed);

	if (!error && !installed)
		fprintf(stderr, "%s: %s is left out: %s is not installed\n", bench_suite.program,
			allocator->name, allocator->library);
	if (error || !installed)
		return error;
	add_preloads(configs, allocator, options->gates, options->threads[0]);
	if (last != options->threads[0])
		add_preloads(configs, allocator, options->gates, last);
	return 0;
}

static int measure_rounds(const struct configs *configs, const struct bench_options *options)
{
	for (unsigned int r = 0; r < options->rounds; r++) {
		bench_show_progress(&bench_malloc, r, options->rounds);
		for (unsigned int i = 0; i < configs->nr; i++) {
			int error = measure_config(&configs->config[i], r, options);

			if (error)
				return error;
		}
	}
	bench_show_progress(&bench_malloc, options->rounds, options->rounds);
	return 0;
}

static json_t *config_row(const struct config *config, unsigned int rounds)
{
	char preload[32];
	json_t *row;

	snprintf(preload, sizeof(preload), config->vms ? "%s, VMs: %u" : "%s", config->gate,
		 config->vms);
	row = json_pack("{s:s, s:s, s:s, s:i, s:i}", "allocator", config->allocator->name,
			"preload", preload, "gate", config->gate, "vms", (int)config->vms,
			"threads", (int)config->threads);
	for (unsigned int i = 0; i < NR_NUMBERS; i++) {
		double value = bench_median(config->number[i], rounds);

		/* Out of memory shows as a number that is not there. */
		json_object_set_new(
			row, numbers[i].name,
			json_real(round(value * numbers[i].digits) / numbers[i].digits));
	}
	return row;
}

static int measure(struct configs *configs, double *samples, const struct bench_options *options,
		   json_t *results)
{
	int error;

	for (unsigned int i = 0; i < configs->nr * NR_NUMBERS; i++)
		configs->config[i / NR_NUMBERS].number[i % NR_NUMBERS] =
			&samples[(size_t)i * options->rounds];
	error = measure_rounds(configs, options);
	for (unsigned int i = 0; !error && i < configs->nr; i++)
		if (json_array_append_new(results,
					  config_row(&configs->config[i], options->rounds)))
			error = bench_fail(&bench_malloc, -ENOMEM, "cannot report");
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct configs configs = { .nr = 0 };
	double *samples;
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_ALLOCATORS; i++)
		error = add_allocator(&configs, &allocators[i], options);
	if (error)
		return error;
	samples = calloc((size_t)NR_NUMBERS * configs.nr * options->rounds, sizeof(*samples));
	error = samples ? measure(&configs, samples, options, results)
			: bench_fail(&bench_malloc, -ENOMEM, "cannot begin");
	free(samples);
	return error;
}

static const struct bench bench_malloc = {
	.name = "malloc",
	.title = "a free and a malloc of 16 bytes to 8 MiB, in ns as each thread sees them",
	.row_keys = { "allocator", "preload" },
	.column = "threads",
	.value = "ns",
	.run = run,
};

static const struct bench *const benches[] = { &bench_malloc, NULL };

static const char about[] =
	"Measures what a program that allocates and frees all the time pays when each munmap, "
	"madvise, mremap, mprotect and mmap(MAP_FIXED) of its allocator is told to VMs that have "
	"nothing to do with it. preload is what stands between the two:\n"
	"\n"
	"  none     nothing: the program by itself\n"
	"  forward  the calls are counted and passed on\n"
	"  GATE     they are told to 1 VM or to 64, under that gate\n"
	"\n"
	"eager is with dirty_decay_ms and muzzy_decay_ms 0, or MIMALLOC_RESET_DELAY 0. glibc's own "
	"calls cannot be intercepted this way: its rows show how the numbers vary by themselves.\v"
	"Each measurement is a process, malloc_workload, with one thread and with all: of the "
	"numbers of threads, the first and the last. In the JSON object, calls is how many calls "
	"were intercepted for each free and malloc, cpu_ns is the CPU time they took together, and "
	"the overheads are how much more it was than with none in the same round. On a busy "
	"machine, CPU time is what tells.\n"
	"\n"
	"Example: the range gate, as JSON\n"
	"  peer_malloc --gate range --json\n";

const struct bench_suite bench_suite = {
	.program = "peer_malloc",
	.about = about,
	.benches = benches,
};
