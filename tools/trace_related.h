/* SPDX-License-Identifier: MIT */
/*
 * Which invalidations of a recording are related.
 */
#ifndef STAGE2_TOOLS_TRACE_RELATED_H
#define STAGE2_TOOLS_TRACE_RELATED_H

#include <stddef.h>
#include <stdint.h>

struct trace;

/* Sets trace_call.related from the events. Returns 0 or -ENOMEM. */
int trace_mark_related(struct trace *trace);

/*
 * A sorted set of pairs, to give what is numbered sparsely (fds, slots, addresses) a dense index.
 * All pairs are known before the first is looked up.
 */
struct trace_key {
	uint64_t major;
	uint64_t minor;
};

/* Sorts and drops duplicates; returns how many remain. */
size_t trace_keys_sort(struct trace_key *key, size_t nr);

/* Index of the first key that is not below @k; nr if there is none. */
size_t trace_keys_find(const struct trace_key *key, size_t nr, struct trace_key k);

#endif
