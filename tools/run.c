/* SPDX-License-Identifier: MIT */
/*
 * See run.h. The guests' threads know nothing of each other; this one waits for them, for what they
 * say on standard error, and for the user, and takes samples meanwhile.
 */
#include "run.h"

#include "clock.h"
#include "guest_cpu.h"
#include "run_guest.h"
#include "run_outcome.h"
#include "run_pool.h"
#include "run_process.h"
#include "run_sampler.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* More often at first, so that a guest of a few milliseconds is seen, too. */
#define FIRST_SAMPLE_NS UINT64_C(4000000)
#define SAMPLE_NS UINT64_C(250000000)

char *const run_environment[] = { "PATH=/bin:/usr/bin", "HOME=/", "LC_ALL=C", "TERM=dumb", NULL };

/* @names: for the samples, of the guests. */
struct running {
	const struct run_pass *pass;
	struct run_guests all;
	struct run_guest *guests;
	const char **names;
	struct run_churn_target *targets;
	struct pollfd *fds;
	struct s2_pool *pool;
	struct run_churn *churn;
	struct run_sampler sampler;
	unsigned int nr_running;
	uint64_t cpu_begin;
	bool stopped;
};

static int open_descriptors(struct running *r)
{
	r->all = (struct run_guests){ .pass = r->pass, .ended = -1 };
	r->all.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (r->all.null < 0)
		return -errno;
	r->all.ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return r->all.ended < 0 ? -errno : 0;
}

/* What has one entry for each guest; the descriptors to poll are two more. */
static int allocate(struct running *r)
{
	unsigned int nr = r->pass->nr_guests;

	r->guests = calloc(nr, sizeof(*r->guests));
	r->names = calloc(nr, sizeof(*r->names));
	r->targets = calloc(nr, sizeof(*r->targets));
	r->fds = calloc(nr + 2, sizeof(*r->fds));
	r->sampler.resident_peak = calloc(nr, sizeof(uint64_t));
	r->sampler.swapped_peak = calloc(nr, sizeof(uint64_t));
	if (!r->guests || !r->names || !r->targets || !r->fds || !r->sampler.resident_peak ||
	    !r->sampler.swapped_peak)
		return -ENOMEM;
	return run_samples_create(nr, r->names, &r->sampler.samples);
}

static int create_guests(struct running *r, char *error, size_t len)
{
	for (unsigned int i = 0; i < r->pass->nr_guests; i++) {
		int ret = run_guest_create(&r->guests[i], &r->all, i + 1, r->pool);

		if (ret) {
			snprintf(error, len, "guest %u could not be made: %s%s", i + 1,
				 strerror(-ret),
				 ret == -ENOMEM ? "; fewer guests or a smaller --mem may be" : "");
			return ret;
		}
		r->names[i] = strdup(r->guests[i].name);
		if (!r->names[i])
			return -ENOMEM;
	}
	return 0;
}

static int start_churn(struct running *r, char *error, size_t len)
{
	const struct run_options *options = r->pass->options;
	const struct run_churn_config config = {
		.pool = r->pool,
		.level = r->pass->measure > 0 ? RUN_MAX_CHURN : options->churn,
		.merge = options->merge || options->churn,
		.pairs_only = r->pass->measure > 0,
		.nr_targets = r->pass->nr_guests,
		.targets = r->targets,
	};
	int ret;

	for (unsigned int i = 0; i < r->pass->nr_guests; i++) {
		const struct guest_memory_window *window = r->guests[i].window;

		r->targets[i] = (struct run_churn_target){
			.vm = window->vm,
			.slot = GUEST_MEMORY_SLOT,
			.hva = window->hva,
			.size = window->memory.size,
		};
	}
	ret = run_churn_start(&config, &r->churn);
	if (ret)
		snprintf(error, len, "the churn could not be started: %s", strerror(-ret));
	return ret;
}

