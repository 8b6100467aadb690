/* SPDX-License-Identifier: MIT */
/*
 * The two ways to have a vCPU drop a translation, side by side: what a load costs that hits, and
 * how long an invalidation of one mapped page takes, by what the vCPU does meanwhile. With
 * safepoints the vCPU's next poll is waited for; with rseq nobody is, and the vCPU never polls.
 *
 * A second vCPU of the same VM, out of guest mode when it counts, maps the page again each time.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "bench_provider.h"
#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* The page that goes and comes back, and the one that the vCPU uses, which stays. */
#define PAGES 2
#define USED_GPA S2_PAGE_SIZE

/* What the vCPU does between two polls. */
static const struct habit {
	const char *what;
	unsigned int loads;
	long sleep_ns;
} habits[] = {
	{ "invalidation, vCPU out of guest mode", 0, 0 },
	{ "invalidation, vCPU makes 64 loads a poll", 64, 0 },
	{ "invalidation, vCPU makes 4,096 loads a poll", 4096, 0 },
	{ "invalidation, vCPU asleep 100 us at a time", 1, 100000 },
};

#define NR_HABITS (sizeof(habits) / sizeof(habits[0]))
#define NR_SHOOTDOWNS 2

struct setup {
	struct s2_mm *mm;
	struct s2_vm *vm;
	char *memory;
	struct s2_vcpu *vcpu;
	struct s2_vcpu *mapper;
	bool polls;
	struct habit_setup {
		struct setup *setup;
		const struct habit *habit;
	} habits[NR_HABITS];
};

static int run_loads(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	uint64_t value = 0;
	int error = s2_vcpu_enter(setup->vcpu);

	for (uint64_t i = 0; !error && i < n; i++) {
		error = s2_vcpu_load64(setup->vcpu, USED_GPA + i % 512 * 8, &value);
		worker->sink += value;
	}
	s2_vcpu_exit(setup->vcpu);
	return error;
}

static int map_page(struct bench_worker *worker, const struct setup *setup)
{
	uint64_t begin = clock_ns(), value;
	int error = s2_vcpu_read(setup->mapper, 0, &value, sizeof(value));

	worker->excluded_ns += clock_ns() - begin;
	return error;
}

static int run_invalidations(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = ((const struct habit_setup *)worker->ctx)->setup;
	uint64_t start = (uintptr_t)setup->memory;
	struct s2_invalidation inv;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		error = map_page(worker, setup);
		if (!error)
			error = s2_invalidate_range_start(setup->mm, &inv, start,
							  start + S2_PAGE_SIZE, 0);
		if (!error)
			s2_invalidate_range_end(setup->mm, &inv);
	}
	return error;
}

static int follow_habit(struct bench_worker *worker, const struct setup *setup,
			const struct habit *habit)
{
	const struct timespec nap = { .tv_nsec = habit->sleep_ns };
	uint64_t value = 0;
	int error = 0;

	for (unsigned int i = 0; !error && i < habit->loads; i++) {
		error = s2_vcpu_load64(setup->vcpu, USED_GPA + i % 512 * 8, &value);
		worker->sink += value;
	}
	if (habit->sleep_ns)
		nanosleep(&nap, NULL);
	if (setup->polls)
		s2_vcpu_poll(setup->vcpu);
	return error;
}

static int run_vcpu(struct bench_worker *worker, uint64_t n)
{
	const struct habit_setup *ctx = worker->ctx;
	int error = s2_vcpu_enter(ctx->setup->vcpu);

	for (uint64_t i = 0; !error && i < n; i++)
		error = follow_habit(worker, ctx->setup, ctx->habit);
	s2_vcpu_exit(ctx->setup->vcpu);
	return error;
}

