/* SPDX-License-Identifier: MIT */
/*
 * What the VMs of a process add to an invalidation that has nothing to do with them. KVM is told of
 * each by the MMU notifier, VM by VM, and needs no vCPU for it.
 *
 * The invalidation is a madvise(MADV_DONTNEED) of pages that were never touched, the cheapest call
 * that gets as far as the notifiers: where pages have to be freed, the same is added to more. But a
 * call that meets one of another thread assumes that this one left something for it to flush from
 * all CPUs' TLBs, which costs more than many VMs do. So the same is also measured with many ranges
 * in one call, which flushes once.
 *
 * All VMs of the process count, whichever thread calls: their number has to be right before each
 * slice.
 */
#include "bench_pairs.h"
#include "kvm_vm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

static const unsigned int vm_counts[] = { 0, 1, 16, 64, 256 };

#define NR_VM_COUNTS (sizeof(vm_counts) / sizeof(vm_counts[0]))
#define MOST_VMS 256

/* How many ranges a call of kvm_batch has; divides BENCH_PAIRS. */
#define BATCH 64

/* Descriptors for everything but VMs. */
#define OTHER_FILES 32

/* The VMs that there are now. */
struct population {
	int kvm;
	unsigned int nr;
	int vms[MOST_VMS];
};

/* A mapping of BENCH_CHUNK_SIZE, and what of it is invalidated, in the order of bench_pairs. */
struct thread_memory {
	char *chunk;
	struct iovec ranges[BENCH_PAIRS];
};

/* What cells with the same number of VMs have in common. */
struct setup {
	struct population *population;
	unsigned int nr_vms;
	int self; /* this process */
	const struct thread_memory *threads;
};

static int run_single(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	const struct iovec *ranges = setup->threads[worker->index].ranges;

	for (uint64_t i = worker->done; i < worker->done + n; i++) {
		const struct iovec *range = &ranges[i % BENCH_PAIRS];

		if (madvise(range->iov_base, range->iov_len, MADV_DONTNEED))
			return -errno;
	}
	return 0;
}

static int run_batch(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	const struct iovec *ranges = setup->threads[worker->index].ranges;

	for (uint64_t i = worker->done; i < worker->done + n; i++)
		if (process_madvise(setup->self, &ranges[i * BATCH % BENCH_PAIRS], BATCH,
				    MADV_DONTNEED, 0) < 0)
			return -errno;
	return 0;
}

static const struct {
	const char *name;
	bench_run_fn *run;
} gates[] = { { "kvm", run_single }, { "kvm_batch", run_batch } };

#define NR_GATES (sizeof(gates) / sizeof(gates[0]))

static int add_vm(struct population *population)
{
	uint64_t hva = bench_guest_chunk(population->nr * (BENCH_CHUNK_PAIRS / MOST_VMS));
	const struct kvm_userspace_memory_region region =
		bench_region(0, 0, BENCH_CHUNK_SIZE / S2_PAGE_SIZE, hva);
	int vm = kvm_call(population->kvm, KVM_CREATE_VM, NULL);

	if (vm < 0)
		return vm;
	population->vms[population->nr++] = vm;
	return kvm_set_region(&vm, &region);
}

static int populate(struct population *population, unsigned int nr)
{
	int error = 0;

	while (!error && population->nr < nr)
		error = add_vm(population);
	while (population->nr > nr)
		close(population->vms[--population->nr]);
	return error;
}

static int prepare(void *ctx)
{
	const struct setup *setup = ctx;

	return populate(setup->population, setup->nr_vms);
}

/* How many VMs the limit on open files leaves room for, after raising it as far as we may. */
static unsigned int affordable_vms(void)
{
	const rlim_t wanted = MOST_VMS + OTHER_FILES;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return MOST_VMS;
	if (limit.rlim_cur < wanted) {
		limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= wanted)
		return MOST_VMS;
	return limit.rlim_cur > OTHER_FILES ? (unsigned int)limit.rlim_cur - OTHER_FILES : 0;
}

/* A kernel before 6.13 lets no process advise itself so. */
static bool has_batch(const struct setup *setup)
{
	struct bench_worker worker = { .ctx = (void *)setup };
	int error = setup->self < 0 ? setup->self : run_batch(&worker, 1);

	if (error)
		bench_fail(&kvm_bench_gate, error, "without kvm_batch: process_madvise()");
	return !error;
}

static int plan_cell(struct bench_plan *plan, struct setup *setup, unsigned int gate,
		     unsigned int threads)
{
	const struct bench_cell cell = {
		.run = gates[gate].run,
		.prepare = prepare,
		.ctx = setup,
		.threads = threads,
	};
	int error = bench_plan_add(plan, &cell,
				   json_pack("{s:s, s:i, s:i}", "gate", gates[gate].name, "threads",
					     (int)threads, "vms", (int)setup->nr_vms));

	return error ? bench_fail(&kvm_bench_gate, error, "cannot plan the rounds") : 0;
}

