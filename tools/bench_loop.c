/* SPDX-License-Identifier: MIT */
/*
 * The loop that measures. Each round gives each cell one slice of time, on fresh threads pinned to
 * a CPU each. A slice ends by the clock, not after so many operations: all threads are busy until
 * the end, also when a gate lets one of them pass the others, and an operation of 100 us takes no
 * longer to measure than one of 10 ns.
 */
#include "bench.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Between two looks at the clock or at the phase, which are then lost in what is measured. */
#define BATCH_NS 20000

struct plan_cell {
	struct bench_cell cell;
	json_t *row;
	double *samples;
};

struct bench_plan {
	struct plan_cell *cells;
	size_t nr;
	size_t room;
};

enum phase { WARM_UP, MEASURE, STOP };

/*
 * What the threads of one slice share; @phase is written by the controlling thread only.
 *
 * @busy: threads that have yet to be measured to the end. The others go on until there are none:
 *        one that got its CPU late would be measured without what it is to be measured with.
 */
struct slice {
	uint64_t warm_up_ns;
	uint64_t measure_ns;
	enum phase phase;
	unsigned int warm;
	unsigned int busy;
};

struct slice_thread {
	struct slice *slice;
	struct bench_worker worker;
	bench_run_fn *run;
	const struct bench_cell *beside;
	double beside_ns; /* for an operation */
	unsigned int cpu;
	uint64_t operations;
	uint64_t elapsed_ns;
	uint64_t total_ns; /* with what was spent on preparing */
	uint64_t waited_ns;
	int error;
	pthread_t id;
};

struct bench_plan *bench_plan_create(void)
{
	return calloc(1, sizeof(struct bench_plan));
}

void bench_plan_destroy(struct bench_plan *plan)
{
	if (!plan)
		return;
	for (size_t i = 0; i < plan->nr; i++) {
		json_decref(plan->cells[i].row);
		free(plan->cells[i].samples);
	}
	free(plan->cells);
	free(plan);
}

int bench_plan_add(struct bench_plan *plan, const struct bench_cell *cell, json_t *row)
{
	if (row && plan->nr == plan->room) {
		size_t room = plan->room * 2 + 32;
		struct plan_cell *cells = reallocarray(plan->cells, room, sizeof(*cells));

		if (cells) {
			plan->cells = cells;
			plan->room = room;
		}
	}
	if (!row || plan->nr == plan->room) {
		json_decref(row);
		return -ENOMEM;
	}
	plan->cells[plan->nr++] = (struct plan_cell){ .cell = *cell, .row = row };
	return 0;
}

static enum phase current_phase(struct slice *slice)
{
	/* Relaxed: a thread that sees it late measures itself for as much longer. */
	return __atomic_load_n(&slice->phase, __ATOMIC_RELAXED);
}

static int run_batch(struct slice_thread *thread, uint64_t n)
{
	int error = thread->run(&thread->worker, n);

	thread->worker.done += n;
	return error;
}

/* Finds the size of a batch, and returns when all threads run at full speed. */
static int warm_up(struct slice_thread *thread, uint64_t *batch)
{
	bool first = true;

	*batch = 1;
	do {
		uint64_t begin = clock_ns();
		int error = run_batch(thread, *batch);

		if (error)
			return error;
		if (first)
			__atomic_add_fetch(&thread->slice->warm, 1, __ATOMIC_RELAXED);
		first = false;
		if (clock_ns() - begin < BATCH_NS)
			*batch *= 2;
	} while (current_phase(thread->slice) == WARM_UP);
	return 0;
}

/* How long the calling thread has been runnable and not running; 0 where the kernel does not tell.
 */
static uint64_t cpu_wait_ns(void)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "r");
	uint64_t waited = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*u %" SCNu64, &waited) != 1)
		waited = 0;
	fclose(file);
	return waited;
}

static int run_measured(struct slice_thread *thread, uint64_t batch)
{
	int error;

	do
		error = run_batch(thread, batch);
	while (!error && current_phase(thread->slice) == MEASURE);
	return error;
}

