/* SPDX-License-Identifier: MIT */
/*
 * What the kernel takes for a window's fault and for its zap, by the ways there are to do them: why
 * the library's windows are made by signals and mmap(). Nothing of the library is in this.
 */
#include "bench.h"
#include "bench_raw_window.h"
#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of each thread; the number of mappings stays far below vm.max_map_count. */
#define PAGES 512

static const struct way {
	const char *what;
	enum raw_teller teller;
	bool populate;
	bool neighbours;
	bool reprotects;
} ways[] = {
	{ "mmap, access", RAW_TOLD_NOBODY, true, false, false },
	{ "mmap, access (not populated)", RAW_TOLD_NOBODY, false, false, false },
	{ "SIGSEGV, mmap", RAW_TOLD_BY_SIGNAL, true, false, false },
	{ "SIGSEGV, mmap (not populated)", RAW_TOLD_BY_SIGNAL, false, false, false },
	{ "SIGSEGV, mmap (neighbours)", RAW_TOLD_BY_SIGNAL, true, true, false },
	{ "SIGSEGV, mprotect", RAW_TOLD_BY_SIGNAL, true, false, true },
	{ "userfaultfd, thread, mmap", RAW_TOLD_BY_USERFAULTFD, true, false, false },
	{ "userfaultfd, SIGBUS, mmap", RAW_TOLD_BY_SIGBUS, true, false, false },
};

#define NR_WAYS (sizeof(ways) / sizeof(ways[0]))

/* @busy: another thread uses the window, which each zap interrupts. */
static const struct zapping {
	const char *what;
	enum raw_teller teller;
	enum raw_zap how;
	unsigned int pages;
	bool neighbours;
	bool busy;
} zappings[] = {
	{ "zap, mmap", RAW_TOLD_NOBODY, RAW_ZAP_MMAP, 1, false, false },
	{ "zap, mprotect", RAW_TOLD_NOBODY, RAW_ZAP_MPROTECT, 1, false, false },
	{ "zap, munmap", RAW_TOLD_NOBODY, RAW_ZAP_MUNMAP, 1, false, false },
	{ "zap, mmap, userfaultfd", RAW_TOLD_BY_SIGBUS, RAW_ZAP_MMAP, 1, false, false },
	{ "zap 64, mmap", RAW_TOLD_NOBODY, RAW_ZAP_MMAP, 64, false, false },
	{ "zap 64, mprotect", RAW_TOLD_NOBODY, RAW_ZAP_MPROTECT, 64, false, false },
	{ "zap 64, munmap", RAW_TOLD_NOBODY, RAW_ZAP_MUNMAP, 64, false, false },
	{ "zap 64, mmap (neighbours)", RAW_TOLD_NOBODY, RAW_ZAP_MMAP, 64, true, false },
	{ "zap, mmap, others busy", RAW_TOLD_NOBODY, RAW_ZAP_MMAP, 1, false, true },
	{ "zap, mprotect, others busy", RAW_TOLD_NOBODY, RAW_ZAP_MPROTECT, 1, false, true },
	{ "zap, munmap, others busy", RAW_TOLD_NOBODY, RAW_ZAP_MUNMAP, 1, false, true },
};

#define NR_ZAPPINGS (sizeof(zappings) / sizeof(zappings[0]))

struct setup {
	struct raw_window window;
	const struct zapping *zapping;
};

#define MOST_SETUPS (NR_WAYS * BENCH_MAX_CPUS + NR_ZAPPINGS)

struct setups {
	struct setup setup[MOST_SETUPS];
	unsigned int nr;
};

static int unmap_all(const struct raw_window *window, size_t first)
{
	int error = 0;

	if (!window->reprotects)
		return raw_window_zap(window, first, PAGES, RAW_ZAP_MMAP);
	for (size_t page = first; !error && page < first + PAGES; page++)
		error = raw_window_map(window, page);
	return error ? error : raw_window_zap(window, first, PAGES, RAW_ZAP_MPROTECT);
}

/* The thread's pages, one after the other; when all are mapped, none is. */
static int run_faults(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	size_t first = (size_t)worker->index * PAGES;
	int error = 0;

	raw_window_use(&setup->window);
	for (uint64_t i = 0; !error && i < n; i++) {
		size_t at = (worker->done + i) % PAGES;
		uint64_t begin = clock_ns();

		if (!at)
			error = unmap_all(&setup->window, first);
		if (!at)
			worker->excluded_ns += clock_ns() - begin;
		if (!error && setup->window.teller == RAW_TOLD_NOBODY)
			error = raw_window_map(&setup->window, first + at);
		if (!error)
			worker->sink += *raw_window_page(&setup->window, first + at);
	}
	raw_window_use(NULL);
	return error;
}