static int plan_setups(struct bench_plan *plan, struct setup *setups, unsigned int nr_gates,
		       const struct bench_options *options)
{
	unsigned int most = affordable_vms();
	int error = 0;

	for (unsigned int i = 0; i < NR_VM_COUNTS; i++) {
		unsigned int nr = nr_gates * options->nr_threads;

		if (setups[i].nr_vms > most) {
			bench_fail(&kvm_bench_gate, -EMFILE, "without %u VMs (see ulimit -Hn)",
				   setups[i].nr_vms);
			continue;
		}
		for (unsigned int cell = 0; !error && cell < nr; cell++)
			error = plan_cell(plan, &setups[i], cell / options->nr_threads,
					  options->threads[cell % options->nr_threads]);
	}
	return error;
}

static int measure_counts(struct population *population, const struct thread_memory *threads,
			  const struct bench_options *options, json_t *results)
{
	struct bench_plan *plan = bench_plan_create();
	int self = pidfd_open(getpid(), 0), error;
	struct setup setups[NR_VM_COUNTS];

	if (self < 0)
		self = -errno;
	for (unsigned int i = 0; i < NR_VM_COUNTS; i++)
		setups[i] = (struct setup){ population, vm_counts[i], self, threads };
	error = plan ? plan_setups(plan, setups, has_batch(&setups[0]) ? NR_GATES : 1, options)
		     : bench_fail(&kvm_bench_gate, -ENOMEM, "cannot begin");
	if (!error)
		error = bench_plan_measure(plan, &kvm_bench_gate, options, results);
	populate(population, 0);
	if (self >= 0)
		close(self);
	bench_plan_destroy(plan);
	return error;
}

static void fill_ranges(struct thread_memory *memory, uint64_t seed)
{
	struct bench_pairs pairs;

	bench_pairs_fill(&pairs, seed);
	for (unsigned int i = 0; i < BENCH_PAIRS; i++) {
		memory->ranges[i].iov_base =
			memory->chunk + pairs.range[i].start % BENCH_CHUNK_SIZE;
		memory->ranges[i].iov_len = pairs.range[i].end - pairs.range[i].start;
	}
}

/*
 * A chunk for each thread, with a page between them that keeps the kernel from making them one
 * mapping, of which the threads would then share the lock.
 */
static int map_threads(struct thread_memory *threads, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		char *chunk = mmap(NULL, BENCH_CHUNK_SIZE + S2_PAGE_SIZE, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (chunk == MAP_FAILED)
			return -errno;
		threads[i].chunk = chunk;
		if (mprotect(chunk, BENCH_CHUNK_SIZE, PROT_READ | PROT_WRITE))
			return -errno;
		fill_ranges(&threads[i], i + 1);
	}
	return 0;
}

static void unmap_threads(struct thread_memory *threads, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		if (threads[i].chunk)
			munmap(threads[i].chunk, BENCH_CHUNK_SIZE + S2_PAGE_SIZE);
}

/* Two decimal places, as in other reports. */
static void set_ns(json_t *row, const char *key, double ns)
{
	json_object_set_new(row, key, json_real(round(ns * 100) / 100));
}

/* From calls to ranges, and from all VMs to one; the rows without VMs come first. */
static void divide(json_t *results)
{
	json_t *row;
	size_t i;

	json_array_foreach (results, i, row) {
		json_t *gate = json_object_get(row, "gate");
		json_t *threads = json_object_get(row, "threads");
		json_int_t vms = json_integer_value(json_object_get(row, "vms"));
		double ns = json_number_value(json_object_get(row, "ns")), floor;

		if (!strcmp(json_string_value(gate), "kvm_batch"))
			ns /= BATCH;
		set_ns(row, "ns", ns);
		floor = bench_value(results, "ns",
				    json_pack("{s:O, s:O, s:i}", "gate", gate, "threads", threads,
					      "vms", 0));
		if (vms)
			set_ns(row, "ns_per_vm", (ns - floor) / (double)vms);
	}
}

static int run(const struct bench_options *options, json_t *results)
{
	struct thread_memory *threads = calloc(options->nr_cpus, sizeof(*threads));
	struct population population = { .kvm = kvm_open() };
	int error = threads ? 0 : -ENOMEM;

	if (!error && population.kvm < 0)
		error = population.kvm;
	if (!error)
		error = map_threads(threads, options->nr_cpus);
	if (error)
		bench_fail(&kvm_bench_gate, error, "cannot begin");
	else
		error = measure_counts(&population, threads, options, results);
	if (threads)
		unmap_threads(threads, options->nr_cpus);
	if (population.kvm >= 0)
		close(population.kvm);
	free(threads);
	divide(results);
	return error;
}

const struct bench kvm_bench_gate = {
	.name = "gate",
	.title = "a madvise that concerns no VM, in ns as each thread sees them",
	.row_keys = { "gate", "threads" },
	.column = "vms",
	.value = "ns",
	.run = run,
};
