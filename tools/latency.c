/* SPDX-License-Identifier: MIT */
/*
 * The buckets: values below 2^SUB_BITS have one each; above, each power of two is cut in 2^SUB_BITS
 * equal parts, so that the relative error is the same at nanoseconds and at seconds.
 */
#include "latency.h"

#include <math.h>
#include <stdio.h>

static unsigned int bucket_of(uint64_t ns)
{
	if (ns < LATENCY_SUB)
		return (unsigned int)ns;

	unsigned int shift = 63 - (unsigned int)__builtin_clzll(ns) - LATENCY_SUB_BITS;

	/* ns >> shift is in [SUB, 2 * SUB), so that the blocks join without a gap. */
	return shift * LATENCY_SUB + (unsigned int)(ns >> shift);
}

static uint64_t bucket_last(unsigned int bucket)
{
	if (bucket < LATENCY_SUB)
		return bucket;

	unsigned int shift = bucket / LATENCY_SUB - 1;
	uint64_t first = (uint64_t)(bucket - shift * LATENCY_SUB) << shift;

	return first + ((UINT64_C(1) << shift) - 1);
}

void latency_add(struct latency *latency, uint64_t ns)
{
	latency->count++;
	latency->bucket[bucket_of(ns)]++;
	if (ns > latency->max)
		latency->max = ns;
}

void latency_merge(struct latency *dst, const struct latency *src)
{
	dst->count += src->count;
	if (src->max > dst->max)
		dst->max = src->max;
	for (unsigned int i = 0; i < LATENCY_BUCKETS; i++)
		dst->bucket[i] += src->bucket[i];
}

uint64_t latency_percentile(const struct latency *latency, double percent)
{
	uint64_t seen = 0;
	double rank = ceil((double)latency->count * percent / 100.0);

	if (rank < 1)
		rank = 1;
	for (unsigned int i = 0; i < LATENCY_BUCKETS; i++) {
		seen += latency->bucket[i];
		if ((double)seen >= rank)
			return bucket_last(i) < latency->max ? bucket_last(i) : latency->max;
	}
	return latency->max;
}

json_t *latency_json(const struct latency *latency)
{
	return json_pack("{s:I, s:I, s:I}", "p50", (json_int_t)latency_percentile(latency, 50),
			 "p99", (json_int_t)latency_percentile(latency, 99), "max",
			 (json_int_t)latency->max);
}

const char *latency_text(uint64_t ns, char *buf, size_t size)
{
	if (ns < 1000)
		snprintf(buf, size, "%u ns", (unsigned int)ns);
	else if (ns < 1000000)
		snprintf(buf, size, "%.3g us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(buf, size, "%.3g ms", (double)ns / 1e6);
	else
		snprintf(buf, size, "%.3f s", (double)ns / 1e9);
	return buf;
}

const char *latency_percentile_text(const struct latency *latency, double percent, char *buf,
				    size_t size)
{
	if (latency->count)
		return latency_text(latency_percentile(latency, percent), buf, size);
	snprintf(buf, size, "-");
	return buf;
}