/* All pages are mapped, and have been used: one that is not in the page table is nothing to zap. */
static int map_all(struct bench_worker *worker, const struct raw_window *window)
{
	uint64_t begin = clock_ns();
	int error = 0;

	for (size_t page = 0; !error && page < PAGES; page++) {
		error = raw_window_map(window, page);
		if (!error)
			worker->sink += *raw_window_page(window, page);
	}
	worker->excluded_ns += clock_ns() - begin;
	return error;
}

static int run_zaps(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	unsigned int pages = setup->zapping->pages;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		size_t page = (worker->done + i) * pages % PAGES;

		if (!page)
			error = map_all(worker, &setup->window);
		if (!error)
			error = raw_window_zap(&setup->window, page, pages, setup->zapping->how);
	}
	return error;
}

/* Of a thread that is busy: the page behind those that come and go. */
static int run_loads(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;

	for (uint64_t i = 0; i < n; i++)
		worker->sink += raw_window_page(&setup->window, PAGES)[i % 512];
	return 0;
}

/* Sets *@skipped where the kernel has no userfaultfd for us. */
static int set_up(struct setups *setups, const struct raw_window *window, bool *skipped)
{
	struct setup *setup = &setups->setup[setups->nr++];
	int error;

	setup->window = *window;
	error = raw_window_create(&setup->window);
	*skipped = error == -EPERM || error == -ENOSYS;
	if (*skipped) {
		raw_window_destroy(&setup->window);
		setups->nr--;
		return 0;
	}
	return error ? bench_fail(&bench_window_ways, error, "cannot make a window") : 0;
}

static int add_row(struct bench_plan *plan, const struct bench_cell *cell, const char *what,
		   unsigned int threads)
{
	int error = bench_plan_add(plan, cell, json_pack("{s:s, s:i}", "what", what, "threads",
							 (int)threads));

	return error ? bench_fail(&bench_window_ways, error, "cannot plan the rounds") : 0;
}

static int plan_way(struct bench_plan *plan, struct setups *setups, const struct way *way,
		    unsigned int threads, bool *skipped)
{
	struct setup *setup = &setups->setup[setups->nr];
	const struct bench_cell cell = { .run = run_faults, .ctx = setup, .threads = threads };
	const struct raw_window window = {
		.teller = way->teller,
		.populate = way->populate,
		.neighbours = way->neighbours,
		.reprotects = way->reprotects,
		.pages = (size_t)threads * PAGES,
	};
	bool not_here;
	int error = set_up(setups, &window, &not_here);

	*skipped = *skipped || not_here;
	return error || not_here ? error : add_row(plan, &cell, way->what, threads);
}

static int plan_zapping(struct bench_plan *plan, struct setups *setups,
			const struct zapping *zapping, const struct bench_options *options)
{
	struct setup *setup = &setups->setup[setups->nr];
	const struct bench_cell cell = {
		.run = run_zaps,
		.storm = zapping->busy ? run_loads : NULL,
		.ctx = setup,
		.threads = 1,
	};
	const struct raw_window window = {
		.teller = zapping->teller,
		.populate = true,
		.neighbours = zapping->neighbours,
		.pages = PAGES,
	};
	bool not_here;
	int error;

	if (zapping->busy && options->nr_cpus < 2)
		return 0;
	setup->zapping = zapping;
	error = set_up(setups, &window, &not_here);
	if (error || not_here)
		return error;
	error = raw_window_map(&setup->window, PAGES);
	return error ? bench_fail(&bench_window_ways, error, "cannot map a page")
		     : add_row(plan, &cell, zapping->what, 1);
}

static int plan_all(struct bench_plan *plan, struct setups *setups,
		    const struct bench_options *options)
{
	bool skipped = false;
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_WAYS * options->nr_threads; i++) {
		unsigned int threads = options->threads[i % options->nr_threads];

		if (bench_is_end(options, threads))
			error = plan_way(plan, setups, &ways[i / options->nr_threads], threads,
					 &skipped);
	}
	for (unsigned int i = 0; !error && i < NR_ZAPPINGS; i++)
		error = plan_zapping(plan, setups, &zappings[i], options);
	if (skipped)
		fprintf(stderr, "%s: %s: without userfaultfd, which this process may not use\n",
			bench_suite.program, bench_window_ways.name);
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setups *setups = calloc(1, sizeof(*setups));
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (!setups || !plan || raw_window_begin_signals()) {
		free(setups);
		bench_plan_destroy(plan);
		return bench_fail(&bench_window_ways, -ENOMEM, "cannot begin");
	}
	error = plan_all(plan, setups, options);
	if (!error)
		error = bench_plan_measure(plan, &bench_window_ways, options, results);
	for (unsigned int i = 0; i < setups->nr; i++)
		raw_window_destroy(&setups->setup[i].window);
	raw_window_end_signals();
	bench_plan_destroy(plan);
	free(setups);
	return error;
}

const struct bench bench_window_ways = {
	.name = "window-ways",
	.title = "a window's fault and zap in the ways the kernel has, in ns, by threads",
	.row_keys = { "what" },
	.column = "threads",
	.value = "ns",
	.run = run,
};
