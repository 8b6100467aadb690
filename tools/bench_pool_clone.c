/* SPDX-License-Identifier: MIT */
/*
 * Clones of a region of 64 MiB: how long one takes when all pages are resident, or swapped, or
 * shared with so many clones; how long it takes to unmap one; the first write to one of its pages,
 * beside the copy of a page; and, as bench_memory.c counts it, how much memory each takes.
 */
#include "bench.h"
#include "bench_allocator.h"
#include "bench_pairs.h"
#include "bench_pool_guest.h"
#include "bench_pool_limits.h"
#include "clock.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define PAGES 16384
#define QUICK_PAGES 256

#define MOST_CLONES 1000

static const unsigned int clone_counts[] = { 1, 10, 100, MOST_CLONES };

#define NR_CLONE_COUNTS (sizeof(clone_counts) / sizeof(clone_counts[0]))

/*
 * A pool with a guest, and clones of its memory.
 *
 * @bytes: what the library has of the allocator.
 * @next:  the page of the clone that is written to next.
 */
struct setup {
	_Atomic uint64_t bytes;
	struct s2_allocator allocator;
	struct s2_pool *pool;
	struct bench_guest guest;
	uint64_t clones[MOST_CLONES];
	unsigned int nr_clones;
	uint64_t pages;
	uint64_t next;
};

/* Of pages that nothing shares, and of those that so many clones do. */
enum { OWN, SHARED, NR_SETUPS = SHARED + NR_CLONE_COUNTS };

struct setups {
	struct setup setup[NR_SETUPS];
	struct bench_limit *limit;
};

static int clone(struct setup *setup, uint64_t *hva)
{
	return s2_pool_clone(setup->pool, NULL, setup->guest.hva, hva);
}

typedef int make_ready_fn(const struct bench_guest *guest);

/* One clone of pages that @make_ready has left; unmapping it is not counted. */
static int run_clone_of(struct bench_worker *worker, uint64_t n, make_ready_fn *make_ready)
{
	struct setup *setup = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns(), hva;

		if (make_ready)
			error = make_ready(&setup->guest);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = clone(setup, &hva);
		begin = clock_ns();
		if (!error)
			error = s2_pool_unmap(setup->pool, hva);
		worker->excluded_ns += clock_ns() - begin;
	}
	return error;
}

static int run_resident(struct bench_worker *worker, uint64_t n)
{
	return run_clone_of(worker, n, bench_guest_write_all);
}

static int write_and_swap_out(const struct bench_guest *guest)
{
	int error = bench_guest_write_all(guest);

	return error ? error : bench_guest_swap_out(guest);
}

static int run_swapped(struct bench_worker *worker, uint64_t n)
{
	return run_clone_of(worker, n, write_and_swap_out);
}

static int run_shared(struct bench_worker *worker, uint64_t n)
{
	return run_clone_of(worker, n, NULL);
}

static int run_unmap(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns(), hva;

		error = clone(setup, &hva);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = s2_pool_unmap(setup->pool, hva);
	}
	return error;
}

/* The last clone is the guest's memory from gfn @pages on. */
static int show_clone(struct setup *setup)
{
	setup->next = 0;
	return bench_set_memslot(setup->guest.vm, 1, setup->pages, setup->pages,
				 setup->clones[setup->nr_clones - 1]);
}

/* Another clone in the place of the last one, of which all pages have been written to. */
static int renew_clone(struct setup *setup)
{
	uint64_t *hva = &setup->clones[setup->nr_clones - 1], old = *hva;
	int error = bench_set_memslot(setup->guest.vm, 1, setup->pages, 0, 0);

	if (!error)
		error = clone(setup, hva);
	if (!error)
		error = show_clone(setup);
	return error ? error : s2_pool_unmap(setup->pool, old);
}

/* Writes to up to @n pages in a row; returns how many, or a negative errno. */
static int64_t write_pages(struct setup *setup, uint64_t n)
{
	struct s2_vcpu *vcpu = setup->guest.vcpus[0];
	uint64_t rest = setup->pages - setup->next;
	int error = s2_vcpu_enter(vcpu);

	n = n < rest ? n : rest;
	for (uint64_t i = 0; !error && i < n; i++) {
		error = s2_vcpu_store64(vcpu, (setup->pages + setup->next++) * S2_PAGE_SIZE, i);
		s2_vcpu_poll(vcpu);
	}
	s2_vcpu_exit(vcpu);
	return error ? error : (int64_t)n;
}

static int run_write(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;

	for (uint64_t done = 0; done < n;) {
		uint64_t begin = clock_ns();
		int64_t written = setup->next == setup->pages ? renew_clone(setup) : 0;

		worker->excluded_ns += clock_ns() - begin;
		if (!written)
			written = write_pages(setup, n - done);
		if (written < 0)
			return (int)written;
		done += (uint64_t)written;
	}
	return 0;
}

static int run_copy(struct bench_worker *worker, uint64_t n)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++)
		error = bench_limit_out(worker->ctx, worker->index, &worker->sink);
	return error;
}

/* Room for the guest, a clone that writes to all of it, and some more. */
static int create_guest(const struct bench *bench, struct setup *setup, uint64_t pages)
{
	struct s2_pool_config config = {
		.size = pages * S2_PAGE_SIZE / 2 * 5,
		.allocator = &setup->allocator,
	};
	int error;

	setup->pages = pages;
	setup->allocator = bench_counting_allocator(&setup->bytes);
	error = bench_pool_create(bench, &config, pages, &setup->pool);
	if (error)
		return error;
	error = bench_guest_create(&setup->guest, setup->pool, pages, 1);
	if (!error)
		error = bench_guest_fill(&setup->guest, 0);
	return error ? bench_fail(bench, error, "cannot set up a guest") : 0;
}

