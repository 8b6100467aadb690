/* SPDX-License-Identifier: MIT */
/*
 * The dirty log of a memslot of 1 GiB, by how many of its pages are dirty, held against what its
 * bitmap of 32 KiB costs whoever uses it: finding the pages in it, and copying it.
 *
 * The pages are dirtied by a vCPU's stores, which are not in the time measured. Without manual
 * protection get also clears the log and write-protects what was in it; with it, clear does.
 */
#include "bench_log.h"
#include "bench_provider.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Far from what the kernel maps; nothing has to be there. */
#define FIRST_HVA (UINT64_C(1) << 40)

static const unsigned int percents[] = { 0, 1, 100 };

#define NR_PERCENTS (sizeof(percents) / sizeof(percents[0]))

/* A VM in one of the two modes. */
struct setup {
	struct bench_log log;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
};

/* One number of the report, and the log it should find. */
struct share {
	struct bench_log_share log; /* first: the cells' ctx is its as well */
	const uint64_t *bitmap;
};

/* Stores to the pages, spread over all of the guest. */
static int dirty_pages(void *vm, uint64_t step)
{
	const struct setup *setup = vm;
	int error = s2_vcpu_enter(setup->vcpu);

	for (uint64_t page = 0; !error && page < BENCH_LOG_PAGES; page += step) {
		error = s2_vcpu_store64(setup->vcpu, page * S2_PAGE_SIZE, page);
		s2_vcpu_poll(setup->vcpu);
	}
	s2_vcpu_exit(setup->vcpu);
	return error;
}

static int get_log(void *vm, const struct kvm_dirty_log *log)
{
	return s2_vm_get_dirty_log(((const struct setup *)vm)->vm, log);
}

static int clear_log(void *vm, const struct kvm_clear_dirty_log *log)
{
	return s2_vm_clear_dirty_log(((const struct setup *)vm)->vm, log);
}

static const struct bench_log_ops log_ops = {
	.dirty = dirty_pages,
	.get = get_log,
	.clear = clear_log,
};

/* That the log holds the pages that were dirtied, and no others. */
static int check_log(struct bench_worker *worker)
{
	const struct share *share = worker->ctx;
	uint64_t begin = clock_ns();

	if (memcmp(share->log.log->bitmap, share->bitmap, sizeof(share->log.log->bitmap)))
		return -EPROTO;
	worker->excluded_ns += clock_ns() - begin;
	return 0;
}

static int run_get(struct bench_worker *worker, uint64_t n)
{
	int error = bench_log_run_get(worker, n);

	return error ? error : check_log(worker);
}

static int run_clear(struct bench_worker *worker, uint64_t n)
{
	int error = bench_log_run_clear(worker, n);

	return error ? error : check_log(worker);
}

/* What migration does with a log: a look at each word, and at each bit that is set. */
static uint64_t find_pages(const uint64_t *bitmap)
{
	uint64_t sum = 0;

	for (uint64_t word = 0; word < BENCH_LOG_WORDS; word++)
		for (uint64_t bits = bitmap[word]; bits; bits &= bits - 1)
			sum += word * 64 + (unsigned int)__builtin_ctzll(bits);
	return sum;
}

static int run_scan(struct bench_worker *worker, uint64_t n)
{
	const uint64_t *bitmap = worker->ctx;

	for (uint64_t i = 0; i < 2 * n; i++)
		worker->sink += find_pages(bitmap);
	return 0;
}

static int run_memcpy(struct bench_worker *worker, uint64_t n)
{
	/* Volatile, so that the compiler does not know what is called and drops none of it. */
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	static _Thread_local uint64_t into[BENCH_LOG_WORDS];

	for (uint64_t i = 0; i < n; i++) {
		copy(into, worker->ctx, sizeof(into));
		worker->sink += into[i % BENCH_LOG_WORDS];
	}
	return 0;
}

static int set_up(struct setup *setup, struct s2_mm *mm, bool manual)
{
	const struct s2_vm_config config = { .manual_dirty_protect = manual };
	const struct kvm_userspace_memory_region region = {
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.memory_size = BENCH_LOG_PAGES * S2_PAGE_SIZE,
		.userspace_addr = FIRST_HVA,
	};
	int error = s2_vm_create(mm, &config, &setup->vm);

	setup->log.ops = &log_ops;
	setup->log.vm = setup;
	setup->log.manual = manual;
	if (!error)
		error = s2_vm_set_memory_region(setup->vm, &region);
	if (!error)
		error = s2_vcpu_create(setup->vm, NULL, &setup->vcpu);
	return error ? bench_fail(&bench_dirty, error, "cannot create a VM of 1 GiB") : 0;
}

