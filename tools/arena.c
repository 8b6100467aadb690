/* SPDX-License-Identifier: MIT */
/*
 * One local mapping per recorded range, found by bisection: the ranges are fixed before the replay
 * starts, so that faults need no lock.
 */
#include "arena.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct arena_part {
	struct trace_range hva;
	char *local;
	uint64_t stride; /* in pages, see arena_stride() */
};

struct arena {
	size_t nr_parts;
	struct arena_part part[];
};

static uint64_t range_size(struct trace_range range)
{
	return range.end - range.start;
}

static int map_part(struct arena_part *part, struct trace_range hva)
{
	void *local = mmap(NULL, range_size(hva), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (local == MAP_FAILED)
		return -errno;
	/* A huge page at each of the few pages used would undo the limit on memory. */
	madvise(local, range_size(hva), MADV_NOHUGEPAGE);
	part->hva = hva;
	part->local = local;
	return 0;
}

/* The working pages are shared out evenly, so that a small range next to a huge one gets its own.
 */
static void share_out_pages(struct arena *arena)
{
	if (arena->nr_parts > ARENA_WORKING_PAGES)
		return;
	for (size_t i = 0; i < arena->nr_parts; i++) {
		uint64_t budget = ARENA_WORKING_PAGES / arena->nr_parts;
		uint64_t pages = range_size(arena->part[i].hva) >> S2_PAGE_SHIFT;

		arena->part[i].stride = (pages + budget - 1) / budget;
	}
}

static bool too_large(const struct trace_range *ranges, size_t nr_ranges)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < nr_ranges; i++) {
		if (range_size(ranges[i]) > ARENA_MAX_BYTES - bytes)
			return true;
		bytes += range_size(ranges[i]);
	}
	return false;
}

int arena_create(const struct trace_range *ranges, size_t nr_ranges, struct arena **out)
{
	struct arena *arena;

	if (too_large(ranges, nr_ranges))
		return -EFBIG;
	arena = calloc(1, sizeof(*arena) + nr_ranges * sizeof(arena->part[0]));
	if (!arena)
		return -ENOMEM;
	for (; arena->nr_parts < nr_ranges; arena->nr_parts++) {
		int error = map_part(&arena->part[arena->nr_parts], ranges[arena->nr_parts]);

		if (error) {
			arena_destroy(arena);
			return error;
		}
	}
	share_out_pages(arena);
	*out = arena;
	return 0;
}

void arena_destroy(struct arena *arena)
{
	if (!arena)
		return;
	for (size_t i = 0; i < arena->nr_parts; i++)
		munmap(arena->part[i].local, range_size(arena->part[i].hva));
	free(arena);
}

/* The index of the first part that ends behind @hva. */
static size_t first_part(const struct arena *arena, uint64_t hva)
{
	size_t low = 0, high = arena->nr_parts;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (arena->part[middle].hva.end <= hva)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct arena_part *find_part(const struct arena *arena, uint64_t hva)
{
	size_t i = first_part(arena, hva);

	return i < arena->nr_parts && arena->part[i].hva.start <= hva ? &arena->part[i] : NULL;
}

void arena_drop(struct arena *arena, struct trace_range hva)
{
	for (size_t i = first_part(arena, hva.start); i < arena->nr_parts; i++) {
		const struct arena_part *part = &arena->part[i];
		uint64_t start = hva.start > part->hva.start ? hva.start : part->hva.start;
		uint64_t end = hva.end < part->hva.end ? hva.end : part->hva.end;

		if (start >= end)
			return;
		madvise(part->local + (start - part->hva.start), end - start, MADV_DONTNEED);
	}
}

uint64_t arena_stride(const struct arena *arena, uint64_t hva, uint64_t *phase)
{
	const struct arena_part *part = find_part(arena, hva);

	if (!part || !part->stride)
		return 0;
	*phase = ((hva - part->hva.start) >> S2_PAGE_SHIFT) % part->stride;
	return part->stride;
}

static int arena_fault(void *ctx, uint64_t hva, unsigned int access, struct s2_page *page)
{
	const struct arena_part *part = find_part(ctx, hva);
	bool writable = access & S2_ACCESS_WRITE;
	char *addr;

	if (!part)
		return -EFAULT;
	addr = part->local + ((hva - part->hva.start) & ~(S2_PAGE_SIZE - 1));
	if (madvise(addr, S2_PAGE_SIZE, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ))
		return -errno;
	*page = (struct s2_page){ .addr = addr, .shift = S2_PAGE_SHIFT, .writable = writable };
	return 0;
}

const struct s2_provider_ops arena_provider = {
	.name = "arena",
	.fault = arena_fault,
};
