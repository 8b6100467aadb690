/* SPDX-License-Identifier: MIT */
/*
 * Swapping out and in, by tier and threads: pages per second of all threads, beside what is the
 * least that can be done with the same pages (bench_pool_limits.h).
 *
 * Each thread has a VM with memory of its own, and all VMs are in one pool. An operation is all of
 * that memory, out or in; before each it is brought to where it has to be, in time that is not
 * counted. The pool has room for all of it at once: nothing goes that was not told to.
 */
#include "bench.h"
#include "bench_pages.h"
#include "bench_pool_guest.h"
#include "bench_pool_limits.h"
#include "bench_pool_tiers.h"
#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of each thread: 2 MiB. */
#define PAGES 512
#define QUICK_PAGES 64

#define MOST_TIERS 8

/* What is measured, with a pool and with what is its limit. */
enum swap_op { OUT, IN_ORDER, AT_RANDOM, NR_OPS };

static const char *const op_names[NR_OPS] = { "out", "in, in order", "in, at random" };

/*
 * One pool with one tier, or one of the limits.
 *
 * @server: what the tier may need until the pool is gone.
 * @order:  of the pages at random; shared by all.
 */
struct setup {
	const char *name;
	struct s2_pool *pool;
	struct bench_redis server;
	struct bench_limit *limit;
	const uint32_t *order;
	uint64_t pages;
	unsigned int nr_guests;
	struct bench_guest guests[BENCH_MAX_CPUS];
};

struct setups {
	struct setup setup[MOST_TIERS + BENCH_NR_LIMITS];
	unsigned int nr;
	uint32_t order[PAGES];
};

static int exclude(struct bench_worker *worker, const struct bench_guest *guest,
		   int (*prepare)(const struct bench_guest *))
{
	uint64_t begin = clock_ns();
	int error = prepare(guest);

	worker->excluded_ns += clock_ns() - begin;
	return error;
}

static int run_out(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	const struct bench_guest *guest = &setup->guests[worker->index];
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		int64_t freed;

		error = exclude(worker, guest, bench_guest_write_all);
		freed = s2_memcg_reclaim(guest->memcg, UINT64_MAX, 0);
		if (!error && freed != (int64_t)(guest->pages * S2_PAGE_SIZE))
			error = freed < 0 ? (int)freed : -ENOSPC;
	}
	return error;
}

static int load_all(struct bench_worker *worker, const struct bench_guest *guest,
		    const uint32_t *order)
{
	struct s2_vcpu *vcpu = guest->vcpus[0];
	int error = s2_vcpu_enter(vcpu);
	uint64_t value = 0;

	for (uint64_t i = 0; !error && i < guest->pages; i++) {
		error = s2_vcpu_load64(vcpu, (order ? order[i] : i) * S2_PAGE_SIZE, &value);
		worker->sink += value;
		s2_vcpu_poll(vcpu);
	}
	s2_vcpu_exit(vcpu);
	return error;
}

static int run_in(struct bench_worker *worker, uint64_t n, const uint32_t *order)
{
	struct setup *setup = worker->ctx;
	const struct bench_guest *guest = &setup->guests[worker->index];
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		error = exclude(worker, guest, bench_guest_swap_out);
		if (!error)
			error = load_all(worker, guest, order);
	}
	return error;
}

static int run_in_order(struct bench_worker *worker, uint64_t n)
{
	return run_in(worker, n, NULL);
}

static int run_at_random(struct bench_worker *worker, uint64_t n)
{
	return run_in(worker, n, ((struct setup *)worker->ctx)->order);
}

static int run_limit_out(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++)
		error = bench_limit_out(setup->limit, worker->index, &worker->sink);
	return error;
}

static int run_limit_in(struct bench_worker *worker, uint64_t n, const uint32_t *order)
{
	struct setup *setup = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++)
		error = bench_limit_in(setup->limit, worker->index, order, &worker->sink);
	return error;
}

static int run_limit_in_order(struct bench_worker *worker, uint64_t n)
{
	return run_limit_in(worker, n, NULL);
}

static int run_limit_at_random(struct bench_worker *worker, uint64_t n)
{
	return run_limit_in(worker, n, ((struct setup *)worker->ctx)->order);
}

static int create_pool(struct setup *setup, const struct bench_tier *tier,
		       const struct bench_options *options)
{
	uint64_t pages = setup->pages * setup->nr_guests;
	struct s2_pool_config config = { .size = 2 * pages * S2_PAGE_SIZE };
	int error = tier->create(options, pages, config.tiers, &setup->server);

	if (!error)
		error = s2_pool_create(&config, &setup->pool);
	if (error)
		bench_tiers_destroy(config.tiers);
	return error;
}

static int set_up_tier(struct setup *setup, const struct bench_tier *tier,
		       const struct bench_options *options)
{
	int error = create_pool(setup, tier, options);

	setup->name = tier->name;
	for (unsigned int i = 0; !error && i < setup->nr_guests; i++) {
		error = bench_guest_create(&setup->guests[i], setup->pool, setup->pages, 1);
		if (!error)
			error = bench_guest_fill(&setup->guests[i], i * setup->pages);
	}
	return error;
}

