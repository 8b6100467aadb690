/* SPDX-License-Identifier: MIT */
/*
 * What the benchmarks share: the options, the loop that measures, and the goals. A benchmark
 * (bench_*.c) sets up everything it compares, hands it over as one plan, and takes it down again:
 * the rounds go over the whole plan, so that whatever disturbs the machine for a while disturbs all
 * that is compared, and ratios within one run hold where the numbers themselves do not.
 */
#ifndef STAGE2_TOOLS_BENCH_H
#define STAGE2_TOOLS_BENCH_H

#include <jansson.h>
#include <stage2/stage2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_MAX_CPUS 256
#define BENCH_ROW_KEYS 3

/* Of the time that was measured, all threads taken together, how much they waited for a CPU. */
struct bench_load {
	uint64_t measured_ns;
	uint64_t waited_ns;
};

/*
 * @gates:   mask of 1 << gate.
 * @threads: how many threads to measure with; each is at most @nr_cpus.
 * @cpus:    the CPUs this process may run on; thread n is pinned to cpus[n].
 * @dir:     where to make files.
 * @load:    where to add up how much other work was in the way; may be NULL.
 */
struct bench_options {
	bool quick;
	unsigned int rounds;
	unsigned int gates;
	unsigned int threads[BENCH_MAX_CPUS];
	unsigned int nr_threads;
	unsigned int cpus[BENCH_MAX_CPUS];
	unsigned int nr_cpus;
	const char *dir;
	struct bench_load *load;
};

/*
 * The least and the largest of the numbers of threads that are asked for, where measuring with each
 * would take too long.
 */
bool bench_is_end(const struct bench_options *options, unsigned int threads);

/*
 * One thread of a measurement, as its run() sees it.
 *
 * @done:        operations before this call, since the measurement's beginning.
 * @excluded_ns: run() adds what it spent on preparing the operations.
 * @sink:        run() adds what it read, so that the compiler cannot leave the reading out.
 */
struct bench_worker {
	void *ctx;
	unsigned int index;
	uint64_t done;
	uint64_t excluded_ns;
	uint64_t sink;
};

/* Does @n operations; a negative errno ends the benchmark. */
typedef int bench_run_fn(struct bench_worker *worker, uint64_t n);

/* Makes ready for a slice of a cell; a negative errno ends the benchmark. */
typedef int bench_prepare_fn(void *ctx);

/*
 * One number of the report: @run on @threads threads at once, with ctx for their worker's.
 *
 * @storm:   NULL, or what more threads, on CPUs of their own, do meanwhile; their indices are
 *           @threads and on.
 * @storms:  how many such threads; 0 is one.
 * @prepare: NULL, or called before each slice, and not measured: for cells of which each needs the
 *           process in another state, and which could otherwise not be in the same rounds.
 * @beside:  NULL, or what the thread does in turns with it, some microseconds each; what is
 *           reported is how many times as long as that one it takes. Where a ratio is what matters:
 *           the clock of a machine may be another one from one slice to the next.
 * @rate:    report operations per second of all threads instead of one thread's ns for each.
 * @items:   how many of what is reported an operation does; 0 is one.
 */
struct bench_cell {
	bench_run_fn *run;
	bench_run_fn *storm;
	bench_prepare_fn *prepare;
	const struct bench_cell *beside;
	void *ctx;
	unsigned int threads;
	unsigned int storms;
	unsigned int items;
	bool rate;
};

/* The cells of one benchmark, in the order in which each round measures them. */
struct bench_plan;

struct bench_plan *bench_plan_create(void);
void bench_plan_destroy(struct bench_plan *plan);

/* @row: the row of the report this number belongs to, taken over; NULL means out of memory. */
int bench_plan_add(struct bench_plan *plan, const struct bench_cell *cell, json_t *row);

/*
 * Measures all cells and appends their rows, completed with the median of the rounds, to @results.
 * Reports what goes wrong, and returns it as a negative errno.
 */
struct bench;
int bench_plan_measure(struct bench_plan *plan, const struct bench *bench,
		       const struct bench_options *options, json_t *results);

/* On a terminal, which round of @bench begins; @round == @rounds ends it. */
void bench_show_progress(const struct bench *bench, unsigned int round, unsigned int rounds);

/* Reorders @values. The mean of the middle two if there is no middle one. */
double bench_median(double *values, size_t nr);

/*
 * A benchmark.
 *
 * @title:     what is measured, in which unit: the line above the table.
 * @row_keys:  of the rows' keys, those that make a line of the table; NULL behind the last.
 * @column:    and the one that makes its columns; NULL if there is to be one, of the numbers.
 * @value:     the key of the number itself.
 * @also:      NULL, or the key of another one, which the table has behind it in parentheses.
 * @run:       appends the rows to @results. Reports what goes wrong and returns a negative errno,
 *             or BENCH_SKIPPED if it has said on stderr why it cannot be measured on this machine.
 * @add_goals: adds those of the project's goals that @results has the numbers for; may be NULL.
 */
struct bench {
	const char *name;
	const char *title;
	const char *row_keys[BENCH_ROW_KEYS];
	const char *column;
	const char *value;
	const char *also;
	int (*run)(const struct bench_options *options, json_t *results);
	void (*add_goals)(const json_t *results, json_t *goals);
};

/*
 * The benchmarks of one program, which defines it.
 *
 * @program: its name in what it prints.
 * @about:   argp's doc, with the benchmarks' names.
 * @begin:   NULL, or called once before all benchmarks. Returns the exit status if there is nothing
 *           to be measured, which it has said why on stderr, in one line; otherwise 0.
 * @benches: ends with NULL.
 */
struct bench_suite {
	const char *program;
	const char *about;
	int (*begin)(void);
	const struct bench *const *benches;
};

extern const struct bench_suite bench_suite;

/* The exit status of a program whose peer cannot be had on this machine, as Meson and autotools. */
#define BENCH_SKIPPED 77

/* What main() does. Returns the exit status: 0, 1, 2 for a wrong option, or BENCH_SKIPPED. */
int bench_main(int argc, char **argv);

/* Those of stage2 bench. */
extern const struct bench bench_gate;
extern const struct bench bench_access;
extern const struct bench bench_fault;
extern const struct bench bench_slots;
extern const struct bench bench_growth;
extern const struct bench bench_invalidate;
extern const struct bench bench_shootdown;
extern const struct bench bench_dirty;
extern const struct bench bench_memory;
extern const struct bench bench_pool_swap;
extern const struct bench bench_pool_fault;
extern const struct bench bench_pool_access;
extern const struct bench bench_pool_merge;
extern const struct bench bench_pool_clone;
extern const struct bench bench_pool_memory;
extern const struct bench bench_window;
extern const struct bench bench_window_ways;

/* Prints "PROGRAM: NAME: what: why" on stderr and returns @error, a negative errno. */
int bench_fail(const struct bench *bench, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The number @key of the row whose members equal all of @labels, which is consumed; 0 if there is
 * no such row.
 */
double bench_value(const json_t *results, const char *key, json_t *labels);

enum bench_bound { BENCH_AT_MOST, BENCH_AT_LEAST };

/*
 * Adds {"goal","value","limit","met"}, unless @value is 0 or not a number, which means that this
 * run did not measure it. @unit goes after the limit, @what after that.
 */
void bench_add_goal(json_t *goals, double value, enum bench_bound bound, double limit,
		    const char *unit, const char *what);

#endif
