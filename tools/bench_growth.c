/* SPDX-License-Identifier: MIT */
/*
 * How the costs of unrelated pairs grow where the gate benchmark does not go: with pairs inside
 * pairs, with more threads than the table of invalidations in flight has entries, with memslots so
 * near to the range that the first look at the address cannot tell, and, the other way round, what
 * pairs in flight add to a memslot update. All under the range gate: it is its growth.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST_VMS 4096
#define MOST_OPEN 1024
#define MOST_ADDED 64

/* More threads than CPUs, so that some are preempted with their pair open. */
#define MOST_THREADS_PER_CPU 4

static const unsigned int depths[] = { 1, 2, 4, 8, 16, 64 };
static const unsigned int table_entries[] = { 2, 4, 256 };
static const unsigned int slot_counts[] = { 32, 512, 4096, 32000 };
static const unsigned int vm_counts[] = { 1, 16, 256, MOST_VMS };
static const unsigned int open_counts[] = { 0, 1, 16, 256, MOST_OPEN };

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define NR_SETUPS                                                                                  \
	(LENGTH(depths) + LENGTH(table_entries) + LENGTH(slot_counts) + LENGTH(vm_counts) +        \
	 LENGTH(open_counts))

/* Memslots of one page with a page between any two, far from what the kernel maps. */
#define FIRST_HVA (UINT64_C(1) << 40)

/* How many gaps are chosen beforehand; a power of two. */
#define CHOICES 4096

/*
 * @nr_open: how many pairs are open around what is measured, in @open.
 * @gap:     host addresses of pages between memslots.
 * @pairs:   one list for each thread.
 */
struct setup {
	struct s2_mm *mm;
	struct s2_vm *vms[MOST_VMS];
	unsigned int nr_open;
	struct s2_invalidation open[MOST_OPEN];
	uint64_t gap[CHOICES];
	const struct bench_pairs *pairs;
};

static int open_pairs(struct setup *setup)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < setup->nr_open; i++)
		error = s2_invalidate_range_start(setup->mm, &setup->open[i],
						  setup->pairs[0].range[i].start,
						  setup->pairs[0].range[i].end, 0);
	return error;
}

static void close_pairs(struct setup *setup)
{
	for (unsigned int i = setup->nr_open; i > 0; i--)
		s2_invalidate_range_end(setup->mm, &setup->open[i - 1]);
}

static int run_nested(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	uint64_t begin = clock_ns();
	int error = open_pairs(setup);

	worker->excluded_ns += clock_ns() - begin;
	if (!error)
		error = bench_pairs_run(setup->pairs, setup->mm, worker->done, n);
	begin = clock_ns();
	close_pairs(setup);
	worker->excluded_ns += clock_ns() - begin;
	return error;
}

static int run_threads(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;

	return bench_pairs_run(&setup->pairs[worker->index], setup->mm, worker->done, n);
}

static int run_beside(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	struct s2_invalidation inv;

	for (uint64_t i = worker->done; i < worker->done + n; i++) {
		uint64_t gap = setup->gap[i % CHOICES];
		int error = s2_invalidate_range_start(setup->mm, &inv, gap, gap + S2_PAGE_SIZE, 0);

		if (error)
			return error;
		s2_invalidate_range_end(setup->mm, &inv);
	}
	return 0;
}

/* Adds memslots @first to @last - 1, or with 0 @pages deletes them. */
static int set_slots(struct s2_vm *vm, uint32_t first, uint32_t last, uint64_t pages)
{
	int error = 0;

	for (uint32_t i = first; !error && i < last; i++)
		error = bench_set_memslot(vm, i, i * 2, pages, FIRST_HVA + i * 2 * S2_PAGE_SIZE);
	return error;
}

/*
 * The pairs are opened by the thread that adds, which therefore looks more closely at each than at
 * another's. They are closed again and again, as what an update replaces stays until then.
 */
static int run_adds(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	uint64_t begin = clock_ns();
	int error = open_pairs(setup);

	worker->excluded_ns += clock_ns() - begin;
	for (uint64_t done = 0; !error && done < n;) {
		uint32_t some = n - done < MOST_ADDED ? (uint32_t)(n - done) : MOST_ADDED;

		error = set_slots(setup->vms[0], 1, 1 + some, 1);
		begin = clock_ns();
		if (!error)
			error = set_slots(setup->vms[0], 1, 1 + some, 0);
		worker->excluded_ns += clock_ns() - begin;
		done += some;
	}
	begin = clock_ns();
	close_pairs(setup);
	worker->excluded_ns += clock_ns() - begin;
	return error;
}

static void choose_gaps(struct setup *setup, unsigned int nr_slots)
{
	uint64_t random = nr_slots;

	for (unsigned int i = 0; i < CHOICES; i++)
		setup->gap[i] =
			FIRST_HVA + (bench_random(&random) % nr_slots * 2 + 1) * S2_PAGE_SIZE;
}