/* In this order: what the library cannot resolve goes to the handler that was there before. */
static int handle_signals(char *error, size_t len)
{
	int ret = guest_cpu_handle_signals();

	if (!ret)
		ret = s2_window_handle_signals();
	if (ret)
		snprintf(error, len, "SIGSEGV cannot be handled: %s", strerror(-ret));
	return ret;
}

static int create(struct running *r, char *error, size_t len)
{
	int ret = open_descriptors(r);

	if (!ret)
		ret = allocate(r);
	snprintf(error, len, "%s", strerror(ret ? -ret : ENOMEM));
	if (ret)
		return ret;
	malloc_trim(0);
	run_process_forget_peak();
	r->sampler.own_before = run_process_memory().own;
	ret = handle_signals(error, len);
	if (!ret && !r->pass->plain)
		ret = run_pool_create(r->pass, r->sampler.samples, &r->pool, error, len);
	if (!ret)
		ret = create_guests(r, error, len);
	if (!ret && r->pool)
		ret = start_churn(r, error, len);
	return ret;
}

static void stop_guests(struct running *r)
{
	atomic_store_explicit(&r->all.stop, true, memory_order_relaxed);
}

static int start_guests(struct running *r, char *error, size_t len)
{
	r->sampler.samples->gate = r->pass->gate;
	r->sampler.samples->guest_pages = r->pass->options->mem / S2_PAGE_SIZE;
	r->sampler.guests = r->guests;
	r->sampler.pool = r->pool;
	r->sampler.churn = r->churn;
	r->cpu_begin = clock_ns_of(CLOCK_PROCESS_CPUTIME_ID);
	r->sampler.begin = clock_ns();
	for (unsigned int i = 0; i < r->pass->nr_guests; i++) {
		int ret = run_guest_start(&r->guests[i]);

		if (ret) {
			snprintf(error, len, "guest %u could not be started: %s", i + 1,
				 strerror(-ret));
			return ret;
		}
		r->nr_running++;
	}
	return 0;
}

static void pass_on_errors(struct running *r)
{
	struct run_view *view = r->pass->view;
	bool hidden = false;

	for (unsigned int i = 0; i < r->pass->nr_guests; i++) {
		if (!r->fds[2 + i].revents)
			continue;
		if (!hidden && view && view->hide)
			view->hide(view);
		hidden = true;
		run_errors_pass_on(&r->guests[i].errors, r->pass->errors);
	}
}

static void set_descriptors(struct running *r)
{
	r->fds[0] = (struct pollfd){ .fd = r->all.ended, .events = POLLIN };
	r->fds[1] = (struct pollfd){ .fd = r->pass->interrupt->fd, .events = POLLIN };
	for (unsigned int i = 0; i < r->pass->nr_guests; i++)
		r->fds[2 + i] = (struct pollfd){
			.fd = r->guests[i].has_errors ? r->guests[i].errors.read_fd : -1,
			.events = POLLIN,
		};
}

static void wait_until(struct running *r, uint64_t when)
{
	uint64_t now = clock_ns(), ended = 0;

	poll(r->fds, r->pass->nr_guests + 2, now < when ? (int)((when - now) / 1000000) + 1 : 0);
	if (r->fds[0].revents && read(r->all.ended, &ended, sizeof(ended)) == sizeof(ended))
		r->nr_running -= (unsigned int)ended;
	pass_on_errors(r);
	if (!r->stopped && run_interrupt_came(r->pass->interrupt)) {
		r->stopped = true;
		stop_guests(r);
	}
}

static void show(struct running *r)
{
	struct run_view *view = r->pass->view;

	run_sampler_take(&r->sampler);
	if (!view || view->show(view, r->sampler.samples) || r->stopped)
		return;
	r->stopped = true;
	stop_guests(r);
}