static int create_clones(const struct bench *bench, struct setup *setup, unsigned int nr)
{
	int error = 0;

	while (!error && setup->nr_clones < nr) {
		error = clone(setup, &setup->clones[setup->nr_clones]);
		setup->nr_clones += !error;
	}
	return error ? bench_fail(bench, error, "cannot make clone %u", setup->nr_clones + 1) : 0;
}

/* The memslot of the last clone goes with the guest's VM, and so before the clone. */
static void take_down(struct setup *setup)
{
	bench_guest_destroy(&setup->guest);
	s2_pool_destroy(setup->pool);
}

static int plan_row(struct bench_plan *plan, bench_run_fn *run, void *ctx, const char *what,
		    unsigned int clones, uint64_t items)
{
	const struct bench_cell cell = {
		.run = run, .ctx = ctx, .threads = 1, .items = (unsigned int)items
	};

	return bench_plan_add(plan, &cell,
			      json_pack("{s:s, s:i}", "what", what, "clones", (int)clones));
}

static int set_up_shared(struct bench_plan *plan, struct setup *setup, unsigned int clones,
			 uint64_t pages)
{
	int error = create_guest(&bench_pool_clone, setup, pages);

	if (!error)
		error = create_clones(&bench_pool_clone, setup, clones);
	if (!error)
		error = show_clone(setup);
	if (!error)
		error = plan_row(plan, run_shared, setup, "clone, shared", clones, 1);
	if (!error)
		error = plan_row(plan, run_unmap, setup, "unmap", clones, 1);
	if (!error)
		error = plan_row(plan, run_write, setup, "first write", clones, 1);
	return error;
}

static int set_up(struct bench_plan *plan, struct setups *setups, uint64_t pages)
{
	int error = create_guest(&bench_pool_clone, &setups->setup[OWN], pages);

	if (!error)
		error = plan_row(plan, run_resident, &setups->setup[OWN], "clone, resident", 0, 1);
	if (!error)
		error = plan_row(plan, run_swapped, &setups->setup[OWN], "clone, swapped", 0, 1);
	for (unsigned int i = 0; !error && i < NR_CLONE_COUNTS; i++)
		error = set_up_shared(plan, &setups->setup[SHARED + i], clone_counts[i], pages);
	if (!error)
		error = bench_limit_create(0, 1, pages, &setups->limit);
	if (!error)
		error = plan_row(plan, run_copy, setups->limit, "memcpy of a page", 0, pages);
	return error;
}

static int run_clone(const struct bench_options *options, json_t *results)
{
	struct setups *setups = calloc(1, sizeof(*setups));
	struct bench_plan *plan = bench_plan_create();
	int error = -ENOMEM;

	if (setups && plan)
		error = set_up(plan, setups, options->quick ? QUICK_PAGES : PAGES);
	else
		bench_fail(&bench_pool_clone, error, "cannot begin");
	if (!error)
		error = bench_plan_measure(plan, &bench_pool_clone, options, results);
	bench_plan_destroy(plan);
	for (unsigned int i = 0; setups && i < NR_SETUPS; i++)
		take_down(&setups->setup[i]);
	if (setups)
		bench_limit_destroy(setups->limit);
	free(setups);
	return error;
}

/* What has come since @before is shared out among @nr. */
static int add_bytes(const struct setup *setup, json_t *results, const char *what, uint64_t nr,
		     uint64_t before)
{
	double bytes = (double)(setup->bytes - before) / (double)nr;
	json_t *row = json_pack("{s:s, s:i, s:f}", "what", what, "size", (int)nr, "bytes",
				round(bytes * 100) / 100);

	return row && !json_array_append_new(results, row) ? 0 : -ENOMEM;
}

static int count_bytes(struct setup *setup, uint64_t pages, json_t *results)
{
	int error = create_guest(&bench_pool_memory, setup, pages);
	uint64_t before = setup->bytes;

	if (!error)
		error = add_bytes(setup, results, "pool and guest", 1, 0);
	for (unsigned int i = 0; !error && i < NR_CLONE_COUNTS; i++) {
		error = create_clones(&bench_pool_memory, setup, clone_counts[i]);
		if (!error)
			error = add_bytes(setup, results, "clone", clone_counts[i], before);
	}
	return error;
}

static int run_memory(const struct bench_options *options, json_t *results)
{
	struct setup *setup = calloc(1, sizeof(*setup));
	int error = setup ? 0 : bench_fail(&bench_pool_memory, -ENOMEM, "cannot begin");

	if (setup) {
		error = count_bytes(setup, options->quick ? QUICK_PAGES : PAGES, results);
		take_down(setup);
	}
	free(setup);
	return error;
}

const struct bench bench_pool_clone = {
	.name = "pool-clone",
	.title = "clones of 64 MiB, and a write to a page of one, in ns, by how many there are",
	.row_keys = { "what" },
	.column = "clones",
	.value = "ns",
	.run = run_clone,
};

const struct bench bench_pool_memory = {
	.name = "pool-memory",
	.title = "the library's memory for each clone of 64 MiB, in bytes, of so many",
	.row_keys = { "what", "size" },
	.value = "bytes",
	.run = run_memory,
};
