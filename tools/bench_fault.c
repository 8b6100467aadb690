/* SPDX-License-Identifier: MIT */
/*
 * Faults per second, with and without a storm: one more thread, on a core of its own, that sends
 * unrelated invalidations as fast as it can.
 *
 * So that the numbers are the library's and not the kernel's, the provider only does the
 * arithmetic. Each vCPU has pages of its own, more than it can touch in a slice, and touches one
 * after the other, in no order; between slices they are all taken away. The vCPUs share a VM, its
 * mmu_lock and its stage-2 table.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "bench_provider.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* A power of two: 2 GiB each, enough for 20 million faults a second. */
#define VCPU_PAGES (UINT64_C(1) << 19)
#define VCPU_BYTES (VCPU_PAGES * S2_PAGE_SIZE)

/* Far from where the storm is. */
#define FIRST_HVA (UINT64_C(1) << 44)

/* Odd, so that i * STEP % VCPU_PAGES visits each page once. */
#define STEP 1021

struct vcpu_load {
	struct s2_vcpu *vcpu;
	uint64_t touched; /* written by the vCPU's thread alone, hence a line of its own */
	uint64_t next;    /* since the pages were taken away */
} __attribute__((aligned(64)));

/* One VM under one gate. */
struct setup {
	struct s2_mm *mm;
	struct s2_vm *vm;
	unsigned int nr_vcpus;
	struct bench_aliased memory;
	const struct bench_pairs *pairs;
	struct vcpu_load load[BENCH_MAX_CPUS];
};

/* All vCPUs' pages go. */
static int zap(void *ctx)
{
	const struct setup *setup = ctx;
	struct s2_invalidation inv;
	int error = s2_invalidate_range_start(setup->mm, &inv, FIRST_HVA,
					      FIRST_HVA + setup->nr_vcpus * VCPU_BYTES, 0);

	if (!error)
		s2_invalidate_range_end(setup->mm, &inv);
	return error;
}

/* Faults on page after page, up to the last or @n of them; returns how many, or a negative errno.
 */
static int64_t touch(struct bench_worker *worker, struct s2_vcpu *vcpu, uint64_t first, uint64_t n)
{
	uint64_t last = n < VCPU_PAGES - first ? first + n : VCPU_PAGES, value = 0;
	int error = s2_vcpu_enter(vcpu);

	for (uint64_t i = first; !error && i < last; i++) {
		uint64_t page = i * STEP % VCPU_PAGES;

		error = s2_vcpu_load64(vcpu, worker->index * VCPU_BYTES + page * S2_PAGE_SIZE,
				       &value);
		worker->sink += value;
		s2_vcpu_poll(vcpu);
	}
	s2_vcpu_exit(vcpu);
	return error ? error : (int64_t)(last - first);
}

static int run_faults(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	struct vcpu_load *load = &setup->load[worker->index];
	uint64_t done = 0;

	while (done < n) {
		uint64_t first = load->next % VCPU_PAGES;
		/* A slice that took longer than it should. */
		int error = load->next && !first ? zap(setup) : 0;
		int64_t touched = error ? error : touch(worker, load->vcpu, first, n - done);

		if (touched < 0)
			return (int)touched;
		load->touched += (uint64_t)touched;
		load->next += (uint64_t)touched;
		done += (uint64_t)touched;
	}
	return 0;
}

static int begin_slice(void *ctx)
{
	struct setup *setup = ctx;

	for (unsigned int i = 0; i < setup->nr_vcpus; i++)
		setup->load[i].next = 0;
	return zap(setup);
}

static int run_storm(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;

	return bench_pairs_run(setup->pairs, setup->mm, worker->done, n);
}

static int set_up(struct setup *setup, enum s2_gate gate, unsigned int nr_vcpus)
{
	const struct s2_mm_config config = {
		.gate = gate,
		.provider = &bench_provider_aliased,
		.provider_ctx = &setup->memory,
	};
	int error = s2_mm_create(&config, &setup->mm);

	setup->nr_vcpus = nr_vcpus;
	if (!error)
		error = s2_vm_create(setup->mm, NULL, &setup->vm);
	for (unsigned int i = 0; !error && i < nr_vcpus; i++) {
		error = bench_set_memslot(setup->vm, i, i * VCPU_PAGES, VCPU_PAGES,
					  FIRST_HVA + i * VCPU_BYTES);
		if (!error)
			error = s2_vcpu_create(setup->vm, NULL, &setup->load[i].vcpu);
	}
	if (error)
		bench_fail(&bench_fault, error, "cannot create a VM with %u vCPUs", nr_vcpus);
	return error;
}

static void take_down(struct setup *setup)
{
	for (unsigned int i = 0; i < BENCH_MAX_CPUS; i++)
		s2_vcpu_destroy(setup->load[i].vcpu);
	s2_vm_put(setup->vm);
	s2_mm_put(setup->mm);
}

