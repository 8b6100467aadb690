/* SPDX-License-Identifier: MIT */
/*
 * UCX's registration cache: what MPI and RPC libraries use to keep memory registered with a network
 * card, and the closest thing to this library that programs run today. It asks ucm, which patches
 * the first instructions of munmap() and its like, to be told of every range that goes away; each
 * cache then looks whether it holds a region there. Here none does, as in stage2 bench gate: the
 * regions are where the memslots are there, the ranges are the same.
 *
 * An event that finds a cache's lock taken leaves its range to whoever has the lock, who goes on
 * until none is left. Threads that do nothing but unmap would keep him at it for ever, and the
 * queue would take all memory: so those who are far ahead wait for who is behind.
 *
 * ucm's handlers belong to the process: before each slice, as many caches are made as it is to be
 * measured with.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "clock.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>
#include <unistd.h>

static const unsigned int cache_counts[] = { 0, 1, 4, 16 };

#define NR_CACHE_COUNTS (sizeof(cache_counts) / sizeof(cache_counts[0]))
#define MOST_CACHES 16
#define REGIONS (BENCH_CHUNK_PAIRS / MOST_CACHES)

/* UCX's own defaults, which ucx_info -c tells. */
#define UCX_EVENT_PRIORITY 1000
#define UCX_REGION_ALIGNMENT 16
#define UCX_MAX_UNRELEASED ((size_t)512 << 20)

#define EVENTS_PER_LOOK 256
#define MOST_AHEAD 8192
#define LONGEST_WAIT_NS 20000000

/*
 * All caches there are.
 *
 * @registered: how often a cache did not have a region that it was asked for.
 */
struct caches {
	struct progress {
		_Atomic uint64_t events; /* in this slice */
	} __attribute__((aligned(64))) progress[BENCH_MAX_CPUS];
	ucs_rcache_t *cache[MOST_CACHES];
	unsigned int nr;
	unsigned int registered;
	const struct bench_pairs *pairs;
};

/* What one count of caches is measured with, and the VMs that stand beside it. */
struct setup {
	struct caches *caches;
	unsigned int nr;
	struct s2_mm *mm;
	struct s2_vm *vms[MOST_CACHES];
};

static const struct bench bench_ucx;

static uint64_t region_hva(unsigned int owner, unsigned int region)
{
	return bench_guest_chunk(region * MOST_CACHES + owner);
}

static ucs_status_t register_region(void *context, ucs_rcache_t *cache, void *arg,
				    ucs_rcache_region_t *region, uint16_t flags)
{
	struct caches *caches = context;

	(void)cache;
	(void)arg;
	(void)region;
	(void)flags;
	caches->registered++;
	return UCS_OK;
}

static void deregister_region(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *region)
{
	(void)context;
	(void)cache;
	(void)region;
}

static void describe_region(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *region,
			    char *text, size_t size)
{
	(void)context;
	(void)cache;
	(void)region;
	if (size)
		*text = '\0';
}

static const ucs_rcache_ops_t cache_ops = {
	.mem_reg = register_region,
	.mem_dereg = deregister_region,
	.dump_region = describe_region,
};

static int use_regions(ucs_rcache_t *cache, unsigned int owner)
{
	for (unsigned int i = 0; i < REGIONS; i++) {
		ucs_rcache_region_t *region;

		/* The cache keeps what nobody uses any more: that is what it is for. */
		if (ucs_rcache_get(cache, (void *)(uintptr_t)region_hva(owner, i), BENCH_CHUNK_SIZE,
				   PROT_READ | PROT_WRITE, NULL, &region) != UCS_OK)
			return -ENOMEM;
		ucs_rcache_region_put(cache, region);
	}
	return 0;
}

static int add_cache(struct caches *caches)
{
	const ucs_rcache_params_t params = {
		.region_struct_size = sizeof(ucs_rcache_region_t),
		.alignment = UCX_REGION_ALIGNMENT,
		.max_alignment = S2_PAGE_SIZE,
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = UCX_EVENT_PRIORITY,
		.ops = &cache_ops,
		.context = caches,
		.flags = UCS_RCACHE_FLAG_NO_PFN_CHECK,
		.max_regions = ULONG_MAX,
		.max_size = SIZE_MAX,
		.max_unreleased = UCX_MAX_UNRELEASED,
	};
	ucs_rcache_t **cache = &caches->cache[caches->nr];

	if (ucs_rcache_create(&params, "stage2", NULL, cache) != UCS_OK)
		return -ENOMEM;
	return use_regions(*cache, caches->nr++);
}

/* -EPROTO if it has lost a region meanwhile, to events that had nothing to do with it. */
static int remove_cache(struct caches *caches)
{
	unsigned int registered = caches->registered;
	unsigned int last = --caches->nr;
	int error = use_regions(caches->cache[last], last);

	ucs_rcache_destroy(caches->cache[last]);
	if (!error && caches->registered != registered)
		error = -EPROTO;
	return error;
}

static int set_caches(struct caches *caches, unsigned int nr)
{
	int error = 0;

	while (!error && caches->nr > nr)
		error = remove_cache(caches);
	while (!error && caches->nr < nr)
		error = add_cache(caches);
	return error;
}