/* @nr_vms VMs that share @nr_slots memslots; or one with a chunk, if there are none. */
static int set_up(struct setup *setup, unsigned int nr_entries, unsigned int nr_vms,
		  unsigned int nr_slots)
{
	const struct s2_mm_config config = { .inflight_entries = nr_entries };
	int error = s2_mm_create(&config, &setup->mm);

	for (unsigned int i = 0; !error && i < nr_vms; i++) {
		uint64_t first = (uint64_t)nr_slots * i / nr_vms;
		uint64_t last = (uint64_t)nr_slots * (i + 1) / nr_vms;

		error = s2_vm_create(setup->mm, NULL, &setup->vms[i]);
		if (!error)
			error = set_slots(setup->vms[i], (uint32_t)first, (uint32_t)last, 1);
	}
	if (!error && !nr_slots)
		error = bench_set_memslot(setup->vms[0], 0, 0, BENCH_CHUNK_SIZE / S2_PAGE_SIZE,
					  bench_guest_chunk(0));
	if (nr_slots)
		choose_gaps(setup, nr_slots);
	if (error)
		bench_fail(&bench_growth, error, "cannot create %u VMs with %u memslots", nr_vms,
			   nr_slots);
	return error;
}

static void take_down(struct setup *setup)
{
	for (unsigned int i = 0; i < MOST_VMS; i++)
		s2_vm_put(setup->vms[i]);
	s2_mm_put(setup->mm);
}

static int plan(struct bench_plan *plan, struct setup *setup, bench_run_fn *run,
		unsigned int threads, const char *what, unsigned int size)
{
	const struct bench_cell cell = { .run = run, .ctx = setup, .threads = threads };
	int error = bench_plan_add(plan, &cell,
				   json_pack("{s:s, s:i}", "what", what, "size", (int)size));

	return error ? bench_fail(&bench_growth, error, "cannot plan the rounds") : 0;
}

/* Returns the next setup that is free, or NULL. */
static int plan_alone(struct bench_plan *rounds, struct setup **next)
{
	struct setup *setup = *next;
	int error = 0;

	for (unsigned int i = 0; !error && i < LENGTH(depths); i++, setup++) {
		setup->nr_open = depths[i] - 1;
		error = set_up(setup, 0, 1, 0);
		if (!error)
			error = plan(rounds, setup, run_nested, 1, "nested pair", depths[i]);
	}
	for (unsigned int i = 0; !error && i < LENGTH(slot_counts); i++, setup++) {
		error = set_up(setup, 0, 1, slot_counts[i]);
		if (!error)
			error = plan(rounds, setup, run_beside, 1, "pair beside memslots",
				     slot_counts[i]);
	}
	for (unsigned int i = 0; !error && i < LENGTH(vm_counts); i++, setup++) {
		error = set_up(setup, 0, vm_counts[i], vm_counts[i]);
		if (!error)
			error = plan(rounds, setup, run_beside, 1, "pair beside VMs", vm_counts[i]);
	}
	for (unsigned int i = 0; !error && i < LENGTH(open_counts); i++, setup++) {
		setup->nr_open = open_counts[i];
		error = set_up(setup, 2 * MOST_OPEN, 1, 1);
		if (!error)
			error = plan(rounds, setup, run_adds, 1, "memslot add, pairs in flight",
				     open_counts[i]);
	}
	*next = setup;
	return error;
}

static int plan_threads(struct bench_plan *rounds, struct setup **next,
			const struct bench_options *options)
{
	struct setup *setup = *next;
	int error = 0;

	for (unsigned int i = 0; !error && i < LENGTH(table_entries); i++, setup++) {
		unsigned int threads = 1;
		char what[48];

		snprintf(what, sizeof(what), "thread's pair, table of %u", table_entries[i]);
		error = set_up(setup, table_entries[i], 1, 0);
		for (; !error && threads <= MOST_THREADS_PER_CPU * options->nr_cpus; threads *= 2)
			error = plan(rounds, setup, run_threads, threads, what, threads);
	}
	*next = setup;
	return error;
}

/* Threads that wait for each other's CPU are part of the measurement, and no other work. */
static int measure_threads(struct bench_plan *rounds, struct bench_options options, json_t *results)
{
	options.load = NULL;
	return bench_plan_measure(rounds, &bench_growth, &options, results);
}

static int run(const struct bench_options *options, json_t *results)
{
	unsigned int nr_lists = MOST_THREADS_PER_CPU * options->nr_cpus;
	struct setup *setups = calloc(NR_SETUPS, sizeof(*setups)), *next = setups;
	struct bench_pairs *pairs = calloc(nr_lists, sizeof(*pairs));
	struct bench_plan *alone = bench_plan_create(), *threads = bench_plan_create();
	int error;

	if (setups && pairs && alone && threads) {
		for (unsigned int i = 0; i < nr_lists; i++)
			bench_pairs_fill(&pairs[i], i + 1);
		for (unsigned int i = 0; i < NR_SETUPS; i++)
			setups[i].pairs = pairs;
		error = plan_alone(alone, &next);
		if (!error)
			error = plan_threads(threads, &next, options);
		if (!error)
			error = bench_plan_measure(alone, &bench_growth, options, results);
		if (!error)
			error = measure_threads(threads, *options, results);
	} else {
		error = bench_fail(&bench_growth, -ENOMEM, "cannot begin");
	}
	for (unsigned int i = 0; setups && i < NR_SETUPS; i++)
		take_down(&setups[i]);
	bench_plan_destroy(threads);
	bench_plan_destroy(alone);
	free(pairs);
	free(setups);
	return error;
}

const struct bench bench_growth = {
	.name = "growth",
	.title = "what grows with what under range, in ns",
	.row_keys = { "what", "size" },
	.value = "ns",
	.run = run,
};
