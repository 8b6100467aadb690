/* SPDX-License-Identifier: MIT */
/*
 * What the dirty log of 1 GiB costs: the operations of stage2 bench dirty, in both modes of the
 * log, without a dirty page and with one in a hundred that a guest has written to. Not with all of
 * them: the guest would be writing for most of a minute.
 */
#include "bench_log.h"
#include "kvm_vm.h"
#include "kvm_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(KVM_WRITER_CODE == BENCH_LOG_PAGES * S2_PAGE_SIZE, "the guest writes to all of it");

/* How many dirty pages, in percent. */
static const unsigned int percents[] = { 0, 1 };

#define NR_PERCENTS (sizeof(percents) / sizeof(percents[0]))

/* A VM in one of the two modes. */
struct setup {
	struct bench_log log;
	int vm;
	struct kvm_writer writer;
};

/* All that is measured, and the memory it is measured with. */
struct everything {
	int kvm;
	char *memory;
	struct setup setup[2]; /* without manual protection and with it */
	struct bench_log_share share[2][NR_PERCENTS];
};

static int write_pages(void *vm, uint64_t step)
{
	return kvm_writer_pass(&((struct setup *)vm)->writer, step);
}

static int get_log(void *vm, const struct kvm_dirty_log *log)
{
	return kvm_call(((const struct setup *)vm)->vm, KVM_GET_DIRTY_LOG, log);
}

static int clear_log(void *vm, const struct kvm_clear_dirty_log *log)
{
	return kvm_call(((const struct setup *)vm)->vm, KVM_CLEAR_DIRTY_LOG, log);
}

static const struct bench_log_ops log_ops = {
	.dirty = write_pages,
	.get = get_log,
	.clear = clear_log,
};

/* That the log holds the pages that the guest writes to, and no others. */
static int check_log(struct bench_log_share *share)
{
	static uint64_t expected[BENCH_LOG_WORDS];
	int error = bench_log_dirty(share);

	memset(expected, 0, sizeof(expected));
	bench_log_expect(expected, share->percent);
	if (!error)
		error = bench_log_get(share->log);
	if (!error && memcmp(share->log->bitmap, expected, sizeof(expected)))
		error = -EPROTO;
	return error ? error : bench_log_empty(share);
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
	if (!error && setup->log.manual)
		error = kvm_call(setup->vm, KVM_ENABLE_CAP, &protect);
	if (!error)
		error = add_memslots(setup->vm, all->memory);
	return error ? bench_fail(&kvm_bench_dirty, error, "cannot create a VM of 1 GiB") : 0;
}

/* Where the guest does not run, the log without dirty pages can still be measured. */
static bool start_writer(struct setup *setup, const struct everything *all)
{
	struct bench_log_share share = { &setup->log, 1 };
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
				   json_pack("{s:s, s:i, s:i}", "op", op, "pages", (int)BENCH_LOG_PAGES,
					     "dirty", (int)percent));

	return error ? bench_fail(&kvm_bench_dirty, error, "cannot plan the rounds") : 0;
}

static int plan_setup(struct bench_plan *plan, struct everything *all, bool manual)
{
	struct bench_cell cell = { .prepare = bench_log_empty, .threads = 1 };
	struct setup *setup = &all->setup[manual];
	unsigned int nr;
	int error;

	setup->log.ops = &log_ops;
	setup->log.vm = setup;
	setup->log.manual = manual;
	error = create_vm(setup, all);
	if (error)
		return error;
	nr = start_writer(setup, all) ? NR_PERCENTS : 1;
	for (unsigned int i = 0; !error && i < nr; i++) {
		all->share[manual][i] = (struct bench_log_share){ &setup->log, percents[i] };
		cell.ctx = &all->share[manual][i];
		cell.run = bench_log_run_get;
		error = plan_op(plan, &cell, manual ? "get (manual)" : "get", percents[i]);
		cell.run = bench_log_run_clear;
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
