/* SPDX-License-Identifier: MIT */
/*
 * What the dirty log of 1 GiB costs: the operations of stage2 bench dirty, in both modes of the
 * log, without a dirty page and with one in a hundred that a guest has written to. Not with all of
 * them: the guest would be writing for most of a minute.
 */
#include "clock.h"
#include "kvm_vm.h"
#include "kvm_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES (KVM_WRITER_CODE / S2_PAGE_SIZE)
#define WORDS (PAGES / 64)

/* How many dirty pages, in percent. */
static const unsigned int percents[] = { 0, 1 };

#define NR_PERCENTS (sizeof(percents) / sizeof(percents[0]))

/* A VM in one of the two modes, with the log as it was last got. */
struct setup {
	int vm;
	bool manual;
	struct kvm_writer writer;
	uint64_t bitmap[WORDS];
};

/* One number of the report: so much of @setup's memory is dirty. */
struct share {
	struct setup *setup;
	unsigned int percent;
};

/* All that is measured, and the memory it is measured with. */
struct everything {
	int kvm;
	char *memory;
	struct setup setup[2]; /* without manual protection and with it */
	struct share share[2][NR_PERCENTS];
};

static int write_pages(const struct share *share)
{
	if (!share->percent)
		return 0;
	return kvm_writer_pass(&share->setup->writer, 100 / share->percent);
}

static int get_log(struct setup *setup)
{
	const struct kvm_dirty_log log = { .dirty_bitmap = setup->bitmap };

	return kvm_call(setup->vm, KVM_GET_DIRTY_LOG, &log);
}

static int clear_log(struct setup *setup)
{
	const struct kvm_clear_dirty_log log = { .num_pages = PAGES,
						 .dirty_bitmap = setup->bitmap };

	return kvm_call(setup->vm, KVM_CLEAR_DIRTY_LOG, &log);
}

/* Cells of the same VM follow each other: takes what the last one left in the log. */
static int empty_log(void *ctx)
{
	struct share *share = ctx;
	int error = get_log(share->setup);

	return !error && share->setup->manual ? clear_log(share->setup) : error;
}

static int run_get(struct bench_worker *worker, uint64_t n)
{
	const struct share *share = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns();

		error = write_pages(share);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = get_log(share->setup);
	}
	return error;
}

static int run_clear(struct bench_worker *worker, uint64_t n)
{
	const struct share *share = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns();

		error = write_pages(share);
		if (!error)
			error = get_log(share->setup);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = clear_log(share->setup);
	}
	return error;
}

/* That the log holds the pages that the guest writes to, and no others. */
static int check_log(struct share *share)
{
	struct setup *setup = share->setup;
	int error = write_pages(share);

	if (!error)
		error = get_log(setup);
	for (uint64_t page = 0; page < PAGES; page += 100 / share->percent)
		setup->bitmap[page / 64] ^= UINT64_C(1) << page % 64;
	for (unsigned int i = 0; !error && i < WORDS; i++)
		if (setup->bitmap[i])
			error = -EPROTO;
	return error ? error : empty_log(share);
}

/* The page behind the memory is the writer's code. */
static int add_memslots(int vm, char *memory)
{
	const struct kvm_userspace_memory_region logged = {
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.memory_size = KVM_WRITER_CODE,
		.userspace_addr = (uintptr_t)memory,
	};
	const struct kvm_userspace_memory_region code = {
		.slot = 1,
		.guest_phys_addr = KVM_WRITER_CODE,
		.memory_size = S2_PAGE_SIZE,
		.userspace_addr = (uintptr_t)memory + KVM_WRITER_CODE,
	};
	int error = kvm_set_region(&vm, &logged);

	return error ? error : kvm_set_region(&vm, &code);
}

static int create_vm(struct setup *setup, const struct everything *all)
{
	const struct kvm_enable_cap protect = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
	};
	int error;

	setup->vm = kvm_call(all->kvm, KVM_CREATE_VM, NULL);
	error = setup->vm < 0 ? setup->vm : 0;
	if (!error && setup->manual)
		error = kvm_call(setup->vm, KVM_ENABLE_CAP, &protect);
	if (!error)
		error = add_memslots(setup->vm, all->memory);
	return error ? bench_fail(&kvm_bench_dirty, error, "cannot create a VM of 1 GiB") : 0;
}

