/* SPDX-License-Identifier: MIT */
/*
 * What memslot updates and lookups cost, by the number of memslots a VM has. Each memslot is one
 * page, with a gap of one page behind it both in the guest's addresses and in the host's, where the
 * order is another: so there is somewhere to add, something to look up in the one index that the
 * other one's order does not help with, and unrelated ranges with a memslot on either side.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "clock.h"

#include <errno.h>
#include <stdlib.h>

#define MOST_SLOTS 32000

static const unsigned int slot_counts[] = { 32, 512, 4096, MOST_SLOTS };

#define NR_SETUPS (sizeof(slot_counts) / sizeof(slot_counts[0]))

/* Far from what the kernel maps; nothing has to be there. */
#define FIRST_HVA (UINT64_C(1) << 40)

/* A prime that divides none of slot_counts, so that i * PRIME % nr visits all of them. */
#define PRIME 7919

/* How many choices are made beforehand; a power of two. */
#define CHOICES 4096

struct setup {
	struct s2_mm *mm;
	struct s2_vm *vm;
	unsigned int nr_slots;
	uint32_t choice[CHOICES]; /* each a number of a memslot */
	bool logging[MOST_SLOTS]; /* is its dirty log on? */
};

static uint32_t choose(const struct bench_worker *worker, uint64_t i)
{
	const struct setup *setup = worker->ctx;

	return setup->choice[(worker->done + i) % CHOICES];
}

static uint64_t slot_gfn(uint32_t slot)
{
	return (uint64_t)slot * 2;
}

static uint64_t slot_hva(const struct setup *setup, uint32_t slot)
{
	return FIRST_HVA + (uint64_t)slot * PRIME % setup->nr_slots * 2 * S2_PAGE_SIZE;
}

/* Adds one more memslot, in the gaps behind memslot @gap. */
static int add_behind(const struct setup *setup, uint32_t gap)
{
	return bench_set_memslot(setup->vm, setup->nr_slots, slot_gfn(gap) + 1, 1,
				 slot_hva(setup, gap) + S2_PAGE_SIZE);
}

static int delete_added(const struct setup *setup)
{
	return bench_set_memslot(setup->vm, setup->nr_slots, 0, 0, 0);
}

static int run_add_delete(struct bench_worker *worker, uint64_t n)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		error = add_behind(worker->ctx, choose(worker, i));
		if (!error)
			error = delete_added(worker->ctx);
	}
	return error;
}

static int run_add(struct bench_worker *worker, uint64_t n)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin;

		error = add_behind(worker->ctx, choose(worker, i));
		begin = clock_ns();
		if (!error)
			error = delete_added(worker->ctx);
		worker->excluded_ns += clock_ns() - begin;
	}
	return error;
}

static int run_delete(struct bench_worker *worker, uint64_t n)
{
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns();

		error = add_behind(worker->ctx, choose(worker, i));
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = delete_added(worker->ctx);
	}
	return error;
}

static int run_flags(struct bench_worker *worker, uint64_t n)
{
	struct setup *setup = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint32_t slot = choose(worker, i);
		bool on = !setup->logging[slot];
		const struct kvm_userspace_memory_region region = {
			.slot = slot,
			.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = slot_gfn(slot) << S2_PAGE_SHIFT,
			.memory_size = S2_PAGE_SIZE,
			.userspace_addr = slot_hva(setup, slot),
		};

		error = s2_vm_set_memory_region(setup->vm, &region);
		setup->logging[slot] = on;
	}
	return error;
}

static int run_lookup_gfn(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	uint64_t hva = 0;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		error = s2_vm_gfn_to_hva(setup->vm, slot_gfn(choose(worker, i)), &hva);
		worker->sink += hva;
	}
	return error;
}

static int run_lookup_hva(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	struct s2_invalidation inv;

	for (uint64_t i = 0; i < n; i++) {
		/* Not slot_hva(): the gaps are all alike, so that a division can be saved. */
		uint64_t gap = FIRST_HVA + ((uint64_t)choose(worker, i) * 2 + 1) * S2_PAGE_SIZE;
		int error = s2_invalidate_range_start(setup->mm, &inv, gap, gap + S2_PAGE_SIZE, 0);

		if (error)
			return error;
		s2_invalidate_range_end(setup->mm, &inv);
	}
	return 0;
}

static const struct {
	const char *name;
	bench_run_fn *run;
} ops[] = {
	{ "add+delete", run_add_delete }, { "add", run_add },
	{ "delete", run_delete },	  { "flags", run_flags },
	{ "lookup_gfn", run_lookup_gfn }, { "lookup_hva", run_lookup_hva },
};

#define NR_OPS (sizeof(ops) / sizeof(ops[0]))

static int set_up(struct setup *setup, unsigned int nr_slots)
{
	uint64_t random = nr_slots;
	int error = s2_mm_create(NULL, &setup->mm);

	setup->nr_slots = nr_slots;
	for (unsigned int i = 0; i < CHOICES; i++)
		setup->choice[i] = (uint32_t)(bench_random(&random) % nr_slots);
	if (!error)
		error = s2_vm_create(setup->mm, NULL, &setup->vm);
	for (unsigned int i = 0; !error && i < nr_slots; i++)
		error = bench_set_memslot(setup->vm, i, slot_gfn(i), 1, slot_hva(setup, i));
	if (error)
		bench_fail(&bench_slots, error, "cannot create a VM with %u memslots", nr_slots);
	return error;
}

static int plan_op(struct bench_plan *plan, struct setup *setup, unsigned int op)
{
	const struct bench_cell cell = { .run = ops[op].run, .ctx = setup, .threads = 1 };

	return bench_plan_add(plan, &cell,
			      json_pack("{s:i, s:s}", "slots", (int)setup->nr_slots, "op",
					ops[op].name));
}

static int measure_setups(struct bench_plan *plan, struct setup *setups,
			  const struct bench_options *options, json_t *results)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_SETUPS; i++) {
		error = set_up(&setups[i], slot_counts[i]);
		for (unsigned int op = 0; !error && op < NR_OPS; op++) {
			error = plan_op(plan, &setups[i], op);
			if (error)
				bench_fail(&bench_slots, error, "cannot plan the rounds");
		}
	}
	if (!error)
		error = bench_plan_measure(plan, &bench_slots, options, results);
	for (unsigned int i = 0; i < NR_SETUPS; i++) {
		s2_vm_put(setups[i].vm);
		s2_mm_put(setups[i].mm);
	}
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup *setups = calloc(NR_SETUPS, sizeof(*setups));
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

static void add_goal(const json_t *results, json_t *goals, const char *op, const char *what)
{
	double ns =
		bench_value(results, "ns", json_pack("{s:i, s:s}", "slots", MOST_SLOTS, "op", op));

	bench_add_goal(goals, ns / 1000, BENCH_AT_MOST, 10, "us", what);
}

static void add_goals(const json_t *results, json_t *goals)
{
	add_goal(results, goals, "add", "to add a memslot to 32,000");
	add_goal(results, goals, "delete", "to delete a memslot of 32,000");
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