/* As run_measured(); what is done beside it, and how long, is left out of what it took. */
static int run_in_turns(struct slice_thread *thread, uint64_t batch)
{
	struct bench_worker other = { .ctx = thread->beside->ctx };
	uint64_t other_batch = 1, other_ns = 0;
	int error;

	do {
		uint64_t begin, ns;

		error = run_batch(thread, batch);
		begin = clock_ns();
		if (!error)
			error = thread->beside->run(&other, other_batch);
		ns = clock_ns() - begin;
		other.done += other_batch;
		thread->worker.excluded_ns += ns;
		other_ns += ns;
		if (ns < BATCH_NS)
			other_batch *= 2;
	} while (!error && current_phase(thread->slice) == MEASURE);
	thread->beside_ns = (double)other_ns / (double)other.done;
	thread->worker.sink += other.sink;
	return error;
}

static int measure(struct slice_thread *thread, uint64_t batch)
{
	uint64_t waited = cpu_wait_ns(), begin = clock_ns();
	int error;

	thread->worker.done = 0;
	thread->worker.excluded_ns = 0;
	error = thread->beside ? run_in_turns(thread, batch) : run_measured(thread, batch);
	if (error)
		return error;
	thread->total_ns = clock_ns() - begin;
	thread->elapsed_ns = thread->total_ns - thread->worker.excluded_ns;
	thread->operations = thread->worker.done;
	thread->waited_ns = cpu_wait_ns() - waited;
	return 0;
}

static int run_on(struct slice_thread *thread, uint64_t batch)
{
	int error = 0;

	while (!error && __atomic_load_n(&thread->slice->busy, __ATOMIC_RELAXED))
		error = run_batch(thread, batch);
	return error;
}

static void *thread_main(void *arg)
{
	struct slice_thread *thread = arg;
	uint64_t batch;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(thread->cpu, &cpus);
	/* May fail if the CPU went away; then the scheduler finds another. */
	sched_setaffinity(0, sizeof(cpus), &cpus);
	thread->error = warm_up(thread, &batch);
	if (!thread->error)
		thread->error = measure(thread, batch);
	if (thread->error)
		/* Nobody need wait for this thread to get warm. */
		__atomic_add_fetch(&thread->slice->warm, 1, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&thread->slice->busy, 1, __ATOMIC_RELAXED);
	if (!thread->error)
		thread->error = run_on(thread, batch);
	return NULL;
}

static void sleep_ns(uint64_t ns)
{
	struct timespec time = { .tv_sec = (time_t)(ns / 1000000000),
				 .tv_nsec = (long)(ns % 1000000000) };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

static void conduct(struct slice *slice, unsigned int threads)
{
	while (__atomic_load_n(&slice->warm, __ATOMIC_RELAXED) < threads)
		sleep_ns(100000);
	sleep_ns(slice->warm_up_ns);
	__atomic_store_n(&slice->phase, MEASURE, __ATOMIC_RELAXED);
	sleep_ns(slice->measure_ns);
	__atomic_store_n(&slice->phase, STOP, __ATOMIC_RELAXED);
}

/* One thread's ns for an operation, over all threads but the storm; or how many times as many. */
static double slice_result(const struct slice_thread *threads, unsigned int nr)
{
	double ns = 0, operations = 0;

	for (unsigned int i = 0; i < nr; i++) {
		ns += (double)threads[i].elapsed_ns;
		operations += (double)threads[i].operations;
	}
	ns /= operations;
	return threads[0].beside ? ns / threads[0].beside_ns : ns;
}

static void add_load(struct bench_load *load, const struct slice_thread *threads, unsigned int nr)
{
	for (unsigned int i = 0; load && i < nr; i++) {
		load->measured_ns += threads[i].total_ns;
		load->waited_ns += threads[i].waited_ns;
	}
}

static int run_slice(struct slice *slice, const struct bench_cell *cell,
		     const struct bench_options *options, double *sample)
{
	unsigned int storms = !cell->storm ? 0 : cell->storms ? cell->storms : 1;
	unsigned int nr = cell->threads + storms, started = 0;
	struct slice_thread *threads = calloc(nr, sizeof(*threads));
	int error = threads ? 0 : -ENOMEM;

	slice->phase = WARM_UP;
	slice->warm = 0;
	slice->busy = nr;
	for (; !error && started < nr; started += error ? 0 : 1) {
		struct slice_thread *thread = &threads[started];

		thread->slice = slice;
		thread->worker.ctx = cell->ctx;
		thread->worker.index = started;
		thread->beside = cell->beside;
		thread->run = started < cell->threads ? cell->run : cell->storm;
		thread->cpu = options->cpus[started % options->nr_cpus];
		error = -pthread_create(&thread->id, NULL, thread_main, thread);
	}
	if (error) {
		/* Those that were not started will not be measured. */
		__atomic_sub_fetch(&slice->busy, nr - started, __ATOMIC_RELAXED);
		__atomic_store_n(&slice->phase, STOP, __ATOMIC_RELAXED);
	} else {
		conduct(slice, nr);
	}
	for (unsigned int i = 0; i < started; i++) {
		pthread_join(threads[i].id, NULL);
		if (!error)
			error = threads[i].error;
	}
	if (!error) {
		*sample = slice_result(threads, cell->threads);
		add_load(options->load, threads, nr);
	}
	free(threads);
	return error;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *values, size_t nr)
{
	qsort(values, nr, sizeof(*values), compare_doubles);
	return (values[(nr - 1) / 2] + values[nr / 2]) / 2;
}

void bench_show_progress(const struct bench *bench, unsigned int round, unsigned int rounds)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (round < rounds)
		fprintf(stderr, "\r%s: %s: round %u of %u ", bench_suite.program, bench->name,
			round + 1, rounds);
	else
		fprintf(stderr, "\r%60s\r", "");
}