static int set_up(struct setup *setup, enum s2_shootdown shootdown)
{
	const struct s2_mm_config config = { .provider = &bench_provider };
	const struct s2_vcpu_config vcpu_config = { .shootdown = shootdown };
	int error = s2_mm_create(&config, &setup->mm);

	if (!error)
		error = s2_vm_create(setup->mm, NULL, &setup->vm);
	if (!error)
		error = bench_set_memslot(setup->vm, 0, 0, PAGES, (uintptr_t)setup->memory);
	if (!error)
		error = s2_vcpu_create(setup->vm, &vcpu_config, &setup->vcpu);
	if (!error)
		error = s2_vcpu_create(setup->vm, NULL, &setup->mapper);
	setup->polls = s2_vcpu_shootdown(setup->vcpu) == S2_SHOOTDOWN_SAFEPOINT;
	return error ? bench_fail(&bench_shootdown, error, "cannot create a VM") : 0;
}

static void take_down(struct setup *setup)
{
	s2_vcpu_destroy(setup->vcpu);
	s2_vcpu_destroy(setup->mapper);
	s2_vm_put(setup->vm);
	s2_mm_put(setup->mm);
}

static int plan_row(struct bench_plan *plan, const struct bench_cell *cell, const char *what,
		    enum s2_shootdown shootdown)
{
	return bench_plan_add(plan, cell,
			      json_pack("{s:s, s:s}", "what", what, "shootdown",
					shootdown == S2_SHOOTDOWN_RSEQ ? "rseq" : "safepoint"));
}

static int plan_setup(struct bench_plan *plan, struct setup *setup, enum s2_shootdown shootdown,
		      const struct bench_options *options)
{
	const struct bench_cell loads = { .run = run_loads, .ctx = setup, .threads = 1 };
	int error = plan_row(plan, &loads, "load64 that hits", shootdown);

	for (unsigned int i = 0; !error && i < NR_HABITS; i++) {
		const struct bench_cell cell = {
			.run = run_invalidations,
			.storm = habits[i].loads ? run_vcpu : NULL,
			.ctx = &setup->habits[i],
			.threads = 1,
		};

		setup->habits[i] = (struct habit_setup){ setup, &habits[i] };
		/* On one CPU a vCPU that is busy would be waited for by the scheduler's clock. */
		if (!habits[i].loads || options->nr_cpus > 1)
			error = plan_row(plan, &cell, habits[i].what, shootdown);
	}
	return error ? bench_fail(&bench_shootdown, error, "cannot plan the rounds") : 0;
}

static int measure_setups(struct bench_plan *plan, struct setup *setups,
			  const struct bench_options *options, json_t *results)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_SHOOTDOWNS; i++) {
		enum s2_shootdown shootdown = (enum s2_shootdown)i;

		error = set_up(&setups[i], shootdown);
		/* Where there is no rseq, safepoints have been planned already. */
		if (!error && s2_vcpu_shootdown(setups[i].vcpu) == shootdown)
			error = plan_setup(plan, &setups[i], shootdown, options);
	}
	return error ? error : bench_plan_measure(plan, &bench_shootdown, options, results);
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup setups[NR_SHOOTDOWNS] = { 0 };
	char *memory = mmap(NULL, PAGES * S2_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (memory != MAP_FAILED && plan) {
		for (unsigned int i = 0; i < NR_SHOOTDOWNS; i++)
			setups[i].memory = memory;
		error = measure_setups(plan, setups, options, results);
	} else {
		error = bench_fail(&bench_shootdown, -ENOMEM, "cannot begin");
	}
	for (unsigned int i = 0; i < NR_SHOOTDOWNS; i++)
		take_down(&setups[i]);
	bench_plan_destroy(plan);
	if (memory != MAP_FAILED)
		munmap(memory, PAGES * S2_PAGE_SIZE);
	return error;
}

const struct bench bench_shootdown = {
	.name = "shootdown",
	.title = "the two ways of TLB shootdown, in ns, by what the vCPU does",
	.row_keys = { "what", NULL },
	.column = "shootdown",
	.value = "ns",
	.run = run,
};
