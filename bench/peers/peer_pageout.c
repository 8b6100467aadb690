/* SPDX-License-Identifier: MIT */
/*
 * The kernel doing what the pool does: MADV_PAGEOUT on memory with the pages of bench_pages.h, and
 * touching them again, by as many threads, each with memory of its own.
 *
 * Of a file: what has been written to is first written back, by sync_file_range(), since the kernel
 * leaves dirty pages of files where they are; and it comes back from the disk, as the page cache is
 * what was reclaimed. stage2's tier in a file leaves its pages in that cache. Of anonymous memory,
 * which is what would be compared with, if there is swap: zram or another.
 *
 * That the pages are gone mincore() has to say, each time.
 */
#include "bench.h"
#include "bench_pages.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 512
#define QUICK_PAGES 64

enum memory { FILE_MEMORY, ANONYMOUS, NR_MEMORIES };

static const char *const memory_names[NR_MEMORIES] = { "file", "anonymous" };

/* One thread's. @fd: -1 for anonymous memory. */
struct part {
	char *memory;
	int fd;
	unsigned char resident[PAGES];
};

struct setup {
	unsigned int nr_parts;
	uint64_t pages;
	const uint32_t *order;
	struct part parts[BENCH_MAX_CPUS];
};

static const struct bench bench_pageout;

static char *page_at(const struct part *part, uint64_t nr)
{
	return part->memory + nr * S2_PAGE_SIZE;
}

/* The last word of each page is zero, and stays it. */
static void write_all(const struct setup *setup, const struct part *part)
{
	for (uint64_t i = 1; i <= setup->pages; i++)
		*((volatile uint64_t *)page_at(part, i) - 1) = 0;
}

static uint64_t read_all(const struct setup *setup, const struct part *part, const uint32_t *order)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < setup->pages; i++)
		sum += *(volatile uint64_t *)page_at(part, order ? order[i] : i);
	return sum;
}

static int write_back(const struct part *part)
{
	const unsigned int all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				 SYNC_FILE_RANGE_WAIT_AFTER;

	return part->fd >= 0 && sync_file_range(part->fd, 0, 0, all) ? -errno : 0;
}

static int page_out(const struct setup *setup, const struct part *part)
{
	return madvise(part->memory, setup->pages * S2_PAGE_SIZE, MADV_PAGEOUT) ? -errno : 0;
}

/* -EBUSY: much of it is still there. */
static int check_gone(const struct setup *setup, struct part *part)
{
	uint64_t left = 0;

	if (mincore(part->memory, setup->pages * S2_PAGE_SIZE, part->resident))
		return -errno;
	for (uint64_t i = 0; i < setup->pages; i++)
		left += part->resident[i] & 1;
	return left > setup->pages / 16 ? -EBUSY : 0;
}

static int make_gone(const struct setup *setup, struct part *part)
{
	int error = write_back(part);

	if (!error)
		error = page_out(setup, part);
	return error ? error : check_gone(setup, part);
}

/* Of pages that have been written to, or only read since they were last out. */
static int run_out(struct bench_worker *worker, uint64_t n, bool written)
{
	struct setup *setup = worker->ctx;
	struct part *part = &setup->parts[worker->index];
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns();

		if (written)
			write_all(setup, part);
		else
			worker->sink += read_all(setup, part, NULL);
		worker->excluded_ns += clock_ns() - begin;
		error = written ? write_back(part) : 0;
		if (!error)
			error = page_out(setup, part);
		begin = clock_ns();
		if (!error)
			error = check_gone(setup, part);
		worker->excluded_ns += clock_ns() - begin;
	}
	return error;
}

static int run_out_written(struct bench_worker *worker, uint64_t n)
{
	return run_out(worker, n, true);
}

static int run_out_clean(struct bench_worker *worker, uint64_t n)
{
	return run_out(worker, n, false);
}

static int run_in(struct bench_worker *worker, uint64_t n, const uint32_t *order)
{
	struct setup *setup = worker->ctx;
	struct part *part = &setup->parts[worker->index];
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t begin = clock_ns();

		error = make_gone(setup, part);
		worker->excluded_ns += clock_ns() - begin;
		if (!error)
			worker->sink += read_all(setup, part, order);
	}
	return error;
}

static int run_in_order(struct bench_worker *worker, uint64_t n)
{
	return run_in(worker, n, NULL);
}

static int run_at_random(struct bench_worker *worker, uint64_t n)
{
	return run_in(worker, n, ((struct setup *)worker->ctx)->order);
}

