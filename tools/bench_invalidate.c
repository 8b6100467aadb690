/* SPDX-License-Identifier: MIT */
/*
 * What an invalidation costs that takes one page from a guest, by the VM's vCPUs: how many there
 * are, each of which is asked to flush its TLB, and how many of them are busy in guest mode, each
 * of which is waited for.
 *
 * Every page is mapped when it is invalidated: it is faulted in beforehand, many at once and not in
 * the time measured. The busy vCPUs load from pages of their own, which stay, and find them in the
 * stage-2 table again after each flush.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "bench_provider.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MOST_VCPUS 64

static const unsigned int vcpu_counts[] = { 1, 16, MOST_VCPUS };

#define NR_VCPU_COUNTS (sizeof(vcpu_counts) / sizeof(vcpu_counts[0]))

/* The gates, with vCPUs that poll, and one of them with vCPUs that need not. */
static const struct variant {
	enum s2_gate gate;
	enum s2_shootdown shootdown;
} variants[] = {
	{ S2_GATE_RANGE, S2_SHOOTDOWN_SAFEPOINT },  { S2_GATE_RANGE, S2_SHOOTDOWN_RSEQ },
	{ S2_GATE_ALWAYS, S2_SHOOTDOWN_SAFEPOINT }, { S2_GATE_RWSEM, S2_SHOOTDOWN_SAFEPOINT },
	{ S2_GATE_COUNT, S2_SHOOTDOWN_SAFEPOINT },
};

#define NR_VARIANTS (sizeof(variants) / sizeof(variants[0]))
#define NR_SETUPS (NR_VARIANTS * NR_VCPU_COUNTS)

/* The pages that are invalidated, and behind them one for each vCPU. */
#define PAGES 64
#define MEMORY_SIZE ((PAGES + MOST_VCPUS) * S2_PAGE_SIZE)

/* How many loads a busy vCPU makes between two polls: about as many as in a tenth of a us. */
#define LOADS_PER_POLL 64

/*
 * One VM of one variant. vCPU 0 maps the pages, on the thread that invalidates them, and is out of
 * guest mode then; those after it are the busy ones, as many as there are.
 *
 * @mapped: how many pages it has mapped so far.
 */
struct setup {
	struct s2_mm *mm;
	struct s2_vm *vm;
	char *memory;
	const struct variant *variant;
	unsigned int nr_vcpus;
	uint64_t mapped;
	struct s2_vcpu *vcpus[MOST_VCPUS];
};

static int map_pages(struct bench_worker *worker, uint64_t pages)
{
	struct setup *setup = worker->ctx;
	uint64_t begin = clock_ns(), value = 0;
	int error = s2_vcpu_enter(setup->vcpus[0]);

	for (uint64_t i = 0; !error && i < pages; i++) {
		error = s2_vcpu_load64(setup->vcpus[0], i * S2_PAGE_SIZE, &value);
		worker->sink += value;
		s2_vcpu_poll(setup->vcpus[0]);
	}
	s2_vcpu_exit(setup->vcpus[0]);
	setup->mapped += pages;
	worker->excluded_ns += clock_ns() - begin;
	return error;
}

static int invalidate_pages(const struct setup *setup, uint64_t pages)
{
	struct s2_invalidation inv;

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t start = (uintptr_t)setup->memory + i * S2_PAGE_SIZE;
		int error =
			s2_invalidate_range_start(setup->mm, &inv, start, start + S2_PAGE_SIZE, 0);

		if (error)
			return error;
		s2_invalidate_range_end(setup->mm, &inv);
	}
	return 0;
}

static int run_invalidate(struct bench_worker *worker, uint64_t n)
{
	int error = 0;

	for (uint64_t done = 0; !error && done < n;) {
		uint64_t some = n - done < PAGES ? n - done : PAGES;

		error = map_pages(worker, some);
		if (!error)
			error = invalidate_pages(worker->ctx, some);
		done += some;
	}
	return error;
}

/* In guest mode all the time but for the moment in which the loop looks at the clock. */
static int run_busy(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	struct s2_vcpu *vcpu = setup->vcpus[worker->index];
	uint64_t gpa = (PAGES + worker->index) * S2_PAGE_SIZE, value = 0;
	int error = s2_vcpu_enter(vcpu);

	for (uint64_t i = 0; !error && i < n; i++) {
		error = s2_vcpu_load64(vcpu, gpa + i % 512 * 8, &value);
		worker->sink += value;
		if (i % LOADS_PER_POLL == 0)
			s2_vcpu_poll(vcpu);
	}
	s2_vcpu_exit(vcpu);
	return error;
}

