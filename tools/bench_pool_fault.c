/* SPDX-License-Identifier: MIT */
/*
 * A guest with more memory than its pool: how long its faults take, and how fast it is in all.
 *
 * Nine of ten accesses are to a tenth of the memory, the rest are anywhere; one in four writes. The
 * tier is LZ4's. With as much memory as the pool has, nothing has to go: pool-fault then has the
 * faults of a guest that finds all of its memory swapped out, and pool-access has none.
 *
 * An access that faulted is one after which the vCPU's count of faults is another one. To look at
 * it, and at the clock, takes longer than an access that does not fault: hence two benchmarks.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "bench_pool_guest.h"
#include "clock.h"
#include "latency.h"

#include <errno.h>
#include <stdlib.h>

/* 32 MiB, of the guest; powers of two. */
#define PAGES 8192
#define QUICK_PAGES 256

/* Odd, so that i * STEP % PAGES visits each page once: pages that are hot do not lie together. */
#define STEP 1021

static const unsigned int overcommits[] = { 1, 2, 4 };

#define NR_OVERCOMMITS (sizeof(overcommits) / sizeof(overcommits[0]))

static const struct {
	const char *name;
	double percent;
} percentiles[] = { { "p50", 50 }, { "p99", 99 }, { "p99.9", 99.9 } };

#define NR_PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

/* One vCPU's, of all slices. */
struct guest_thread {
	uint64_t random;
	struct latency latency;
} __attribute__((aligned(64)));

/*
 * A pool and its guest, for so many of its vCPUs.
 *
 * @background: does the pool have a thread?
 * @vcpus:      how many are used.
 */
struct setup {
	unsigned int overcommit;
	unsigned int vcpus;
	bool background;
	struct s2_pool *pool;
	struct bench_guest guest;
	struct guest_thread threads[BENCH_MAX_CPUS];
};

#define MOST_SETUPS (NR_OVERCOMMITS * 2 * BENCH_MAX_CPUS)

struct setups {
	struct setup *setup[MOST_SETUPS];
	unsigned int nr;
};

static inline int access_memory(struct bench_worker *worker, struct s2_vcpu *vcpu, uint64_t pages,
				uint64_t random)
{
	uint64_t among = random % 10 ? pages / 10 : pages, value = 0, gpa;
	int error;

	gpa = ((random >> 8) % among * STEP % pages + 1) * S2_PAGE_SIZE - sizeof(uint64_t);
	/* The last word of each page is zero. */
	if (random >> 62)
		error = s2_vcpu_load64(vcpu, gpa, &value);
	else
		error = s2_vcpu_store64(vcpu, gpa, 0);
	worker->sink += value;
	return error;
}

static int run_accesses(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	struct guest_thread *thread = &setup->threads[worker->index];
	struct s2_vcpu *vcpu = setup->guest.vcpus[worker->index];
	int error = s2_vcpu_enter(vcpu);

	for (uint64_t i = 0; !error && i < n; i++) {
		error = access_memory(worker, vcpu, setup->guest.pages, bench_random(&thread->random));
		s2_vcpu_poll(vcpu);
	}
	s2_vcpu_exit(vcpu);
	return error;
}

static uint64_t count_faults(struct s2_vcpu *vcpu)
{
	struct s2_vcpu_stats stats = { 0 };

	s2_vcpu_get_stats(vcpu, &stats);
	return stats.faults;
}

static int run_timed(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	struct guest_thread *thread = &setup->threads[worker->index];
	struct s2_vcpu *vcpu = setup->guest.vcpus[worker->index];
	uint64_t faults = count_faults(vcpu);
	int error = s2_vcpu_enter(vcpu);

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t random = bench_random(&thread->random), begin = clock_ns(), ns, after;

		error = access_memory(worker, vcpu, setup->guest.pages, random);
		ns = clock_ns() - begin;
		after = count_faults(vcpu);
		if (after != faults)
			latency_add(&thread->latency, ns);
		faults = after;
		s2_vcpu_poll(vcpu);
	}
	s2_vcpu_exit(vcpu);
	return error;
}

static int swap_all_out(void *ctx)
{
	return bench_guest_swap_out(&((struct setup *)ctx)->guest);
}

static int set_up(const struct bench *bench, struct setup *setup, uint64_t pages)
{
	uint64_t frames = pages / setup->overcommit;
	struct s2_pool_config config = {
		.size = frames * S2_PAGE_SIZE,
		.low_watermark = setup->background ? frames / 16 * S2_PAGE_SIZE : 0,
		.high_watermark = setup->background ? frames / 8 * S2_PAGE_SIZE : 0,
	};
	int error = bench_pool_create(bench, &config, pages, &setup->pool);

	if (error)
		return error;
	for (unsigned int i = 0; i < setup->vcpus; i++)
		setup->threads[i].random = i + 1;
	error = bench_guest_create(&setup->guest, setup->pool, pages, setup->vcpus);
	if (!error)
		error = bench_guest_fill(&setup->guest, 0);
	return error ? bench_fail(bench, error, "cannot set up a guest") : 0;
}