/* Until all guests have ended, or what is measured has been. */
static void watch(struct running *r)
{
	uint64_t next = r->sampler.begin, interval = FIRST_SAMPLE_NS, end = UINT64_MAX;

	if (r->pass->measure > 0)
		end = next + (uint64_t)(r->pass->measure * 1e9);
	set_descriptors(r);
	while (r->nr_running) {
		uint64_t now = clock_ns();

		if (now >= end)
			stop_guests(r);
		if (now >= next) {
			show(r);
			next = now + interval;
			interval = interval < SAMPLE_NS / 2 ? 2 * interval : SAMPLE_NS;
		}
		wait_until(r, next < end || now >= end ? next : end);
	}
}

static void join_guests(struct running *r)
{
	for (unsigned int i = 0; r->guests && i < r->pass->nr_guests; i++)
		run_guest_join(&r->guests[i]);
}

/* Before the guests' memory goes. */
static int conclude(struct running *r, struct run_result *result)
{
	const struct run_pass *pass = r->pass;

	result->seconds = (double)(clock_ns() - r->sampler.begin) / 1e9;
	result->cpu_seconds = (double)(clock_ns_of(CLOCK_PROCESS_CPUTIME_ID) - r->cpu_begin) / 1e9;
	result->stopped = r->stopped;
	run_sampler_take(&r->sampler);
	if (r->pool) {
		s2_pool_get_stats(r->pool, &result->pool);
		s2_mm_get_stats(s2_pool_mm(r->pool), &result->mm);
		result->memory.pool_size = run_pool_size(pass->options, pass->nr_guests);
	}
	result->memory.guests = pass->options->mem * pass->nr_guests;
	result->memory.pool_peak = r->sampler.pool_peak;
	result->memory.other_peak = r->sampler.other_peak;
	result->memory.hwm = run_process_memory().hwm;
	return run_outcome(pass, &r->sampler, result);
}

/*
 * The engines are gone by now. Returns how much of this process's memory comes back beside the
 * frames: the pool's, and what the guests' VMs and windows had.
 */
static uint64_t destroy(struct running *r)
{
	uint64_t before, after;

	malloc_trim(0);
	before = run_process_memory().own;
	run_churn_stop(r->churn);
	for (unsigned int i = 0; r->guests && i < r->pass->nr_guests; i++)
		if (r->guests[i].all)
			run_guest_destroy(&r->guests[i]);
	s2_pool_destroy(r->pool);
	malloc_trim(0);
	after = run_process_memory().own;
	return before > after ? before - after : 0;
}

static void free_all(struct running *r)
{
	if (r->all.null >= 0)
		close(r->all.null);
	if (r->all.ended >= 0)
		close(r->all.ended);
	if (!r->sampler.samples)
		free(r->names);
	free(r->sampler.resident_peak);
	free(r->sampler.swapped_peak);
	free(r->guests);
	free(r->targets);
	free(r->fds);
}

int run_pass(const struct run_pass *pass, struct run_result *result, char *error, size_t len)
{
	struct running r = { .pass = pass };
	int ret;

	*result = (struct run_result){ .gate = pass->gate, .plain = pass->plain };
	ret = create(&r, error, len);
	if (!ret)
		ret = start_guests(&r, error, len);
	if (ret)
		stop_guests(&r);
	else
		watch(&r);
	join_guests(&r);
	if (!ret) {
		snprintf(error, len, "%s", strerror(ENOMEM));
		ret = conclude(&r, result);
	}
	result->memory.library = destroy(&r);
	result->samples = r.sampler.samples;
	free_all(&r);
	if (ret)
		run_result_clear(result);
	return ret;
}

void run_result_clear(struct run_result *result)
{
	if (result->samples) {
		for (unsigned int i = 0; i < result->samples->nr_guests; i++)
			free((char *)result->samples->names[i]);
		free((const char **)result->samples->names);
	}
	run_samples_destroy(result->samples);
	free(result->guests);
	*result = (struct run_result){ 0 };
}
