/* SPDX-License-Identifier: MIT */
/* What became of each guest of a pass, and whether it printed what it should have. */
#ifndef STAGE2_TOOLS_RUN_OUTCOME_H
#define STAGE2_TOOLS_RUN_OUTCOME_H

#include "run_sampler.h"

/*
 * Of guests that have ended, with their output still there, into @result, whose guests point to
 * the samples' names. -ENOMEM. Sets what pass->first does not know yet.
 */
int run_outcome(const struct run_pass *pass, const struct run_sampler *sampler,
		struct run_result *result);

#endif