static int report_cell(struct plan_cell *cell, const struct bench *bench,
		       const struct bench_options *options, json_t *results)
{
	double items = cell->cell.items ? cell->cell.items : 1;
	double value = bench_median(cell->samples, options->rounds) / items;

	if (cell->cell.rate)
		value = round((double)cell->cell.threads * 1e9 / value);
	else
		value = round(value * 100) / 100;
	if (json_object_set_new(cell->row, bench->value, json_real(value)) ||
	    json_array_append(results, cell->row))
		return -ENOMEM;
	return 0;
}

static int fail_cell(const struct plan_cell *cell, const struct bench *bench, int error)
{
	char *labels = json_dumps(cell->row, JSON_COMPACT);

	bench_fail(bench, error, "%s", labels ? labels : "?");
	free(labels);
	return error;
}

static int measure_rounds(struct bench_plan *plan, const struct bench *bench,
			  const struct bench_options *options)
{
	struct slice slice = {
		.warm_up_ns = options->quick ? 100000 : 2000000,
		.measure_ns = options->quick ? 500000 : 20000000,
	};

	for (unsigned int r = 0; r < options->rounds; r++) {
		bench_show_progress(bench, r, options->rounds);
		for (size_t i = 0; i < plan->nr; i++) {
			struct plan_cell *cell = &plan->cells[i];
			int error = 0;

			if (cell->cell.prepare)
				error = cell->cell.prepare(cell->cell.ctx);
			if (!error)
				error = run_slice(&slice, &cell->cell, options, &cell->samples[r]);
			if (error)
				return fail_cell(cell, bench, error);
		}
	}
	bench_show_progress(bench, options->rounds, options->rounds);
	return 0;
}

int bench_plan_measure(struct bench_plan *plan, const struct bench *bench,
		       const struct bench_options *options, json_t *results)
{
	int error;

	for (size_t i = 0; i < plan->nr; i++) {
		plan->cells[i].samples = calloc(options->rounds, sizeof(double));
		if (!plan->cells[i].samples)
			return fail_cell(&plan->cells[i], bench, -ENOMEM);
	}
	error = measure_rounds(plan, bench, options);
	for (size_t i = 0; !error && i < plan->nr; i++) {
		error = report_cell(&plan->cells[i], bench, options, results);
		if (error)
			fail_cell(&plan->cells[i], bench, error);
	}
	return error;
}
