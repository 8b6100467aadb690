/* SPDX-License-Identifier: MIT */
/*
 * What an invalidation costs that has nothing to do with any guest: the question of the patch this
 * project comes from. Every VM has one memslot, spread over the addresses that the invalidations
 * choose from, and the ranges are the same whatever the number of VMs.
 */
#include "bench.h"
#include "bench_floor.h"
#include "bench_pairs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const unsigned int vm_counts[] = { 1, 16, 256, BENCH_CHUNK_PAIRS };

#define NR_VM_COUNTS (sizeof(vm_counts) / sizeof(vm_counts[0]))
#define MEMSLOT_PAGES (BENCH_CHUNK_SIZE / S2_PAGE_SIZE)

/* The gates, and after them what they are held against: NR_SUBJECTS in all. */
static const struct {
	const char *name;
	bench_run_fn *run;
} others[] = {
	{ "floor", bench_floor_run },
	{ "floor+range", bench_floor_run_range },
	{ "rwlock", bench_floor_run_rwlock },
};

#define NR_SUBJECTS (S2_NR_GATES + sizeof(others) / sizeof(others[0]))

/*
 * One subject with so many VMs.
 *
 * @mm, @vms: a gate's.
 * @pairs:    one list for each thread.
 */
struct setup {
	struct s2_mm *mm;
	struct s2_vm *vms[BENCH_CHUNK_PAIRS];
	const struct bench_pairs *pairs;
	struct bench_floor *floor;
};

static const char *subject_name(unsigned int subject)
{
	if (subject < S2_NR_GATES)
		return s2_gate_name((enum s2_gate)subject);
	return others[subject - S2_NR_GATES].name;
}

static bool is_chosen(const struct bench_options *options, unsigned int subject)
{
	return subject >= S2_NR_GATES || options->gates & 1u << subject;
}

static int run_gate(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;

	return bench_pairs_run(&setup->pairs[worker->index], setup->mm, worker->done, n);
}

static void take_down(struct setup *setup)
{
	for (unsigned int i = 0; i < BENCH_CHUNK_PAIRS; i++)
		s2_vm_put(setup->vms[i]);
	s2_mm_put(setup->mm);
	if (setup->floor)
		bench_floor_destroy(setup->floor);
	free(setup->floor);
}

static int set_up_gate(struct setup *setup, enum s2_gate gate, unsigned int nr_vms)
{
	const struct s2_mm_config config = { .gate = gate };
	int error = s2_mm_create(&config, &setup->mm);

	for (unsigned int i = 0; !error && i < nr_vms; i++) {
		uint64_t hva = bench_guest_chunk(i * (BENCH_CHUNK_PAIRS / nr_vms));

		error = s2_vm_create(setup->mm, NULL, &setup->vms[i]);
		if (!error)
			error = bench_set_memslot(setup->vms[i], 0, 0, MEMSLOT_PAGES, hva);
	}
	return error;
}

static int set_up_floor(struct setup *setup, unsigned int nr_vms)
{
	struct bench_floor *floor = aligned_alloc(64, sizeof(*floor));
	int error = -ENOMEM;

	if (floor) {
		memset(floor, 0, sizeof(*floor));
		error = bench_floor_init(floor, setup->pairs, nr_vms);
	}
	if (error)
		free(floor);
	else
		setup->floor = floor;
	return error;
}

static int set_up(struct setup *setup, unsigned int subject, unsigned int nr_vms)
{
	int error = subject < S2_NR_GATES ? set_up_gate(setup, (enum s2_gate)subject, nr_vms)
					  : set_up_floor(setup, nr_vms);

	if (error)
		bench_fail(&bench_gate, error, "cannot create %u VMs under the gate %s", nr_vms,
			   subject_name(subject));
	return error;
}

static struct bench_cell cell_of(struct setup *setup, unsigned int subject)
{
	if (subject < S2_NR_GATES)
		return (struct bench_cell){ .run = run_gate, .ctx = setup };
	return (struct bench_cell){ .run = others[subject - S2_NR_GATES].run, .ctx = setup->floor };
}

static int plan_setup(struct bench_plan *plan, struct setup *setup, unsigned int subject,
		      unsigned int nr_vms, const struct bench_options *options)
{
	struct bench_cell cell = cell_of(setup, subject);
	int error = 0;

	for (unsigned int i = 0; !error && i < options->nr_threads; i++) {
		cell.threads = options->threads[i];
		error = bench_plan_add(plan, &cell,
				       json_pack("{s:s, s:i, s:i}", "gate", subject_name(subject),
						 "threads", (int)cell.threads, "vms", (int)nr_vms));
	}
	return error ? bench_fail(&bench_gate, error, "cannot plan the rounds") : 0;
}

/*
 * The ratios that are goals, in turns: with one VM to the floor, and with all VMs to one. Each of
 * the cells that are beside stays where it is until all has been measured.
 */
static int plan_ratios(struct bench_plan *plan, struct setup (*setups)[NR_VM_COUNTS],
		       struct bench_cell beside[2])
{
	struct setup *range = setups[S2_GATE_RANGE];
	struct bench_cell cells[2] = { cell_of(&range[0], S2_GATE_RANGE),
				       cell_of(&range[NR_VM_COUNTS - 1], S2_GATE_RANGE) };
	static const char *const names[2] = { "range/floor", "range/1 VM" };
	int error = 0;

