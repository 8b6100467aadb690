/* SPDX-License-Identifier: MIT */
/*
 * How long something took, many times over: a log-linear histogram, which adds without allocating
 * or locking, merges, and tells percentiles to within 1/32. One per thread, merged afterwards.
 */
#ifndef STAGE2_TOOLS_LATENCY_H
#define STAGE2_TOOLS_LATENCY_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define LATENCY_SUB_BITS 5
#define LATENCY_SUB (1u << LATENCY_SUB_BITS)
#define LATENCY_BUCKETS ((64 - LATENCY_SUB_BITS + 1) * LATENCY_SUB)

/* All zero is an empty one. */
struct latency {
	uint64_t count;
	uint64_t max;
	uint64_t bucket[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t ns);
void latency_merge(struct latency *dst, const struct latency *src);

/*
 * The smallest value that @percent (0 to 100) of the values do not exceed, rounded up to its
 * bucket's end but never above the largest value; 0 if there is none.
 */
uint64_t latency_percentile(const struct latency *latency, double percent);

/* A new reference to {"p50":ns,"p99":ns,"max":ns}, or NULL when out of memory. */
json_t *latency_json(const struct latency *latency);

/* For a table: "-" without values, else the percentile as latency_text() writes it. */
const char *latency_percentile_text(const struct latency *latency, double percent, char *buf,
				    size_t size);

/* "850 ns", "1.24 us", "13.1 ms", "2.5 s"; returns @buf, which should hold 16 bytes. */
const char *latency_text(uint64_t ns, char *buf, size_t size);

#endif
