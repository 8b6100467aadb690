/* SPDX-License-Identifier: MIT */
/*
 * Faults per second, with and without a storm: one more thread, on a core of its own, that sends
 * unrelated invalidations as fast as it can.
 *
 * So that the numbers are the library's and not the kernel's, the provider only does the
 * arithmetic: the host memory is there from the beginning and stays. Each vCPU has pages of its
 * own, of which it touches one after the other, in no order; when it has been through, it takes
 * them all away with one start and end of its own (counted in the time: a zap of 2,048 pages and
 * one flush for 2,048 faults) and begins again. The vCPUs share a VM, its mmu_lock and its stage-2
 * table.
 */
#include "bench.h"
#include "bench_pairs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

/* A power of two, and more than the TLB's entries. */
#define VCPU_PAGES 2048
#define VCPU_BYTES (VCPU_PAGES * S2_PAGE_SIZE)

/* Odd, so that i * STEP % VCPU_PAGES visits each page once. */
#define STEP 1021

struct vcpu_load {
	struct s2_vcpu *vcpu;
	uint64_t touched; /* written by the vCPU's thread alone, hence a line of its own */
} __attribute__((aligned(64)));

/* One VM under one gate. */
struct setup {
	struct s2_mm *mm;
	struct s2_vm *vm;
	char *memory;
	const struct bench_pairs *pairs;
	struct vcpu_load load[BENCH_MAX_CPUS];
};

static int provide(void *ctx, uint64_t hva, unsigned access, struct s2_page *page)
{
	(void)ctx;
	(void)access;
	page->addr = (void *)(uintptr_t)(hva & ~(S2_PAGE_SIZE - 1));
	page->shift = S2_PAGE_SHIFT;
	page->writable = true;
	return 0;
}

static const struct s2_provider_ops provider = { .name = "bench", .fault = provide };

static int zap(const struct setup *setup, unsigned int index)
{
	uint64_t start = (uintptr_t)setup->memory + index * VCPU_BYTES;
	struct s2_invalidation inv;
	int error = s2_invalidate_range_start(setup->mm, &inv, start, start + VCPU_BYTES, 0);

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
		uint64_t first = (worker->done + done) % VCPU_PAGES;
		int error = first ? 0 : zap(setup, worker->index);
		int64_t touched = error ? error : touch(worker, load->vcpu, first, n - done);

		if (touched < 0)
			return (int)touched;
		load->touched += (uint64_t)touched;
		done += (uint64_t)touched;
	}
	return 0;
}

static int run_storm(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;

	return bench_pairs_run(setup->pairs, setup->mm, worker->done, n);
}

static int set_up(struct setup *setup, enum s2_gate gate, unsigned int nr_vcpus)
{
	const struct s2_mm_config config = { .gate = gate, .provider = &provider };
	int error = s2_mm_create(&config, &setup->mm);

	if (!error)
		error = s2_vm_create(setup->mm, NULL, &setup->vm);
	for (unsigned int i = 0; !error && i < nr_vcpus; i++) {
		error = bench_set_memslot(setup->vm, i, i * VCPU_PAGES, VCPU_PAGES,
					  (uintptr_t)setup->memory + i * VCPU_BYTES);
		if (!error)
			error = s2_vcpu_create(setup->vm, &setup->load[i].vcpu);
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

/*
 * The storm needs a CPU that no vCPU is on. The numbers of vCPUs are the same without it, so that
 * each has its counterpart; on a machine with one CPU there is no storm.
 */
static unsigned int list_vcpus(const struct bench_options *options, unsigned int *vcpus)
{
	unsigned int most = options->nr_cpus > 1 ? options->nr_cpus - 1 : 1, nr = 0;

	for (unsigned int i = 0; i < options->nr_threads; i++) {
		unsigned int n = options->threads[i] < most ? options->threads[i] : most, known = 0;

		while (known < nr && vcpus[known] != n)
			known++;
		if (known == nr)
			vcpus[nr++] = n;
	}
	return nr;
}

static int measure_setups(struct bench_plan *plan, struct setup *setups,
			  const struct bench_options *options, json_t *results)
{
	unsigned int vcpus[BENCH_MAX_CPUS], nr = list_vcpus(options, vcpus);
	int error = 0;

	for (unsigned int gate = 0; !error && gate < S2_NR_GATES; gate++) {
		if (!(options->gates & 1u << gate))
			continue;
		error = set_up(&setups[gate], (enum s2_gate)gate, options->nr_cpus);
		for (unsigned int i = 0; !error && i < nr; i++) {
			error = plan_cell(plan, &setups[gate], (enum s2_gate)gate, vcpus[i], false);
			if (!error && vcpus[i] < options->nr_cpus)
				error = plan_cell(plan, &setups[gate], (enum s2_gate)gate, vcpus[i],
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
	size_t size = options->nr_cpus * VCPU_BYTES;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct setup *setups = aligned_alloc(64, S2_NR_GATES * sizeof(*setups));
	struct bench_pairs *pairs = malloc(sizeof(*pairs));
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (memory != MAP_FAILED && setups && pairs && plan) {
		bench_pairs_fill(pairs, 1);
		for (unsigned int gate = 0; gate < S2_NR_GATES; gate++)
			setups[gate] = (struct setup){ .memory = memory, .pairs = pairs };
		error = measure_setups(plan, setups, options, results);
		for (unsigned int gate = 0; gate < S2_NR_GATES; gate++)
			take_down(&setups[gate]);
	} else {
		error = bench_fail(&bench_fault, -ENOMEM, "cannot begin");
	}
	bench_plan_destroy(plan);
	free(pairs);
	free(setups);
	if (memory != MAP_FAILED)
		munmap(memory, size);
	return error;
}

static double faults(const json_t *results, json_int_t vcpus, bool storm)
{
	return bench_value(results, "faults_per_s",
			   json_pack("{s:s, s:I, s:b}", "gate", "range", "vcpus", vcpus, "storm",
				     (int)storm));
}

/* For each number of vCPUs that was measured both ways; the smallest ratio counts. */
static void add_goals(const json_t *results, json_t *goals)
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
	bench_add_goal(goals, worst, BENCH_AT_LEAST, 0.9, "times",
		       "the faults per second without a storm under range with one, any number of "
		       "vCPUs");
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