	beside[0] = cell_of(&setups[S2_NR_GATES][0], S2_NR_GATES);
	beside[1] = cell_of(&range[0], S2_GATE_RANGE);
	for (unsigned int i = 0; !error && i < 2; i++) {
		cells[i].threads = 1;
		cells[i].beside = &beside[i];
		error = bench_plan_add(plan, &cells[i],
				       json_pack("{s:s, s:i, s:i}", "gate", names[i], "threads", 1,
						 "vms",
						 (int)vm_counts[i ? NR_VM_COUNTS - 1 : 0]));
	}
	return error ? bench_fail(&bench_gate, error, "cannot plan the rounds") : 0;
}

/* What was measured was elision only if it always took place. */
static int check_elision(const struct setup *setup, enum s2_gate gate)
{
	struct s2_mm_stats stats;
	int error = s2_mm_get_stats(setup->mm, &stats);

	if (!error && gate != S2_GATE_ALWAYS && stats.elided != stats.invalidations)
		error = -EPROTO;
	if (!error)
		return 0;
	return bench_fail(&bench_gate, error,
			  "the gate %s elided %" PRIu64 " of %" PRIu64 " unrelated invalidations",
			  s2_gate_name(gate), stats.elided, stats.invalidations);
}

static int measure_subjects(struct bench_plan *plan, struct setup (*setups)[NR_VM_COUNTS],
			    const struct bench_pairs *pairs, const struct bench_options *options,
			    json_t *results)
{
	struct bench_cell beside[2];
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_SUBJECTS * NR_VM_COUNTS; i++) {
		unsigned int subject = i / NR_VM_COUNTS, count = i % NR_VM_COUNTS;
		struct setup *setup = &setups[subject][count];

		if (!is_chosen(options, subject))
			continue;
		setup->pairs = pairs;
		error = set_up(setup, subject, vm_counts[count]);
		if (!error)
			error = plan_setup(plan, setup, subject, vm_counts[count], options);
	}
	if (!error && is_chosen(options, S2_GATE_RANGE))
		error = plan_ratios(plan, setups, beside);
	if (!error)
		error = bench_plan_measure(plan, &bench_gate, options, results);
	for (unsigned int i = 0; !error && i < S2_NR_GATES * NR_VM_COUNTS; i++) {
		enum s2_gate gate = (enum s2_gate)(i / NR_VM_COUNTS);

		if (is_chosen(options, gate))
			error = check_elision(&setups[gate][i % NR_VM_COUNTS], gate);
	}
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup(*setups)[NR_VM_COUNTS] = calloc(NR_SUBJECTS, sizeof(*setups));
	struct bench_pairs *pairs = calloc(options->nr_cpus, sizeof(*pairs));
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (setups && pairs && plan) {
		for (unsigned int i = 0; i < options->nr_cpus; i++)
			bench_pairs_fill(&pairs[i], i + 1);
		error = measure_subjects(plan, setups, pairs, options, results);
	} else {
		error = bench_fail(&bench_gate, -ENOMEM, "cannot begin");
	}
	for (unsigned int i = 0; setups && i < NR_SUBJECTS * NR_VM_COUNTS; i++)
		take_down(&setups[i / NR_VM_COUNTS][i % NR_VM_COUNTS]);
	bench_plan_destroy(plan);
	free(pairs);
	free(setups);
	return error;
}

static double pair_ns(const json_t *results, const char *gate, unsigned int threads,
		      unsigned int vms)
{
	return bench_value(results, "ns",
			   json_pack("{s:s, s:i, s:i}", "gate", gate, "threads", (int)threads,
				     "vms", (int)vms));
}

static unsigned int most_threads(const json_t *results)
{
	unsigned int most = 0;
	const json_t *row;
	size_t i;

	json_array_foreach (results, i, row) {
		json_int_t threads = json_integer_value(json_object_get(row, "threads"));

		if (threads > most)
			most = (unsigned int)threads;
	}
	return most;
}

static void add_goals(const json_t *results, json_t *goals)
{
	unsigned int most = most_threads(results);
	double one = pair_ns(results, "range", 1, 1);
	double all = most > 1 ? pair_ns(results, "range", most, 1) : 0;
	double many_vms = pair_ns(results, "range/1 VM", 1, BENCH_CHUNK_PAIRS);

	bench_add_goal(goals, one, BENCH_AT_MOST, 20, "ns",
		       "for an unrelated start and end under range, 1 thread, 1 VM");
	bench_add_goal(goals, pair_ns(results, "range/floor", 1, 1), BENCH_AT_MOST, 1.5, "times",
		       "the floor, 1 thread, 1 VM, in turns");
	bench_add_goal(goals, all / one, BENCH_AT_MOST, 1.2, "times",
		       "range's cost on one thread on all cores, for each thread");
	bench_add_goal(goals, many_vms, BENCH_AT_MOST, 1.2, "times",
		       "range's cost with one VM with 1,024 VMs, in turns");
	bench_add_goal(goals, pair_ns(results, "rwsem", most, 1) / all, BENCH_AT_LEAST, 5, "times",
		       "range's cost under rwsem, on all cores, 1 VM");
	bench_add_goal(goals, pair_ns(results, "count", most, 1) / all, BENCH_AT_LEAST, 5, "times",
		       "range's cost under count, on all cores, 1 VM");
}

const struct bench bench_gate = {
	.name = "gate",
	.title = "an unrelated start and end, in ns as each thread sees them (how many times as "
		 "long where the name is of two, done in turns)",
	.row_keys = { "gate", "threads" },
	.column = "vms",
	.value = "ns",
	.run = run,
	.add_goals = add_goals,
};