/* Where the guest does not run, the log without dirty pages can still be measured. */
static bool start_writer(struct setup *setup, const struct everything *all)
{
	struct share share = { setup, 1 };
	int error = kvm_writer_create(&setup->writer, all->kvm, setup->vm,
				      all->memory + KVM_WRITER_CODE);

	if (!error)
		error = check_log(&share);
	if (error)
		bench_fail(&kvm_bench_dirty, error, "without dirty pages, as the guest fails");
	return !error;
}

static int plan_op(struct bench_plan *plan, const struct bench_cell *cell, const char *op,
		   unsigned int percent)
{
	int error = bench_plan_add(plan, cell,
				   json_pack("{s:s, s:i, s:i}", "op", op, "pages", (int)PAGES,
					     "dirty", (int)percent));

	return error ? bench_fail(&kvm_bench_dirty, error, "cannot plan the rounds") : 0;
}

static int plan_setup(struct bench_plan *plan, struct everything *all, bool manual)
{
	struct bench_cell cell = { .prepare = empty_log, .threads = 1 };
	struct setup *setup = &all->setup[manual];
	unsigned int nr;
	int error;

	setup->manual = manual;
	error = create_vm(setup, all);
	if (error)
		return error;
	nr = start_writer(setup, all) ? NR_PERCENTS : 1;
	for (unsigned int i = 0; !error && i < nr; i++) {
		all->share[manual][i] = (struct share){ setup, percents[i] };
		cell.ctx = &all->share[manual][i];
		cell.run = run_get;
		error = plan_op(plan, &cell, manual ? "get (manual)" : "get", percents[i]);
		cell.run = run_clear;
		if (!error && manual)
			error = plan_op(plan, &cell, "clear (manual)", percents[i]);
	}
	return error;
}

static void take_down(struct everything *all)
{
	for (unsigned int manual = 0; manual < 2; manual++) {
		kvm_writer_destroy(&all->setup[manual].writer);
		if (all->setup[manual].vm >= 0)
			close(all->setup[manual].vm);
	}
	if (all->kvm >= 0)
		close(all->kvm);
	if (all->memory != MAP_FAILED)
		munmap(all->memory, KVM_WRITER_CODE + S2_PAGE_SIZE);
}

/* Takes pages only for what is written: no huge ones. */
static char *map_memory(void)
{
	char *memory = mmap(NULL, KVM_WRITER_CODE + S2_PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory != MAP_FAILED)
		/* Fails where the kernel has no huge pages. */
		madvise(memory, KVM_WRITER_CODE + S2_PAGE_SIZE, MADV_NOHUGEPAGE);
	return memory;
}

static int measure(struct bench_plan *plan, struct everything *all,
		   const struct bench_options *options, json_t *results)
{
	int error = all->kvm < 0 ? all->kvm : all->memory == MAP_FAILED ? -ENOMEM : 0;

	if (error)
		return bench_fail(&kvm_bench_dirty, error, "cannot begin");
	for (unsigned int manual = 0; !error && manual < 2; manual++)
		error = plan_setup(plan, all, manual);
	return error ? error : bench_plan_measure(plan, &kvm_bench_dirty, options, results);
}

static int run(const struct bench_options *options, json_t *results)
{
	struct everything *all = calloc(1, sizeof(*all));
	struct bench_plan *plan = bench_plan_create();
	int error;

	if (all && plan) {
		all->kvm = kvm_open();
		all->memory = map_memory();
		for (unsigned int manual = 0; manual < 2; manual++)
			all->setup[manual].vm = all->setup[manual].writer.vcpu = -1;
		error = measure(plan, all, options, results);
		take_down(all);
	} else {
		error = bench_fail(&kvm_bench_dirty, -ENOMEM, "cannot begin");
	}
	bench_plan_destroy(plan);
	free(all);
	return error;
}

const struct bench kvm_bench_dirty = {
	.name = "dirty",
	.title = "the dirty log of 1 GiB, in ns, by the percentage of its pages that are dirty",
	.row_keys = { "op", NULL },
	.column = "dirty",
	.value = "ns",
	.run = run,
};
