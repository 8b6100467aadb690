/* SPDX-License-Identifier: MIT */
/*
 * A guest's memory by a window beside the same memory by a vCPU: an access that hits, a fault of a
 * page that is there, and an invalidation, by whether a thread is using the memory meanwhile. That
 * one polls every 64 loads if it is a vCPU with safepoints; in a window there is nothing to poll.
 *
 * Each thread has PAGES pages. Of them the frames lie as the pages do, and a window maps several
 * at once; or they lie in no order, and each is a mapping of its own.
 */
#include "bench.h"
#include "bench_pages.h"
#include "bench_pairs.h"
#include "bench_pool_guest.h"
#include "clock.h"

#include <errno.h>
#include <stage2/window.h>
#include <stdlib.h>

#define PAGES 512u
#define LOADS_PER_POLL 64

enum user { WINDOW, VCPU, VCPU_RSEQ };
#define NR_USERS 3

static const char *const user_names[] = { "window", "vCPU", "vCPU (rseq)" };

/*
 * @in_order: the frames lie as the pages do.
 * @vcpus: one for each thread, and one for the thread that is busy; none with WINDOW.
 */
struct setup {
	enum user user;
	bool in_order;
	struct s2_pool *pool;
	struct bench_guest guest;
	struct s2_window *window;
	char *addr; /* the window's */
	struct s2_vcpu *vcpus[BENCH_MAX_CPUS + 1];
};

/* An operation, of a setup: @pages at a time. */
struct work {
	struct setup *setup;
	unsigned int pages;
};

static uint64_t gpa_of(unsigned int thread, uint64_t page)
{
	return (thread * (uint64_t)PAGES + page % PAGES) * S2_PAGE_SIZE;
}

static inline int load(struct bench_worker *worker, const struct setup *setup, uint64_t gpa)
{
	uint64_t value = 0;
	int error = 0;

	if (setup->addr)
		value = *(volatile uint64_t *)(setup->addr + gpa);
	else
		error = s2_vcpu_load64(setup->vcpus[worker->index], gpa, &value);
	worker->sink += value;
	return error;
}

static int enter(const struct bench_worker *worker, const struct setup *setup)
{
	return setup->addr ? 0 : s2_vcpu_enter(setup->vcpus[worker->index]);
}

static void leave(const struct bench_worker *worker, const struct setup *setup)
{
	if (!setup->addr)
		s2_vcpu_exit(setup->vcpus[worker->index]);
}

static int run_loads(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = ((const struct work *)worker->ctx)->setup;
	uint64_t gpa = gpa_of(worker->index, 0);
	int error = enter(worker, setup);

	for (uint64_t i = 0; !error && i < n; i++) {
		error = load(worker, setup, gpa + i % 512 * 8);
		if (i % LOADS_PER_POLL == 0)
			s2_vcpu_poll(setup->vcpus[worker->index]);
	}
	leave(worker, setup);
	return error;
}

static int invalidate(const struct setup *setup, uint64_t gpa, uint64_t pages)
{
	uint64_t hva = setup->guest.hva + gpa;
	struct s2_invalidation inv;
	int error = s2_invalidate_range_start(s2_pool_mm(setup->pool), &inv, hva,
					      hva + pages * S2_PAGE_SIZE, 0);

	if (!error)
		s2_invalidate_range_end(s2_pool_mm(setup->pool), &inv);
	return error;
}

/* The thread's pages, one after the other; before the first, all are taken away. */
static int run_faults(struct bench_worker *worker, uint64_t n)
{
	const struct setup *setup = ((const struct work *)worker->ctx)->setup;
	int error = enter(worker, setup);

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t page = (worker->done + i) % PAGES, begin = clock_ns();

		if (!page)
			error = invalidate(setup, gpa_of(worker->index, 0), PAGES);
		if (!page)
			worker->excluded_ns += clock_ns() - begin;
		if (!error)
			error = load(worker, setup, gpa_of(worker->index, page));
		s2_vcpu_poll(setup->vcpus[worker->index]);
	}
	leave(worker, setup);
	return error;
}

static int map_pages(struct bench_worker *worker, const struct setup *setup, uint64_t first,
		     uint64_t pages)
{
	uint64_t begin = clock_ns();
	int error = enter(worker, setup);

	for (uint64_t page = first; !error && page < first + pages; page++)
		error = load(worker, setup, gpa_of(worker->index, page));
	leave(worker, setup);
	worker->excluded_ns += clock_ns() - begin;
	return error;
}

static int run_invalidations(struct bench_worker *worker, uint64_t n)
{
	const struct work *work = worker->ctx;
	int error = 0;

	for (uint64_t i = 0; !error && i < n; i++) {
		uint64_t page = (worker->done + i) * work->pages % PAGES;

		error = map_pages(worker, work->setup, page, work->pages);
		if (!error)
			error = invalidate(work->setup, gpa_of(worker->index, page), work->pages);
	}
	return error;
}

static int create_users(struct setup *setup, unsigned int threads)
{
	const struct s2_vcpu_config rseq = { .shootdown = S2_SHOOTDOWN_RSEQ };
	const struct s2_window_config config = { .size = setup->guest.pages * S2_PAGE_SIZE };
	int error = 0;

	if (setup->user == WINDOW) {
		error = s2_window_create(setup->guest.vm, &config, &setup->window);
		setup->addr = s2_window_addr(setup->window);
		return error;
	}
	for (unsigned int i = 0; !error && i <= threads; i++)
		error = s2_vcpu_create(setup->guest.vm, setup->user == VCPU ? NULL : &rseq,
				       &setup->vcpus[i]);
	return error;
}

