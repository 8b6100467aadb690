/* SPDX-License-Identifier: MIT */
/* How much of the whole a part is, in percent; of nothing, nothing. */
#ifndef STAGE2_TOOLS_RUN_SHARE_H
#define STAGE2_TOOLS_RUN_SHARE_H

#include <stdint.h>

static inline double run_share(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

#endif