static void take_down(struct setup *setup)
{
	s2_vcpu_destroy(setup->vcpu);
	s2_vm_put(setup->vm);
}

static int plan_op(struct bench_plan *plan, const struct bench_cell *cell, const char *op,
		   unsigned int percent)
{
	int error = bench_plan_add(plan, cell,
				   json_pack("{s:s, s:i}", "op", op, "dirty", (int)percent));

	return error ? bench_fail(&bench_dirty, error, "cannot plan the rounds") : 0;
}

/* All that is measured, and the memory it is measured with. */
struct everything {
	struct setup setup[2]; /* without manual protection and with it */
	struct share share[2][NR_PERCENTS];
	uint64_t bitmap[NR_PERCENTS][BENCH_LOG_WORDS];
	struct bench_aliased aliased;
};

static int plan_share(struct bench_plan *plan, struct everything *all, unsigned int i)
{
	const struct bench_cell scan = { .run = run_scan, .ctx = all->bitmap[i], .threads = 1 };
	struct bench_cell cell = { .run = run_get, .prepare = bench_log_empty, .threads = 1 };
	int error = plan_op(plan, &scan, "scan twice", percents[i]);

	bench_log_expect(all->bitmap[i], percents[i]);
	for (unsigned int manual = 0; !error && manual < 2; manual++) {
		all->share[manual][i] = (struct share){ { &all->setup[manual].log, percents[i] },
							all->bitmap[i] };
		cell.ctx = &all->share[manual][i];
		error = plan_op(plan, &cell, manual ? "get (manual)" : "get", percents[i]);
	}
	cell.run = run_clear;
	return error ? error : plan_op(plan, &cell, "clear (manual)", percents[i]);
}

static int measure(struct bench_plan *plan, struct everything *all, struct s2_mm *mm,
		   const struct bench_options *options, json_t *results)
{
	const struct bench_cell copy = { .run = run_memcpy, .ctx = all->bitmap[0], .threads = 1 };
	int error = plan_op(plan, &copy, "memcpy", 0);

	for (unsigned int i = 0; !error && i < NR_PERCENTS; i++)
		error = plan_share(plan, all, i);
	for (unsigned int manual = 0; !error && manual < 2; manual++)
		error = set_up(&all->setup[manual], mm, manual);
	if (!error)
		error = bench_plan_measure(plan, &bench_dirty, options, results);
	for (unsigned int manual = 0; manual < 2; manual++)
		take_down(&all->setup[manual]);
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct everything *all = aligned_alloc(S2_PAGE_SIZE, sizeof(*all));
	struct s2_mm_config config = { .provider = &bench_provider_aliased };
	struct bench_plan *plan = bench_plan_create();
	struct s2_mm *mm = NULL;
	int error = -ENOMEM;

	if (all && plan) {
		memset(all, 0, sizeof(*all));
		config.provider_ctx = &all->aliased;
		error = s2_mm_create(&config, &mm);
	}
	if (error)
		bench_fail(&bench_dirty, error, "cannot begin");
	else
		error = measure(plan, all, mm, options, results);
	s2_mm_put(mm);
	bench_plan_destroy(plan);
	free(all);
	return error;
}

static double op_ns(const json_t *results, const char *op, unsigned int percent)
{
	return bench_value(results, "ns", json_pack("{s:s, s:i}", "op", op, "dirty", (int)percent));
}

static void add_goals(const json_t *results, json_t *goals)
{
	bench_add_goal(goals, op_ns(results, "get", 0) / op_ns(results, "scan twice", 0),
		       BENCH_AT_MOST, 1, "times",
		       "two scans of the bitmap, to get the log of a clean GiB");
}

const struct bench bench_dirty = {
	.name = "dirty",
	.title = "the dirty log of 1 GiB, in ns, by the percentage of its pages that are dirty",
	.row_keys = { "op", NULL },
	.column = "dirty",
	.value = "ns",
	.run = run,
	.add_goals = add_goals,
};
