/* SPDX-License-Identifier: MIT */
/*
 * A program that does nothing but allocate and free: what peer_malloc starts under each allocator
 * and each gate. Most blocks are small; one of 64 is so large that the allocator gives its pages
 * back to the kernel, at once or when they have aged. Each block is written to at its beginning and
 * its end only: a program that uses what it allocates makes fewer calls in the same time, and the
 * kernel's clearing of pages would be most of what is measured, and vary more than what is looked
 * for.
 */
#include "bench.h"
#include "bench_pairs.h"
#include "preload_notifier.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define BLOCKS 512
#define LARGE_STEP ((size_t)256 << 10)
#define MEDIUM_STEP ((size_t)4 << 10)
#define SMALL_STEP ((size_t)16)

/* What one thread has allocated; the thread of the next round goes on with it. */
struct pool {
	_Alignas(64) char *block[BLOCKS];
	uint64_t random;
	uint64_t pairs;
};

static const struct bench bench_workload;

/* 16 to 2048 bytes, one of 4 4 to 64 KiB, one of 64 256 KiB to 8 MiB. */
static size_t block_size(uint64_t random)
{
	size_t kind = random % 64;
	size_t steps = random >> 32;

	if (!kind)
		return (1 + steps % 32) * LARGE_STEP;
	if (kind <= 16)
		return (1 + steps % 16) * MEDIUM_STEP;
	return (1 + steps % 128) * SMALL_STEP;
}

static int run_pairs(struct bench_worker *worker, uint64_t n)
{
	struct pool *pool = &((struct pool *)worker->ctx)[worker->index];

	for (uint64_t i = 0; i < n; i++) {
		uint64_t random = bench_random(&pool->random);
		char **block = &pool->block[(random >> 8) % BLOCKS];
		size_t size = block_size(random);

		free(*block);
		*block = malloc(size);
		if (!*block)
			return -ENOMEM;
		/* Volatile: the compiler knows that nobody reads it. */
		*(volatile char *)*block = (char)i;
		*(volatile char *)(*block + size - 1) = (char)i;
	}
	pool->pairs += n;
	return 0;
}

/* The file whose malloc() this is: a library that cannot be preloaded is passed over. */
static json_t *allocator_file(void)
{
	Dl_info info;

	if (!dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info) || !info.dli_fname)
		return NULL;
	return json_string(info.dli_fname);
}

/* What the process has spent so far; @calls is 0 if nothing counts them. */
struct spent {
	uint64_t pairs;
	uint64_t calls;
	uint64_t cpu_ns;
};

static uint64_t time_ns(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
}

static struct spent spent_so_far(const struct pool *pools, const struct bench_options *options,
				 uint64_t (*count)(void))
{
	struct spent spent = { .calls = count ? count() : 0 };
	struct rusage usage;

	for (unsigned int i = 0; i < options->nr_cpus; i++)
		spent.pairs += pools[i].pairs;
	if (!getrusage(RUSAGE_SELF, &usage))
		spent.cpu_ns = time_ns(usage.ru_utime) + time_ns(usage.ru_stime);
	return spent;
}

/* For each pair between @begin and @end. */
static int add_spent(json_t *row, bool counted, struct spent begin, struct spent end)
{
	double pairs = (double)(end.pairs - begin.pairs);
	int error = json_object_set_new(row, "cpu_ns",
					json_real((double)(end.cpu_ns - begin.cpu_ns) / pairs));

	if (!error && counted)
		error = json_object_set_new(row, "calls",
					    json_real((double)(end.calls - begin.calls) / pairs));
	return error;
}

/* A plan of its own for each number of threads: what is spent is told of the whole process. */
static int measure(struct pool *pools, unsigned int threads, const struct bench_options *options,
		   json_t *results)
{
	const struct bench_cell cell = { .run = run_pairs, .ctx = pools, .threads = threads };
	struct bench_plan *plan = bench_plan_create();
	uint64_t (*count)(void);
	struct spent begin;
	int error = plan ? 0 : -ENOMEM;

	*(void **)&count = dlsym(RTLD_DEFAULT, "s2_preload_calls");
	begin = spent_so_far(pools, options, count);
	if (!error)
		error = bench_plan_add(plan, &cell,
				       json_pack("{s:o, s:i}", "malloc", allocator_file(),
						 "threads", (int)threads));
	if (error)
		bench_fail(&bench_workload, error, "cannot plan the rounds");
	else
		error = bench_plan_measure(plan, &bench_workload, options, results);
	if (!error && add_spent(json_array_get(results, json_array_size(results) - 1), count, begin,
				spent_so_far(pools, options, count)))
		error = bench_fail(&bench_workload, -ENOMEM, "cannot report");
	bench_plan_destroy(plan);
	return error;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct pool *pools =
		aligned_alloc(_Alignof(struct pool), options->nr_cpus * sizeof(*pools));
	int error = 0;

	if (!pools)
		return bench_fail(&bench_workload, -ENOMEM, "cannot begin");
	/* Clearing 2 MiB for a byte depends on how many the kernel still has in one piece. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	for (unsigned int i = 0; i < options->nr_cpus; i++)
		pools[i] = (struct pool){ .random = i + 1 };
	for (unsigned int i = 0; !error && i < options->nr_threads; i++)
		error = measure(pools, options->threads[i], options, results);
	for (unsigned int i = 0; i < options->nr_cpus * BLOCKS; i++)
		free(pools[i / BLOCKS].block[i % BLOCKS]);
	free(pools);
	return error;
}

static const struct bench bench_workload = {
	.name = "workload",
	.title = "a free and a malloc of 16 bytes to 8 MiB, in ns as each thread sees them",
	.row_keys = { "malloc" },
	.column = "threads",
	.value = "ns",
	.run = run,
};

static const struct bench *const benches[] = { &bench_workload, NULL };

static const char about[] =
	"Allocates and frees blocks of 16 bytes to 8 MiB, and does nothing else: what "
	"peer_malloc runs under each allocator and each gate.\v"
	"In the JSON object, cpu_ns is the CPU time that the process took for each free and "
	"malloc, "
	"and calls, with preload_notifier.so, how many calls came by it.\n"
	"\n"
	"Example: under jemalloc, each unmap told to 64 VMs\n"
	"  S2_PRELOAD_GATE=range S2_PRELOAD_VMS=64 \\\n"
	"  LD_PRELOAD='./preload_notifier.so libjemalloc.so.2' ./malloc_workload --threads 1\n";

const struct bench_suite bench_suite = {
	.program = "malloc_workload",
	.about = about,
	.benches = benches,
};