/* Without a name, so that nothing is left whatever ends this program. */
static int create_file(const char *dir, uint64_t size)
{
	char path[PATH_MAX];
	int fd, error;

	if (snprintf(path, sizeof(path), "%s/stage2-bench-XXXXXX", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	if (!ftruncate(fd, (off_t)size))
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static int create_part(struct setup *setup, enum memory memory, const char *dir, unsigned int index)
{
	struct part *part = &setup->parts[index];
	uint64_t size = setup->pages * S2_PAGE_SIZE;
	int flags = memory == FILE_MEMORY ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;

	part->fd = memory == FILE_MEMORY ? create_file(dir, size) : -1;
	if (memory == FILE_MEMORY && part->fd < 0)
		return part->fd;
	part->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, part->fd, 0);
	setup->nr_parts = index + 1;
	if (part->memory == MAP_FAILED)
		return -errno;
	/* Swap has slots for pages of 4 KiB, and so have the tiers. */
	madvise(part->memory, size, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < setup->pages; i++)
		bench_page_fill(page_at(part, i), index * setup->pages + i);
	return 0;
}

static void take_down(struct setup *setup)
{
	for (unsigned int i = 0; i < setup->nr_parts; i++) {
		if (setup->parts[i].memory != MAP_FAILED)
			munmap(setup->parts[i].memory, setup->pages * S2_PAGE_SIZE);
		if (setup->parts[i].fd >= 0)
			close(setup->parts[i].fd);
	}
	setup->nr_parts = 0;
}

static void tell_skipped(enum memory memory, const char *dir, int error)
{
	if (memory == ANONYMOUS)
		fprintf(stderr, "%s: anonymous memory is left out: this machine has no swap, nor "
				"zram, for it to go to\n",
			bench_suite.program);
	else
		fprintf(stderr, "%s: the file is left out: the kernel does not page it out of %s: "
				"%s; --dir may be elsewhere\n",
			bench_suite.program, dir, strerror(-error));
}

/* Tries whether the kernel does it at all. BENCH_SKIPPED: it does not, which has been said. */
static int set_up(struct setup *setup, enum memory memory, const struct bench_options *options)
{
	int error = 0;

	for (unsigned int i = 0; !error && i < options->nr_cpus; i++)
		error = create_part(setup, memory, options->dir, i);
	if (error)
		return bench_fail(&bench_pageout, error, "cannot create memory in %s",
				  memory == FILE_MEMORY ? options->dir : "this process");
	error = make_gone(setup, &setup->parts[0]);
	if (!error)
		return 0;
	tell_skipped(memory, options->dir, error);
	return BENCH_SKIPPED;
}

static int plan_memory(struct bench_plan *plan, struct setup *setup, enum memory memory,
		       const struct bench_options *options)
{
	static const struct {
		const char *op;
		bench_run_fn *run;
	} ops[] = {
		{ "out", run_out_written },
		{ "out, if not written to", run_out_clean },
		{ "in, in order", run_in_order },
		{ "in, at random", run_at_random },
	};
	const unsigned int nr_ops = sizeof(ops) / sizeof(ops[0]);
	int error = 0;

	for (unsigned int i = 0; !error && i < nr_ops * options->nr_threads; i++) {
		unsigned int threads = options->threads[i / nr_ops];
		const struct bench_cell cell = {
			.run = ops[i % nr_ops].run,
			.ctx = setup,
			.threads = threads,
			.items = (unsigned int)setup->pages,
			.rate = true,
		};

		if (bench_is_end(options, threads))
			error = bench_plan_add(plan, &cell,
					       json_pack("{s:s, s:i, s:s}", "memory",
							 memory_names[memory], "threads",
							 (int)threads, "op", ops[i % nr_ops].op));
	}
	return error ? bench_fail(&bench_pageout, error, "cannot plan the rounds") : 0;
}

static int measure(struct setup *setups, struct bench_plan *plan,
		   const struct bench_options *options, json_t *results)
{
	unsigned int there = 0;
	int error = 0;

	for (unsigned int i = 0; error >= 0 && i < NR_MEMORIES; i++) {
		error = set_up(&setups[i], (enum memory)i, options);
		if (!error)
			error = plan_memory(plan, &setups[i], (enum memory)i, options);
		there += !error;
	}
	if (error < 0)
		return error;
	return there ? bench_plan_measure(plan, &bench_pageout, options, results) : BENCH_SKIPPED;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct setup *setups = calloc(NR_MEMORIES, sizeof(*setups));
	struct bench_plan *plan = bench_plan_create();
	uint32_t order[PAGES];
	int error = -ENOMEM;

	for (unsigned int i = 0; setups && i < NR_MEMORIES; i++) {
		setups[i].pages = options->quick ? QUICK_PAGES : PAGES;
		setups[i].order = order;
		bench_shuffle(order, (uint32_t)setups[i].pages, 1);
	}
	if (setups && plan)
		error = measure(setups, plan, options, results);
	else
		bench_fail(&bench_pageout, error, "cannot begin");
	for (unsigned int i = 0; setups && i < NR_MEMORIES; i++)
		take_down(&setups[i]);
	bench_plan_destroy(plan);
	free(setups);
	return error;
}

static const struct bench bench_pageout = {
	.name = "pageout",
	.title = "pages that the kernel pages out and in per second, all threads together",
	.row_keys = { "memory", "threads" },
	.column = "op",
	.value = "pages_per_s",
	.run = run,
};

static const struct bench *const benches[] = { &bench_pageout, NULL };

static const char about[] =
	"Measures how fast this machine's kernel takes memory away and brings it back:\n"
	"\n"
	"  pageout     MADV_PAGEOUT, and touching the pages again, by threads\v"
	"The pages are those of `stage2 bench pool-swap'. Of a file in --dir, out is a write to the "
	"disk as well, and in is a read; if not written to, out is none. Of anonymous memory both "
	"are what the swap device makes of it; without one, it is left out.\n";

const struct bench_suite bench_suite = {
	.program = "peer_pageout",
	.about = about,
	.benches = benches,
};
