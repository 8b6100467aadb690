/* SPDX-License-Identifier: MIT */
/*
 * What memslot updates and lookups cost, by the number of memslots a VM has. See bench_memslots.h
 * for how they lie.
 */
#include "bench.h"
#include "bench_memslots.h"

#include <errno.h>
#include <stdlib.h>

struct setup {
	struct s2_mm *mm;
	struct s2_vm *vm;
	struct bench_memslots memslots;
};

static int run_lookup_gfn(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	uint64_t hva = 0;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint32_t slot = bench_memslots_choose(&setup->memslots, worker, i);

		error = s2_vm_gfn_to_hva(setup->vm, bench_memslots_gfn(slot), &hva);
		worker->sink += hva;
	}
	return error;
}

static int run_lookup_hva(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	struct s2_invalidation inv;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t slot = bench_memslots_choose(&setup->memslots, worker, i);
		uint64_t gap = bench_memslots_gap_hva(slot);
		int error = s2_invalidate_range_start(setup->mm, &inv, gap, gap + S2_PAGE_SIZE, 0);

		if (error)
			return error;
		s2_invalidate_range_end(setup->mm, &inv);
	}
	return 0;
}

static int set_region(void *vm, const struct kvm_userspace_memory_region *region)
{
	return s2_vm_set_memory_region(vm, region);
}

static int set_up(struct setup *setup, unsigned int nr_slots)
{
	int error = s2_mm_create(NULL, &setup->mm);

	if (!error)
		error = s2_vm_create(setup->mm, NULL, &setup->vm);
	if (!error)
		error = bench_memslots_fill(&setup->memslots, set_region, setup->vm, nr_slots);
	if (error)
		bench_fail(&bench_slots, error, "cannot create a VM with %u memslots", nr_slots);
	return error;
}

static int plan_setup(struct bench_plan *plan, struct setup *setup)
{
	int error = bench_memslots_plan_updates(plan, &setup->memslots);

	if (!error)
		error = bench_memslots_plan(plan, &setup->memslots, "lookup_gfn", run_lookup_gfn,
					    setup);
	if (!error)
		error = bench_memslots_plan(plan, &setup->memslots, "lookup_hva", run_lookup_hva,
					    setup);
	return error ? bench_fail(&bench_slots, error, "cannot plan the rounds") : 0;
}

static int measure_setups(struct bench_plan *plan, struct setup *setups,
			  const struct bench_options *options, json_t *results)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < BENCH_NR_SLOT_COUNTS; i++) {
		error = set_up(&setups[i], bench_slot_counts[i]);
		if (!error)
			error = plan_setup(plan, &setups[i]);
	}
	if (!error)
		error = bench_plan_measure(plan, &bench_slots, options, results);
	for (unsigned int i = 0; i < BENCH_NR_SLOT_COUNTS; i++) {
		s2_vm_put(setups[i].vm);
		s2_mm_put(setups[i].mm);
	}
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup *setups = calloc(BENCH_NR_SLOT_COUNTS, sizeof(*setups));
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (setups && plan)
		error = measure_setups(plan, setups, options, results);
	else
		error = bench_fail(&bench_slots, -ENOMEM, "cannot begin");
	bench_plan_destroy(plan);
	free(setups);
	return error;
}

static void add_goal(const json_t *results, json_t *goals, const char *op, double limit_us,
		     const char *what)
{
	double ns = bench_value(results, "ns",
				json_pack("{s:i, s:s}", "slots", BENCH_MOST_SLOTS, "op", op));

	bench_add_goal(goals, ns / 1000, BENCH_AT_MOST, limit_us, "us", what);
}

static void add_goals(const json_t *results, json_t *goals)
{
	add_goal(results, goals, "add", 10, "to add a memslot to 32,000");
	add_goal(results, goals, "delete", 10, "to delete a memslot of 32,000");
	add_goal(results, goals, "add+delete", 5, "to add a memslot to 32,000 and delete it");
}

const struct bench bench_slots = {
	.name = "slots",
	.title = "memslot updates and lookups, in ns (add+delete: for one of each together)",
	.row_keys = { "op", NULL },
	.column = "slots",
	.value = "ns",
	.run = run,
	.add_goals = add_goals,
};