static int create_vcpus(struct setup *setup)
{
	const struct s2_vcpu_config config = { .shootdown = setup->variant->shootdown };
	int error = 0;

	for (unsigned int i = 0; !error && i < setup->nr_vcpus; i++)
		error = s2_vcpu_create(setup->vm, &config, &setup->vcpus[i]);
	return error;
}

static int set_up(struct setup *setup)
{
	const struct s2_mm_config config = { .gate = setup->variant->gate,
					     .provider = &bench_provider };
	int error = s2_mm_create(&config, &setup->mm);

	if (!error)
		error = s2_vm_create(setup->mm, NULL, &setup->vm);
	if (!error)
		error = bench_set_memslot(setup->vm, 0, 0, MEMORY_SIZE / S2_PAGE_SIZE,
					  (uintptr_t)setup->memory);
	if (!error)
		error = create_vcpus(setup);
	if (error)
		bench_fail(&bench_invalidate, error, "cannot create a VM with %u vCPUs",
			   setup->nr_vcpus);
	return error;
}

static void take_down(struct setup *setup)
{
	for (unsigned int i = 0; i < setup->nr_vcpus; i++)
		s2_vcpu_destroy(setup->vcpus[i]);
	s2_vm_put(setup->vm);
	s2_mm_put(setup->mm);
}

/* A busy vCPU needs a CPU of its own, or the flush would wait for the scheduler. */
static int plan_setup(struct bench_plan *plan, struct setup *setup,
		      const struct bench_options *options)
{
	enum s2_shootdown shootdown = s2_vcpu_shootdown(setup->vcpus[0]);
	int error = 0;

	/* Where there is no rseq the vCPU has safepoints, which are measured already. */
	for (unsigned int busy = 0; !error && busy < options->nr_cpus && busy < setup->nr_vcpus &&
				    shootdown == setup->variant->shootdown;
	     busy++) {
		const struct bench_cell cell = {
			.run = run_invalidate,
			.storm = busy ? run_busy : NULL,
			.storms = busy,
			.ctx = setup,
			.threads = 1,
		};

		error = bench_plan_add(plan, &cell,
				       json_pack("{s:s, s:s, s:i, s:i}", "gate",
						 s2_gate_name(setup->variant->gate), "shootdown",
						 shootdown ? "rseq" : "safepoint", "vcpus",
						 (int)setup->nr_vcpus, "busy", (int)busy));
	}
	return error ? bench_fail(&bench_invalidate, error, "cannot plan the rounds") : 0;
}

/* What was invalidated was mapped only if each page had to be faulted in again. */
static int check_faults(const struct setup *setup)
{
	struct s2_vcpu_stats stats;
	int error = s2_vcpu_get_stats(setup->vcpus[0], &stats);

	if (!error && stats.faults < setup->mapped)
		error = -EPROTO;
	return error ? bench_fail(&bench_invalidate, error,
				  "only %" PRIu64 " of %" PRIu64 " pages were faulted in again",
				  stats.faults, setup->mapped)
		     : 0;
}

static int measure_setups(struct bench_plan *plan, struct setup *setups,
			  const struct bench_options *options, json_t *results)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_SETUPS; i++) {
		if (!(options->gates & 1u << setups[i].variant->gate))
			continue;
		error = set_up(&setups[i]);
		if (!error)
			error = plan_setup(plan, &setups[i], options);
	}
	if (!error)
		error = bench_plan_measure(plan, &bench_invalidate, options, results);
	for (unsigned int i = 0; !error && i < NR_SETUPS; i++)
		if (options->gates & 1u << setups[i].variant->gate)
			error = check_faults(&setups[i]);
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup setups[NR_SETUPS] = { 0 };
	char *memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (memory != MAP_FAILED && plan) {
		for (unsigned int i = 0; i < NR_SETUPS; i++) {
			setups[i].memory = memory;
			setups[i].variant = &variants[i / NR_VCPU_COUNTS];
			setups[i].nr_vcpus = vcpu_counts[i % NR_VCPU_COUNTS];
		}
		error = measure_setups(plan, setups, options, results);
	} else {
		error = bench_fail(&bench_invalidate, -ENOMEM, "cannot begin");
	}
	for (unsigned int i = 0; i < NR_SETUPS; i++)
		take_down(&setups[i]);
	bench_plan_destroy(plan);
	if (memory != MAP_FAILED)
		munmap(memory, MEMORY_SIZE);
	return error;
}

const struct bench bench_invalidate = {
	.name = "invalidate",
	.title = "an invalidation of one mapped page, in ns, by vCPUs and how many of them are in "
		 "guest mode",
	.row_keys = { "gate", "shootdown", "vcpus" },
	.column = "busy",
	.value = "ns",
	.run = run,
};