/* One vCPU, and as many as there are CPUs, or what was asked for. */
static int set_up_all(const struct bench *bench, struct setups *setups,
		      const struct bench_options *options)
{
	unsigned int of_each = 2 * options->nr_threads;
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_OVERCOMMITS * of_each; i++) {
		unsigned int vcpus = options->threads[i / 2 % options->nr_threads];
		struct setup *setup;

		if (!bench_is_end(options, vcpus))
			continue;
		setup = aligned_alloc(64, sizeof(*setup));
		if (!setup)
			return bench_fail(bench, -ENOMEM, "cannot set up a guest");
		*setup = (struct setup){
			.overcommit = overcommits[i / of_each],
			.vcpus = vcpus,
			.background = i % 2,
		};
		setups->setup[setups->nr++] = setup;
		error = set_up(bench, setup, options->quick ? QUICK_PAGES : PAGES);
	}
	return error;
}

static void take_down(struct setups *setups)
{
	for (unsigned int i = 0; i < setups->nr; i++) {
		bench_guest_destroy(&setups->setup[i]->guest);
		s2_pool_destroy(setups->setup[i]->pool);
		free(setups->setup[i]);
	}
	free(setups);
}

static json_t *new_row(const struct setup *setup)
{
	return json_pack("{s:i, s:b, s:i}", "overcommit", (int)setup->overcommit, "thread",
			 (int)setup->background, "vcpus", (int)setup->vcpus);
}

static int measure(const struct bench *bench, struct setups *setups, bench_run_fn *run,
		   const struct bench_options *options, json_t *results)
{
	struct bench_plan *plan = bench_plan_create();
	int error = plan ? set_up_all(bench, setups, options) : -ENOMEM;

	for (unsigned int i = 0; !error && i < setups->nr; i++) {
		struct setup *setup = setups->setup[i];
		const struct bench_cell cell = {
			.run = run,
			.prepare = run == run_timed && setup->overcommit == 1 ? swap_all_out : NULL,
			.ctx = setup,
			.threads = setup->vcpus,
			.rate = true,
		};

		error = bench_plan_add(plan, &cell, new_row(setup));
	}
	if (!error)
		error = bench_plan_measure(plan, bench, options, results);
	bench_plan_destroy(plan);
	return error;
}

static int run_access(const struct bench_options *options, json_t *results)
{
	struct setups *setups = calloc(1, sizeof(*setups));
	int error;

	if (!setups)
		return bench_fail(&bench_pool_access, -ENOMEM, "cannot begin");
	error = measure(&bench_pool_access, setups, run_accesses, options, results);
	take_down(setups);
	return error;
}

static int add_percentiles(const struct setup *setup, json_t *results)
{
	struct latency *all = calloc(1, sizeof(*all));
	int error = all ? 0 : -ENOMEM;

	for (unsigned int i = 0; all && i < setup->vcpus; i++)
		latency_merge(all, &setup->threads[i].latency);
	for (unsigned int i = 0; !error && i < NR_PERCENTILES; i++) {
		double ns = (double)latency_percentile(all, percentiles[i].percent);
		json_t *row = new_row(setup);

		if (!row || json_object_set_new(row, "percentile",
						json_string(percentiles[i].name)) ||
		    json_object_set_new(row, "ns", json_real(ns)) ||
		    json_array_append(results, row))
			error = -ENOMEM;
		json_decref(row);
	}
	free(all);
	return error ? bench_fail(&bench_pool_fault, error, "cannot report") : 0;
}

/* What the loop finds out, accesses with a look at the clock, is nothing to tell of. */
static int run_fault(const struct bench_options *options, json_t *results)
{
	struct setups *setups = calloc(1, sizeof(*setups));
	json_t *unused = json_array();
	int error;

	if (!setups || !unused) {
		free(setups);
		json_decref(unused);
		return bench_fail(&bench_pool_fault, -ENOMEM, "cannot begin");
	}
	error = measure(&bench_pool_fault, setups, run_timed, options, unused);
	for (unsigned int i = 0; !error && i < setups->nr; i++)
		error = add_percentiles(setups->setup[i], results);
	take_down(setups);
	json_decref(unused);
	return error;
}

const struct bench bench_pool_fault = {
	.name = "pool-fault",
	.title = "how long a guest's faults take, in ns, by its memory in times of the pool's, the "
		 "pool's thread, and vCPUs",
	.row_keys = { "overcommit", "thread", "vcpus" },
	.column = "percentile",
	.value = "ns",
	.run = run_fault,
};

const struct bench bench_pool_access = {
	.name = "pool-access",
	.title = "accesses per second of all vCPUs, by the guest's memory in times of the pool's, "
		 "and the pool's thread",
	.row_keys = { "overcommit", "thread" },
	.column = "vcpus",
	.value = "accesses_per_s",
	.run = run_access,
};
