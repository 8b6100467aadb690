/* SPDX-License-Identifier: MIT */
/* Takes the samples of a pass: of its guests, its pool, its churn, and of this process. */
#ifndef STAGE2_TOOLS_RUN_SAMPLER_H
#define STAGE2_TOOLS_RUN_SAMPLER_H

#include "run_churn.h"
#include "run_guest.h"
#include "run_sample.h"

/* Peaks are of the samples, and of each guest's end. All memory is in bytes, above @own_before. */
struct run_sampler {
	struct run_samples *samples;
	struct run_guest *guests;
	struct s2_pool *pool;	 /* NULL: plain memory */
	struct run_churn *churn; /* NULL: none */
	uint64_t begin;		 /* by clock_ns() */
	uint64_t own_before;
	uint64_t pool_peak;
	uint64_t other_peak;
	uint64_t *resident_peak; /* [nr_guests], pages */
	uint64_t *swapped_peak;
};

/* Fills in samples->latest, and makes a point of it if it is time for one. */
void run_sampler_take(struct run_sampler *sampler);

#endif
