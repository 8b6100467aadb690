/* SPDX-License-Identifier: MIT */
/* The line at the bottom of the terminal that tells how far a run is. */
#ifndef STAGE2_TOOLS_RUN_STATUS_H
#define STAGE2_TOOLS_RUN_STATUS_H

#include "run_sample.h"

#include <stddef.h>

/* NULL: stderr is no terminal, or no memory; the run does without. */
struct run_view *run_status_create(void);

/*
 * The line for a terminal of @width columns, the most important first: what does not fit is left
 * out, part by part. Plain ASCII, never longer than @width - 1 or @size - 1; returns @buf.
 */
const char *run_status_text(const struct run_samples *samples, unsigned int width, char *buf,
			    size_t size);

#endif
