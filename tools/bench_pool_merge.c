/* SPDX-License-Identifier: MIT */
/*
 * The scanner for equal pages: pages it looks at per second, when there is nothing to be found,
 * when each is merged, and when all have been. Beside it, as the least that can be done with a page,
 * copying it: the scanner reads one, or compares it with another.
 *
 * A page is merged when the scanner finds it as it was the time before. So each operation is one
 * pass over the pages of all VMs; where they are to be merged, they are written to before it and
 * looked at once, in time that is not counted.
 */
#include "bench.h"
#include "bench_pool_guest.h"
#include "bench_pool_limits.h"
#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of all VMs together: 16 MiB. */
#define PAGES 4096
#define QUICK_PAGES 256

#define MOST_VMS 64

static const unsigned int vm_counts[] = { 4, MOST_VMS };

#define NR_VM_COUNTS (sizeof(vm_counts) / sizeof(vm_counts[0]))

enum merge_op { DIFFER, MERGE, MERGED, NR_OPS };

static const char *const op_names[NR_OPS] = { "all differ", "are merged", "have been merged" };

/* A pool with VMs that have equal pages, or of which all differ. */
struct setup {
	struct s2_pool *pool;
	enum merge_op op;
	unsigned int vms;
	uint64_t pages; /* of each */
	struct bench_guest guests[MOST_VMS];
};

struct setups {
	struct setup setup[NR_OPS * NR_VM_COUNTS];
	struct bench_limit *limit;
};

static uint64_t all_pages(const struct setup *setup)
{
	return setup->vms * setup->pages;
}

/* As a guest's writing would take them apart. */
static int write_all(struct setup *setup)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < setup->vms; i++)
		error = bench_guest_write_all(&setup->guests[i]);
	return error;
}

static int64_t pass(struct setup *setup)
{
	return s2_pool_merge(setup->pool, all_pages(setup));
}

/* Returns how many frames came free in the looking, or a negative errno. */
static int64_t make_ready(struct bench_worker *worker, struct setup *setup)
{
	uint64_t begin = clock_ns();
	int64_t ret = write_all(setup);

	if (!ret)
		ret = pass(setup);
	worker->excluded_ns += clock_ns() - begin;
	return ret;
}

/* Most of the pages have to be merged, or something else has been measured. */
static int run_merge(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;

	for (uint64_t i = 0; i < n; i++) {
		int64_t before = make_ready(worker, setup);
		int64_t freed = before < 0 ? before : pass(setup);

		if (freed < 0)
			return (int)freed;
		if (before + freed < (int64_t)(all_pages(setup) / 2))
			return -EPROTO;
	}
	return 0;
}

static int run_pass(struct bench_worker *worker, uint64_t n)
{
	int64_t ret = 0;

	for (uint64_t i = 0; ret >= 0 && i < n; i++)
		ret = pass(worker->ctx);
	return ret < 0 ? (int)ret : 0;
}

static int run_limit(struct bench_worker *worker, uint64_t n)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++)
		error = bench_limit_out(worker->ctx, worker->index, &worker->sink);
	return error;
}

static int set_up_guest(struct setup *setup, unsigned int i)
{
	struct bench_guest *guest = &setup->guests[i];
	int error = bench_guest_create(guest, setup->pool, setup->pages, 1);

	if (!error)
		error = s2_pool_advise(setup->pool, guest->hva, setup->pages * S2_PAGE_SIZE,
				       S2_POOL_MERGE);
	if (!error)
		error = bench_guest_fill(guest, setup->op == DIFFER ? i * setup->pages : 0);
	return error;
}

