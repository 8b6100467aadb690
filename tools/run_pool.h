/* SPDX-License-Identifier: MIT */
/* The pool of a pass, as the options say. */
#ifndef STAGE2_TOOLS_RUN_POOL_H
#define STAGE2_TOOLS_RUN_POOL_H

#include "run.h"

/* Bytes of frames for so many guests. */
uint64_t run_pool_size(const struct run_options *options, unsigned int nr_guests);

/*
 * With its tiers, whose names it puts into @samples. -errno: @error says in one line what could
 * not be had.
 */
int run_pool_create(const struct run_pass *pass, struct run_samples *samples, struct s2_pool **pool,
		    char *error, size_t len);

#endif