/* A page gets its frame when it is written to: in the order of the pages, or in none. */
static int fill(const struct setup *setup)
{
	uint64_t pages = setup->guest.pages;
	uint32_t *order = calloc(pages, sizeof(*order));
	int error = order ? 0 : -ENOMEM;

	if (order && !setup->in_order)
		bench_shuffle(order, (uint32_t)pages, 1);
	for (uint64_t i = 0; !error && i < pages; i++) {
		uint64_t page = setup->in_order ? i : order[i];

		error = s2_pool_write(setup->pool, setup->guest.hva + page * S2_PAGE_SIZE, &page,
				      sizeof(page));
	}
	free(order);
	return error;
}

static int set_up(struct setup *setup, unsigned int threads)
{
	/* A part for each thread, and one for the thread that is busy; half of it stays free. */
	uint64_t pages = (threads + 1) * (uint64_t)PAGES;
	const struct s2_pool_config config = { .size = 2 * pages * S2_PAGE_SIZE };
	int error = s2_pool_create(&config, &setup->pool);

	if (!error)
		error = bench_guest_create(&setup->guest, setup->pool, pages, 0);
	if (!error)
		error = fill(setup);
	if (!error)
		error = create_users(setup, threads);
	return error ? bench_fail(&bench_window, error, "cannot set up a guest") : 0;
}

static void take_down(struct setup *setup)
{
	s2_window_destroy(setup->window);
	for (unsigned int i = 0; i <= BENCH_MAX_CPUS; i++)
		s2_vcpu_destroy(setup->vcpus[i]);
	bench_guest_destroy(&setup->guest);
	s2_pool_destroy(setup->pool);
}

/* Of both setups of a user: @in_order tells of which. */
static const struct row {
	const char *what;
	bench_run_fn *run;
	bool in_order;
	bool busy; /* another thread uses a page of its own */
	bool threads; /* as many as there may be, instead of one */
	unsigned int pages;
} rows[] = {
	{ "load64 that hits", run_loads, false, false, false, 0 },
	{ "fault, one after the other", run_faults, true, false, false, 0 },
	{ "fault, frames in no order", run_faults, false, false, false, 0 },
	{ "the same by all CPUs at once", run_faults, false, false, true, 0 },
	{ "invalidation of a page", run_invalidations, false, false, false, 1 },
	{ "invalidation, memory in use", run_invalidations, false, true, false, 1 },
	{ "invalidation of 64 pages", run_invalidations, true, false, false, 64 },
	{ "the same, frames in no order", run_invalidations, false, false, false, 64 },
};

#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

struct bench_state {
	struct setup setups[NR_USERS][2];
	struct work works[NR_USERS][NR_ROWS];
};

static int plan_row(struct bench_plan *plan, struct bench_state *state, unsigned int user,
		    unsigned int nr, const struct bench_options *options)
{
	const struct row *row = &rows[nr];
	struct work *work = &state->works[user][nr];
	const struct bench_cell cell = {
		.run = row->run,
		.storm = row->busy ? run_loads : NULL,
		.ctx = work,
		.threads = row->threads ? options->nr_cpus : 1,
	};

	if ((row->threads || row->busy) && options->nr_cpus < 2)
		return 0;
	*work = (struct work){ &state->setups[user][row->in_order], row->pages };
	return bench_plan_add(plan, &cell,
			      json_pack("{s:s, s:s}", "what", row->what, "by", user_names[user]));
}

static int plan_user(struct bench_plan *plan, struct bench_state *state, unsigned int user,
		     const struct bench_options *options)
{
	int error = 0;

	for (unsigned int in_order = 0; !error && in_order < 2; in_order++) {
		struct setup *setup = &state->setups[user][in_order];

		setup->user = (enum user)user;
		setup->in_order = in_order;
		error = set_up(setup, options->nr_cpus);
	}
	/* Where there is no rseq, vCPUs with safepoints have been planned already. */
	if (error || (user == VCPU_RSEQ &&
		      s2_vcpu_shootdown(state->setups[user][0].vcpus[0]) != S2_SHOOTDOWN_RSEQ))
		return error;
	for (unsigned int nr = 0; !error && nr < NR_ROWS; nr++)
		error = plan_row(plan, state, user, nr, options);
	return error ? bench_fail(&bench_window, error, "cannot plan the rounds") : 0;
}

static int run(const struct bench_options *options, json_t *results)
{
	struct bench_state *state = calloc(1, sizeof(*state));
	struct bench_plan *plan = bench_plan_create();
	int error = state && plan ? s2_window_handle_signals() : -ENOMEM;

	if (error)
		bench_fail(&bench_window, error, "cannot begin");
	for (unsigned int user = 0; !error && user < NR_USERS; user++)
		error = plan_user(plan, state, user, options);
	if (!error)
		error = bench_plan_measure(plan, &bench_window, options, results);
	for (unsigned int i = 0; state && i < 2 * NR_USERS; i++)
		take_down(&state->setups[i / 2][i % 2]);
	bench_plan_destroy(plan);
	free(state);
	return error;
}

const struct bench bench_window = {
	.name = "window",
	.title = "a pool's guest by plain pointers and by vCPUs, in ns",
	.row_keys = { "what" },
	.column = "by",
	.value = "ns",
	.run = run,
};
