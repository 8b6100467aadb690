/* SPDX-License-Identifier: MIT */
/* See run_sampler.h. */
#include "run_sampler.h"

#include "clock.h"
#include "run_process.h"

#include <stdlib.h>

static void keep_peak(uint64_t *peak, uint64_t value)
{
	if (value > *peak)
		*peak = value;
}

static void take_guest(struct run_sampler *sampler, unsigned int i, double elapsed)
{
	struct run_guest_sample *sample = &sampler->samples->latest.guests[i];
	uint64_t faults = sample->faults;

	run_guest_measure(&sampler->guests[i], sample);
	if (elapsed > 0 && sample->faults > faults)
		sample->faults_per_s = (double)(sample->faults - faults) / elapsed;
	keep_peak(&sampler->resident_peak[i], sample->resident + sample->shared);
	keep_peak(&sampler->swapped_peak[i], sample->swapped);
	if (sample->state != RUN_GUEST_ENDED)
		return;
	keep_peak(&sampler->resident_peak[i],
		  sampler->guests[i].last.resident + sampler->guests[i].last.shared);
	keep_peak(&sampler->swapped_peak[i], sampler->guests[i].last.swapped);
}

static void take_events(struct run_sampler *sampler)
{
	struct run_samples *samples = sampler->samples;
	struct latency *news = calloc(RUN_NR_EVENTS, sizeof(*news));

	if (!news)
		return;
	run_churn_take(sampler->churn, news);
	for (unsigned int e = 0; e < RUN_NR_EVENTS; e++) {
		samples->latest.events[e] = (struct run_event_sample){
			.count = news[e].count,
			.p50 = latency_percentile(&news[e], 50),
			.p99 = latency_percentile(&news[e], 99),
		};
		latency_merge(&samples->events[e], &news[e]);
	}
	free(news);
}

static void take_pool(struct run_sampler *sampler, double elapsed)
{
	struct run_sample *sample = &sampler->samples->latest;
	uint64_t before = sample->mm.invalidations;

	sample->has_pool = true;
	s2_pool_get_stats(sampler->pool, &sample->pool);
	s2_mm_get_stats(s2_pool_mm(sampler->pool), &sample->mm);
	if (elapsed > 0)
		sample->invalidations_per_s = (double)(sample->mm.invalidations - before) / elapsed;
}

/* Plain memory is among what is the process's own, and is all that guests have. */
static void take_memory(struct run_sampler *sampler)
{
	struct run_sample *sample = &sampler->samples->latest;
	uint64_t own = run_process_memory().own;

	own = own > sampler->own_before ? own - sampler->own_before : 0;
	sample->memory = (struct run_memory_sample){ .other = own };
	if (sampler->pool) {
		sample->memory.pool = run_process_pool();
	} else {
		for (unsigned int i = 0; i < sample->nr_guests; i++)
			sample->memory.pool += sample->guests[i].resident * S2_PAGE_SIZE;
		sample->memory.other -= sample->memory.pool < own ? sample->memory.pool : own;
	}
	keep_peak(&sampler->pool_peak, sample->memory.pool);
	keep_peak(&sampler->other_peak, sample->memory.other);
}

void run_sampler_take(struct run_sampler *sampler)
{
	struct run_sample *sample = &sampler->samples->latest;
	double before = sample->seconds;

	sample->seconds = (double)(clock_ns() - sampler->begin) / 1e9;
	for (unsigned int i = 0; i < sample->nr_guests; i++)
		take_guest(sampler, i, sample->seconds - before);
	if (sampler->pool)
		take_pool(sampler, sample->seconds - before);
	if (sampler->churn)
		take_events(sampler);
	take_memory(sampler);
	run_samples_add(sampler->samples);
}
