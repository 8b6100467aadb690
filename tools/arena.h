/* SPDX-License-Identifier: MIT */
/*
 * Memory in this process that stands for the host memory a recorded process gave its guests, and
 * the provider that finds a recorded host address in it. Reserved, not committed: pages come when a
 * vCPU faults and go when the recorded process dropped them.
 */
#ifndef STAGE2_TOOLS_ARENA_H
#define STAGE2_TOOLS_ARENA_H

#include "trace.h"

#include <stage2/mm.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* More than this in one recorded process is refused: half of what x86-64 can map. */
#define ARENA_MAX_BYTES (UINT64_C(1) << 46)

/*
 * The vCPUs of an arena use about so many of its pages, spread evenly, whatever the guests' size,
 * so that replaying a VMM with 512 GiB of guest memory does not need as much.
 */
#define ARENA_WORKING_PAGES 16384u

/*
 * @ranges: recorded host ranges, page aligned, sorted, apart from each other. Returns 0 or a
 * negative errno: -EFBIG if they are too large together, else what mmap() says.
 */
int arena_create(const struct trace_range *ranges, size_t nr_ranges, struct arena **out);
void arena_destroy(struct arena *arena);

/* Its context is a struct arena. */
extern const struct s2_provider_ops arena_provider;

/* Forgets the contents of what is in the arena of this range. */
void arena_drop(struct arena *arena, struct trace_range hva);

/*
 * Every how many pages, counted from the start of the arena's range that @hva is in, a page is in
 * the working set. *@phase: by how many pages @hva is behind the last such page. 0: none is.
 */
uint64_t arena_stride(const struct arena *arena, uint64_t hva, uint64_t *phase);

#endif