static int set_up(struct setup *setup, unsigned int i, uint64_t pages)
{
	struct s2_pool_config config = { .size = 2 * pages * S2_PAGE_SIZE };
	int error;
	int64_t ret = 0;

	setup->op = i / NR_VM_COUNTS;
	setup->vms = vm_counts[i % NR_VM_COUNTS];
	setup->pages = pages / setup->vms;
	error = bench_pool_create(&bench_pool_merge, &config, pages, &setup->pool);
	if (error)
		return error;
	for (unsigned int vm = 0; !error && vm < setup->vms; vm++)
		error = set_up_guest(setup, vm);
	/* The first pass may be the one that gets to know the pages. */
	for (unsigned int round = 0; !error && ret >= 0 && round < 3; round++)
		ret = pass(setup);
	if (!error && ret < 0)
		error = (int)ret;
	return error ? bench_fail(&bench_pool_merge, error, "cannot set up %u VMs", setup->vms) : 0;
}

static void take_down(struct setups *setups)
{
	for (unsigned int i = 0; i < NR_OPS * NR_VM_COUNTS; i++) {
		struct setup *setup = &setups->setup[i];

		for (unsigned int vm = 0; vm < setup->vms; vm++)
			bench_guest_destroy(&setup->guests[vm]);
		s2_pool_destroy(setup->pool);
	}
	bench_limit_destroy(setups->limit);
	free(setups);
}

static int plan_row(struct bench_plan *plan, bench_run_fn *run, void *ctx, const char *what,
		    unsigned int vms, uint64_t pages)
{
	const struct bench_cell cell = {
		.run = run, .ctx = ctx, .threads = 1, .items = (unsigned int)pages, .rate = true
	};

	return bench_plan_add(plan, &cell,
			      json_pack("{s:s, s:i}", "pages", what, "vms", (int)vms));
}

static int set_up_all(struct bench_plan *plan, struct setups *setups, uint64_t pages)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_OPS * NR_VM_COUNTS; i++) {
		struct setup *setup = &setups->setup[i];

		error = set_up(setup, i, pages);
		if (!error)
			error = plan_row(plan, setup->op == MERGE ? run_merge : run_pass, setup,
					 op_names[setup->op], setup->vms, pages);
	}
	if (!error)
		error = bench_limit_create(0, 1, pages, &setups->limit);
	for (unsigned int i = 0; !error && i < NR_VM_COUNTS; i++)
		error = plan_row(plan, run_limit, setups->limit, bench_limit_name(0), vm_counts[i],
				 pages);
	return error;
}

/* But for pages that have been merged, which are not looked at. */
static int add_ratios(const json_t *results)
{
	int error = 0;
	json_t *row;
	size_t i;

	json_array_foreach (results, i, row) {
		json_t *vms = json_object_get(row, "vms");
		const char *what = json_string_value(json_object_get(row, "pages"));

		if (!error && (!strcmp(what, op_names[DIFFER]) || !strcmp(what, op_names[MERGE])))
			error = bench_limit_add_ratio(results, row, "pages_per_s",
						      json_pack("{s:s, s:O}", "pages",
								bench_limit_name(0), "vms", vms));
	}
	return error ? bench_fail(&bench_pool_merge, error, "cannot report") : 0;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setups *setups = calloc(1, sizeof(*setups));
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (!setups || !plan) {
		free(setups);
		bench_plan_destroy(plan);
		return bench_fail(&bench_pool_merge, -ENOMEM, "cannot begin");
	}
	error = set_up_all(plan, setups, options->quick ? QUICK_PAGES : PAGES);
	if (!error)
		error = bench_plan_measure(plan, &bench_pool_merge, options, results);
	if (!error)
		error = add_ratios(results);
	bench_plan_destroy(plan);
	take_down(setups);
	return error;
}

const struct bench bench_pool_merge = {
	.name = "pool-merge",
	.title = "pages per second that the scanner for equal pages looks at, which differ, are "
		 "merged, or have been, by VMs (and how much of memcpy's that is)",
	.row_keys = { "pages" },
	.column = "vms",
	.value = "pages_per_s",
	.also = "of_limit",
	.run = run,
};
