/* SPDX-License-Identifier: MIT */
/* --top: a full-screen view of a run. */
#ifndef STAGE2_TOOLS_RUN_TOP_H
#define STAGE2_TOOLS_RUN_TOP_H

#include "run_sample.h"

/*
 * Where there is no terminal to draw on, or this build has no ncurses, says so in one line on
 * stderr and is run_status_create() instead. NULL: not even that.
 */
struct run_view *run_top_create(void);

#endif