static int prepare(void *ctx)
{
	const struct setup *setup = ctx;

	for (unsigned int i = 0; i < BENCH_MAX_CPUS; i++)
		atomic_store(&setup->caches->progress[i].events, 0);
	return set_caches(setup->caches, setup->nr);
}

/* Of the threads that have begun. */
static uint64_t least_progress(struct caches *caches)
{
	uint64_t least = UINT64_MAX;

	for (unsigned int i = 0; i < BENCH_MAX_CPUS; i++) {
		uint64_t events = atomic_load_explicit(&caches->progress[i].events,
						       memory_order_relaxed);

		if (events && events < least)
			least = events;
	}
	return least;
}

/* One that has ended is waited for in vain, but not for long. */
static void await_others(struct caches *caches, unsigned int index)
{
	uint64_t mine = atomic_fetch_add_explicit(&caches->progress[index].events, EVENTS_PER_LOOK,
						  memory_order_relaxed);
	uint64_t begin = clock_ns();

	while (least_progress(caches) + MOST_AHEAD < mine && clock_ns() - begin < LONGEST_WAIT_NS)
		sched_yield();
}

static int run_event(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;
	const struct bench_pairs *pairs = &setup->caches->pairs[worker->index];

	for (uint64_t i = worker->done; i < worker->done + n; i++) {
		uint64_t start = pairs->range[i % BENCH_PAIRS].start;
		uint64_t end = pairs->range[i % BENCH_PAIRS].end;

		if (i % EVENTS_PER_LOOK == 0)
			await_others(setup->caches, worker->index);
		ucm_vm_munmap((void *)(uintptr_t)start, end - start);
	}
	return 0;
}

static int run_s2_event(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = worker->ctx;

	return bench_pairs_run(&setup->caches->pairs[worker->index], setup->mm, worker->done, n);
}

/* A way to map and to unmap. */
typedef void *map_fn(uint64_t start, uint64_t length);
typedef int unmap_fn(const struct setup *setup, void *mapped, uint64_t length);

#define PROTECTION (PROT_READ | PROT_WRITE)
#define FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/* What ucm has patched, mmap() too. */
static void *hooked_map(uint64_t start, uint64_t length)
{
	return mmap((void *)(uintptr_t)start, length, PROTECTION, FLAGS, -1, 0);
}

static int hooked_unmap(const struct setup *setup, void *mapped, uint64_t length)
{
	(void)setup;
	return munmap(mapped, length) ? -errno : 0;
}

/* What it has not. */
static void *plain_map(uint64_t start, uint64_t length)
{
	return (void *)syscall(SYS_mmap, start, length, PROTECTION, FLAGS, -1, 0);
}

static int plain_unmap(const struct setup *setup, void *mapped, uint64_t length)
{
	(void)setup;
	return syscall(SYS_munmap, mapped, length) ? -errno : 0;
}

static int s2_unmap(const struct setup *setup, void *mapped, uint64_t length)
{
	uint64_t start = (uintptr_t)mapped;
	struct s2_invalidation inv;
	int error = s2_invalidate_range_start(setup->mm, &inv, start, start + length, 0);

	if (error)
		return error;
	error = plain_unmap(setup, mapped, length);
	s2_invalidate_range_end(setup->mm, &inv);
	return error;
}

/*
 * Maps and unmaps; nothing touches the pages, so that the system calls cost as little as they can.
 * The addresses are hints: should two threads want the same one, one of them gets another.
 */
static int run_mappings(struct bench_worker *worker, uint64_t n, map_fn *map, unmap_fn *unmap)
{
	const struct setup *setup = worker->ctx;
	const struct bench_pairs *pairs = &setup->caches->pairs[worker->index];
	int error = 0;

	for (uint64_t i = worker->done; !error && i < worker->done + n; i++) {
		uint64_t start = pairs->range[i % BENCH_PAIRS].start;
		uint64_t length = pairs->range[i % BENCH_PAIRS].end - start;
		void *mapped;

		if (i % EVENTS_PER_LOOK == 0)
			await_others(setup->caches, worker->index);
		mapped = map(start, length);
		error = mapped == MAP_FAILED ? -errno : unmap(setup, mapped, length);
	}
	return error;
}

static int run_munmap(struct bench_worker *worker, uint64_t n)
{
	return run_mappings(worker, n, hooked_map, hooked_unmap);
}

static int run_plain_munmap(struct bench_worker *worker, uint64_t n)
{
	return run_mappings(worker, n, plain_map, plain_unmap);
}

static int run_s2_munmap(struct bench_worker *worker, uint64_t n)
{
	return run_mappings(worker, n, plain_map, s2_unmap);
}