static int set_up_limit(struct setup *setup, unsigned int which)
{
	int error = bench_limit_create(which, setup->nr_guests, setup->pages, &setup->limit);

	setup->name = bench_limit_name(which);
	/* So that there is something to be brought in, whatever is measured first. */
	for (unsigned int i = 0; !error && i < setup->nr_guests; i++)
		error = bench_limit_out(setup->limit, i, &(uint64_t){ 0 });
	return error;
}

static void take_down(struct setup *setup)
{
	for (unsigned int i = 0; i < setup->nr_guests; i++)
		bench_guest_destroy(&setup->guests[i]);
	s2_pool_destroy(setup->pool);
	bench_redis_end(&setup->server);
	bench_limit_destroy(setup->limit);
}

/* The next of them, which is not there if @error is -ENOTSUP. */
static struct setup *begin_setup(struct setups *setups, const struct bench_options *options)
{
	struct setup *setup = &setups->setup[setups->nr++];

	*setup = (struct setup){
		.order = setups->order,
		.pages = options->quick ? QUICK_PAGES : PAGES,
		.nr_guests = options->nr_cpus,
	};
	return setup;
}

static int end_setup(struct setups *setups, const struct setup *setup, int error)
{
	/* Nothing of it has been set up. */
	if (error == -ENOTSUP) {
		setups->nr--;
		return 0;
	}
	return error ? bench_fail(&bench_pool_swap, error, "cannot set up %s", setup->name) : 0;
}

static int set_up(struct setups *setups, const struct bench_options *options)
{
	struct setup *setup;
	int error = 0;

	bench_shuffle(setups->order, options->quick ? QUICK_PAGES : PAGES, 1);
	for (const struct bench_tier *tier = bench_tiers; !error && tier->name; tier++) {
		setup = begin_setup(setups, options);
		error = end_setup(setups, setup, set_up_tier(setup, tier, options));
	}
	for (unsigned int i = 0; !error && i < BENCH_NR_LIMITS; i++) {
		setup = begin_setup(setups, options);
		error = end_setup(setups, setup, set_up_limit(setup, i));
	}
	return error;
}

static int plan_setup(struct bench_plan *plan, struct setup *setup,
		      const struct bench_options *options)
{
	static bench_run_fn *const runs[2][NR_OPS] = {
		{ run_out, run_in_order, run_at_random },
		{ run_limit_out, run_limit_in_order, run_limit_at_random },
	};
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_OPS * options->nr_threads; i++) {
		unsigned int op = i % NR_OPS, threads = options->threads[i / NR_OPS];
		const struct bench_cell cell = {
			.run = runs[setup->limit ? 1 : 0][op],
			.ctx = setup,
			.threads = threads,
			.items = (unsigned int)setup->pages,
			.rate = true,
		};

		if (bench_is_end(options, threads))
			error = bench_plan_add(plan, &cell,
					       json_pack("{s:s, s:i, s:s}", "tier", setup->name,
							 "threads", (int)threads, "op",
							 op_names[op]));
	}
	return error ? bench_fail(&bench_pool_swap, error, "cannot plan the rounds") : 0;
}

static const char *limit_of(const char *name)
{
	for (const struct bench_tier *tier = bench_tiers; tier->name; tier++)
		if (!strcmp(tier->name, name))
			return tier->limit;
	return NULL;
}

static int add_ratio(const json_t *results, json_t *row)
{
	const char *limit = limit_of(json_string_value(json_object_get(row, "tier")));

	if (!limit)
		return 0;
	return bench_limit_add_ratio(results, row, "pages_per_s",
				     json_pack("{s:s, s:O, s:O}", "tier", limit, "threads",
					       json_object_get(row, "threads"), "op",
					       json_object_get(row, "op")));
}

static int measure(struct setups *setups, struct bench_plan *plan,
		   const struct bench_options *options, json_t *results)
{
	int error = set_up(setups, options);
	json_t *row;
	size_t i;

	for (i = 0; !error && i < setups->nr; i++)
		error = plan_setup(plan, &setups->setup[i], options);
	if (!error)
		error = bench_plan_measure(plan, &bench_pool_swap, options, results);
	json_array_foreach (results, i, row)
		if (!error && add_ratio(results, row))
			error = bench_fail(&bench_pool_swap, -ENOMEM, "cannot report");
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setups *setups = calloc(1, sizeof(*setups));
	struct bench_plan *plan = bench_plan_create();
	int error = -ENOMEM;

	if (setups && plan)
		error = measure(setups, plan, options, results);
	else
		bench_fail(&bench_pool_swap, error, "cannot begin");
	for (unsigned int i = 0; setups && i < setups->nr; i++)
		take_down(&setups->setup[i]);
	bench_plan_destroy(plan);
	free(setups);
	return error;
}

const struct bench bench_pool_swap = {
	.name = "pool-swap",
	.title = "pages swapped per second by all threads (and how much of its limit that is)",
	.row_keys = { "tier", "threads" },
	.column = "op",
	.value = "pages_per_s",
	.also = "of_limit",
	.run = run,
};
