/* SPDX-License-Identifier: MIT */
/* How much memory is enough; see run_print.h. */
#include "run_print.h"

#define PERCENT_MORE 15

const struct run_result *run_plain_of(const struct run_report *report)
{
	for (unsigned int i = 0; i < report->nr_results; i++)
		if (report->results[i].plain)
			return &report->results[i];
	return NULL;
}

/* The two peaks need not be of one moment: their sum is the least favourable. */
struct run_verdict run_verdict(const struct run_result *result, const struct run_result *plain)
{
	const struct run_memory_result *memory = &result->memory;
	uint64_t back = memory->library < memory->other_peak ? memory->library : memory->other_peak;
	struct run_verdict verdict = {
		.used = memory->pool_peak + memory->other_peak,
		.engines = plain ? plain->memory.other_peak : memory->other_peak - back,
		.measured = plain,
	};

	verdict.allowed =
		memory->pool_size + memory->pool_size / 100 * PERCENT_MORE + verdict.engines;
	verdict.kept = verdict.used <= verdict.allowed;
	return verdict;
}