static int plan_cell(struct bench_plan *plan, struct setup *setup, enum s2_gate gate,
		     unsigned int vcpus, bool storm)
{
	const struct bench_cell cell = { .run = run_faults,
					 .storm = storm ? run_storm : NULL,
					 .prepare = begin_slice,
					 .ctx = setup,
					 .threads = vcpus,
					 .rate = true };

	return bench_plan_add(plan, &cell,
			      json_pack("{s:s, s:i, s:b}", "gate", s2_gate_name(gate), "vcpus",
					(int)vcpus, "storm", (int)storm));
}

/* Every touch was to be a fault, or something else has been measured. */
static int check_faults(const struct setup *setup, unsigned int nr_vcpus)
{
	struct s2_vcpu_stats stats;

	for (unsigned int i = 0; i < nr_vcpus; i++) {
		uint64_t touched = setup->load[i].touched;
		int error = s2_vcpu_get_stats(setup->load[i].vcpu, &stats);

		if (!error && stats.faults < touched)
			error = -EPROTO;
		if (error)
			return bench_fail(&bench_fault, error,
					  "only %" PRIu64 " of %" PRIu64 " accesses faulted",
					  stats.faults, touched);
	}
	return 0;
}

/* Beside the numbers that were asked for, the most that leave a CPU to the storm. */
static bool is_measured(const struct bench_options *options, unsigned int vcpus)
{
	bool asked = false, more = false;

	for (unsigned int i = 0; i < options->nr_threads; i++) {
		asked = asked || options->threads[i] == vcpus;
		more = more || options->threads[i] > vcpus;
	}
	return asked || (more && vcpus == options->nr_cpus - 1);
}

static int measure_setups(struct bench_plan *plan, struct setup *setups,
			  const struct bench_options *options, json_t *results)
{
	int error = 0;

	for (unsigned int gate = 0; !error && gate < S2_NR_GATES; gate++) {
		if (!(options->gates & 1u << gate))
			continue;
		error = set_up(&setups[gate], (enum s2_gate)gate, options->nr_cpus);
		for (unsigned int vcpus = 1; !error && vcpus <= options->nr_cpus; vcpus++) {
			if (!is_measured(options, vcpus))
				continue;
			error = plan_cell(plan, &setups[gate], (enum s2_gate)gate, vcpus, false);
			/* The storm needs a CPU that no vCPU is on. */
			if (!error && vcpus < options->nr_cpus)
				error = plan_cell(plan, &setups[gate], (enum s2_gate)gate, vcpus,
						  true);
			if (error)
				bench_fail(&bench_fault, error, "cannot plan the rounds");
		}
	}
	if (!error)
		error = bench_plan_measure(plan, &bench_fault, options, results);
	for (unsigned int gate = 0; !error && gate < S2_NR_GATES; gate++)
		if (options->gates & 1u << gate)
			error = check_faults(&setups[gate], options->nr_cpus);
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup *setups = aligned_alloc(S2_PAGE_SIZE, S2_NR_GATES * sizeof(*setups));
	struct bench_pairs *pairs = malloc(sizeof(*pairs));
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (setups && pairs && plan) {
		bench_pairs_fill(pairs, 1);
		for (unsigned int gate = 0; gate < S2_NR_GATES; gate++)
			setups[gate] = (struct setup){ .pairs = pairs };
		error = measure_setups(plan, setups, options, results);
		for (unsigned int gate = 0; gate < S2_NR_GATES; gate++)
			take_down(&setups[gate]);
	} else {
		error = bench_fail(&bench_fault, -ENOMEM, "cannot begin");
	}
	bench_plan_destroy(plan);
	free(pairs);
	free(setups);
	return error;
}

static double faults(const json_t *results, json_int_t vcpus, bool storm)
{
	return bench_value(results, "faults_per_s",
			   json_pack("{s:s, s:I, s:b}", "gate", "range", "vcpus", vcpus, "storm",
				     (int)storm));
}

/* For each number of vCPUs that was measured both ways; the smallest ratio counts. */
static double worst_under_storm(const json_t *results)
{
	const json_t *row;
	double worst = 0;
	size_t i;

	json_array_foreach (results, i, row) {
		json_int_t vcpus = json_integer_value(json_object_get(row, "vcpus"));
		double ratio = faults(results, vcpus, true) / faults(results, vcpus, false);

		if (ratio > 0 && (worst == 0 || ratio < worst))
			worst = ratio;
	}
	return worst;
}

static void add_goals(const json_t *results, json_t *goals)
{
	bench_add_goal(goals, worst_under_storm(results), BENCH_AT_LEAST, 0.9, "times",
		       "the faults per second without a storm under range with one, any number of "
		       "vCPUs");
	bench_add_goal(goals, faults(results, 4, false) / faults(results, 1, false), BENCH_AT_LEAST,
		       3.6, "times", "one vCPU's faults per second under range with 4, no storm");
}

const struct bench bench_fault = {
	.name = "fault",
	.title = "faults per second of all vCPUs, without and with a storm of unrelated "
		 "invalidations",
	.row_keys = { "gate", "vcpus" },
	.column = "storm",
	.value = "faults_per_s",
	.run = run,
	.add_goals = add_goals,
};