/* As many VMs as there are to be caches, and as many memslots as each has regions. */
static int create_vms(struct setup *setup)
{
	int error = s2_mm_create(NULL, &setup->mm);

	for (unsigned int i = 0; !error && i < setup->nr; i++) {
		error = s2_vm_create(setup->mm, NULL, &setup->vms[i]);
		for (uint32_t j = 0; !error && j < REGIONS; j++)
			error = bench_set_memslot(setup->vms[i], j,
						  j * (BENCH_CHUNK_SIZE / S2_PAGE_SIZE),
						  BENCH_CHUNK_SIZE / S2_PAGE_SIZE,
						  region_hva(i, j));
	}
	return error;
}

static void destroy_vms(struct setup *setup)
{
	for (unsigned int i = 0; i < setup->nr; i++)
		s2_vm_put(setup->vms[i]);
	s2_mm_put(setup->mm);
}

static int plan_op(struct bench_plan *plan, const char *op, bench_run_fn *run, struct setup *setup,
		   const struct bench_options *options)
{
	struct bench_cell cell = { .run = run, .prepare = prepare, .ctx = setup };
	int error = 0;

	for (unsigned int i = 0; !error && i < options->nr_threads; i++) {
		cell.threads = options->threads[i];
		error = bench_plan_add(plan, &cell,
				       json_pack("{s:s, s:i, s:i}", "op", op, "caches",
						 (int)setup->nr, "threads", (int)cell.threads));
	}
	return error;
}

static int plan_setup(struct bench_plan *plan, struct setup *setup,
		      const struct bench_options *options)
{
	int error = create_vms(setup);

	if (!error)
		error = plan_op(plan, "event", run_event, setup, options);
	if (!error)
		error = plan_op(plan, "s2_event", run_s2_event, setup, options);
	if (!error)
		error = plan_op(plan, "munmap", run_munmap, setup, options);
	if (!error)
		error = plan_op(plan, "s2_munmap", run_s2_munmap, setup, options);
	if (!error && !setup->nr)
		error = plan_op(plan, "plain_munmap", run_plain_munmap, setup, options);
	return error;
}

static int measure(struct bench_plan *plan, struct caches *caches, struct setup *setups,
		   const struct bench_options *options, json_t *results)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < NR_CACHE_COUNTS; i++) {
		setups[i].caches = caches;
		setups[i].nr = cache_counts[i];
		error = plan_setup(plan, &setups[i], options);
	}
	if (error)
		return bench_fail(&bench_ucx, error, "cannot plan the rounds");
	error = bench_plan_measure(plan, &bench_ucx, options, results);
	if (set_caches(caches, 0) && !error)
		error = bench_fail(&bench_ucx, -EPROTO, "an unrelated event took a region away");
	return error;
}

/* The first cache installs the hooks, which then stay whatever becomes of it. */
static int install_hooks(struct caches *caches)
{
	int error = set_caches(caches, 1);

	if (error)
		return bench_fail(&bench_ucx, error, "cannot create a registration cache");
	if (ucm_test_events(UCM_EVENT_VM_UNMAPPED) == UCS_OK)
		return 0;
	fprintf(stderr, "%s: skipped: UCX's hooks do not see what this process unmaps\n",
		bench_suite.program);
	return BENCH_SKIPPED;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct bench_pairs *pairs = calloc(options->nr_cpus, sizeof(*pairs));
	struct setup setups[NR_CACHE_COUNTS] = { 0 };
	struct caches caches = { .pairs = pairs };
	struct bench_plan *plan = bench_plan_create();
	int ret;

	if (pairs && plan) {
		for (unsigned int i = 0; i < options->nr_cpus; i++)
			bench_pairs_fill(&pairs[i], i + 1);
		ret = install_hooks(&caches);
		if (!ret)
			ret = measure(plan, &caches, setups, options, results);
		set_caches(&caches, 0);
	} else {
		ret = bench_fail(&bench_ucx, -ENOMEM, "cannot begin");
	}
	for (unsigned int i = 0; i < NR_CACHE_COUNTS; i++)
		destroy_vms(&setups[i]);
	bench_plan_destroy(plan);
	free(pairs);
	return ret;
}

static const struct bench bench_ucx = {
	.name = "ucx",
	.title =
		"telling registration caches of an unrelated range, in ns as each thread sees them",
	.row_keys = { "op", "caches" },
	.column = "threads",
	.value = "ns",
	.run = run,
};

static const struct bench *const benches[] = { &bench_ucx, NULL };

static const char about[] =
	"Measures what UCX's registration caches make of ranges that are unmapped and that none of "
	"them holds, beside this library's VMs with as many memslots in the same places.\n"
	"\n"
	"  event         the event alone, by ucm_vm_munmap()\n"
	"  s2_event      a start and an end, under range\n"
	"  munmap        mmap() and munmap() of 1 to 16 pages, as UCX has patched them\n"
	"  s2_munmap     the two system calls, the second between a start and an end\n"
	"  plain_munmap  the two system calls and nothing else\v"
	"caches is the number of caches, or of VMs; with 0, UCX's hooks are there all the same. "
	"Each has 64 regions of 128 MiB.\n"
	"\n"
	"Example: on one thread and on two, as JSON\n"
	"  peer_ucx --threads 1,2 --json\n";

const struct bench_suite bench_suite = {
	.program = "peer_ucx",
	.about = about,
	.benches = benches,
};
