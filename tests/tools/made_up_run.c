/* SPDX-License-Identifier: MIT */
/* See made_up_run.h. */
#include "made_up_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[MADE_UP_GUESTS] = { "1 " HOSTILE, "2 sort" };

static void make_up_guest(struct run_guest_sample *guest, unsigned int number, unsigned int point)
{
	guest->state = number ? RUN_GUEST_ENDED : RUN_GUEST_RUNNING;
	guest->status = 3;
	guest->resident = 10 + number * 50;
	guest->shared = 5;
	guest->swapped = 7 * point;
	guest->faults += 100;
	guest->faults_per_s = 1000;
	guest->invalidations += 1000;
	guest->elided += number ? 900 : 800;
	guest->syscalls += 1000;
}

static void make_up_sample(struct run_samples *samples, unsigned int point)
{
	struct run_sample *latest = &samples->latest;

	latest->seconds = point * 0.1;
	latest->has_pool = true;
	latest->pool.frames = 256;
	latest->pool.free_frames = 256 - point % 200;
	latest->pool.shared_frames = point % 50;
	latest->pool.swapped = 3 * point;
	latest->pool.tier_pages[0] = 3 * point;
	latest->mm.invalidations += 1000;
	latest->mm.elided += 750;
	latest->invalidations_per_s = 10000;
	for (unsigned int i = 0; i < MADE_UP_GUESTS; i++)
		make_up_guest(&latest->guests[i], i, point);
	for (unsigned int i = 0; i < RUN_NR_EVENTS; i++)
		latency_add(&samples->events[i], 100 + point);
	assert_int_equal(run_samples_add(samples), 0);
}

static void make_up_cells(struct made_up_run *run)
{
	for (unsigned int i = 0; i < 2 * S2_NR_GATES; i++) {
		struct run_compare_cell *cell = &run->cells[i];

		cell->guests = i < S2_NR_GATES ? 1 : 64;
		cell->gate = i % S2_NR_GATES;
		/* Related ones there are none of. */
		latency_add(&cell->events[RUN_UNRELATED], 10 * (i + 1));
		latency_add(&cell->events[RUN_UPDATE], 1000 * (i + 1));
	}
}

static void make_up_results(struct made_up_run *run)
{
	for (unsigned int i = 0; i < MADE_UP_GUESTS; i++) {
		struct run_guest_result *guest = &run->guests[i];

		guest->name = names[i];
		guest->command = "busybox " HOSTILE;
		strcpy(guest->reason, HOSTILE);
		strcpy(guest->unknown_calls, HOSTILE);
		guest->last = run->result.samples->latest.guests[i];
	}
}

void make_up_run(struct made_up_run *run, unsigned int points)
{
	struct run_samples *samples;

	memset(run, 0, sizeof(*run));
	assert_int_equal(run_samples_create(MADE_UP_GUESTS, names, &samples), 0);
	samples->nr_tiers = 1;
	strcpy(samples->tiers[0], "zstd");
	samples->guest_pages = 1024;
	for (unsigned int i = 0; i < points; i++)
		make_up_sample(samples, i);
	run->result.samples = samples;
	run->result.nr_guests = MADE_UP_GUESTS;
	run->result.guests = run->guests;
	make_up_results(run);
	make_up_cells(run);
	run->report = (struct run_report){
		.command = "stage2 run --report '" HOSTILE "'",
		.nr_results = 1,
		.results = &run->result,
		.nr_cells = 2 * S2_NR_GATES,
		.cells = run->cells,
	};
}

void forget_run(struct made_up_run *run)
{
	run_samples_destroy(run->result.samples);
}
