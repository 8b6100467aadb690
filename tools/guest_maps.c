/* SPDX-License-Identifier: MIT */
/*
 * The ranges are a sorted array in which no two of the same protection touch: a guest has few of
 * them, its accesses and system calls ask for them far more often than they are changed, and the
 * limit bounds what a change costs.
 */
#include "guest_maps.h"

#include "guest_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct range {
	uint64_t start;
	uint64_t end;
	unsigned int protection;
};

/* @size: of the memory; no range ends beyond it. */
struct guest_maps {
	uint64_t size;
	unsigned int limit;
	unsigned int nr;
	struct range ranges[];
};

int guest_maps_create(struct guest_memory *memory, unsigned int limit, struct guest_maps **maps)
{
	struct guest_maps *new;

	if (memory->size <= GUEST_FIRST_GPA || memory->size % GUEST_PAGE_SIZE || !limit)
		return -EINVAL;
	new = calloc(1, sizeof(*new) + limit * sizeof(new->ranges[0]));
	if (!new)
		return -ENOMEM;
	new->size = memory->size;
	new->limit = limit;
	*maps = new;
	return 0;
}

void guest_maps_destroy(struct guest_maps *maps)
{
	free(maps);
}

/* The first range that ends after @gpa; maps->nr if none does. */
static unsigned int first_after(const struct guest_maps *maps, uint64_t gpa)
{
	unsigned int low = 0;
	unsigned int high = maps->nr;

	while (low < high) {
		unsigned int middle = low + (high - low) / 2;

		if (maps->ranges[middle].end > gpa)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

uint64_t guest_maps_reach(const struct guest_maps *maps, uint64_t gpa, uint64_t size,
			  unsigned int protection)
{
	const struct range *range = &maps->ranges[first_after(maps, gpa)];
	const struct range *end = &maps->ranges[maps->nr];
	uint64_t reached = 0;

	for (; range < end && reached < size; range++) {
		if (range->start > gpa + reached || protection & ~range->protection)
			break;
		reached = range->end - gpa;
	}
	return reached < size ? reached : size;
}

bool guest_maps_allow(const struct guest_maps *maps, uint64_t gpa, uint64_t size,
		      unsigned int protection)
{
	return guest_maps_reach(maps, gpa, size, protection) == size;
}

bool guest_maps_cover(const struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	return guest_maps_allow(maps, gpa, size, 0);
}

int guest_maps_protection(const struct guest_maps *maps, uint64_t gpa)
{
	unsigned int i = first_after(maps, gpa);

	if (i == maps->nr || maps->ranges[i].start > gpa)
		return -EFAULT;
	return (int)maps->ranges[i].protection;
}

uint64_t guest_maps_next(const struct guest_maps *maps, uint64_t *gpa, uint64_t end)
{
	unsigned int i = first_after(maps, *gpa);

	if (i == maps->nr || maps->ranges[i].start >= end)
		return 0;
	if (maps->ranges[i].start > *gpa)
		*gpa = maps->ranges[i].start;
	return (maps->ranges[i].end < end ? maps->ranges[i].end : end) - *gpa;
}

bool guest_maps_inside(const struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	return gpa >= GUEST_FIRST_GPA && gpa <= maps->size && size <= maps->size - gpa;
}

bool guest_maps_free(const struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	unsigned int i;

	if (!guest_maps_inside(maps, gpa, size))
		return false;
	i = first_after(maps, gpa);
	return i == maps->nr || maps->ranges[i].start >= gpa + size;
}

/* Puts @nr ranges in the place of those from @first to @last - 1. */
static int replace(struct guest_maps *maps, unsigned int first, unsigned int last,
		   const struct range *ranges, unsigned int nr)
{
	unsigned int rest = maps->nr - last;

	if (maps->nr - (last - first) + nr > maps->limit)
		return -ENOMEM;
	memmove(&maps->ranges[first + nr], &maps->ranges[last], rest * sizeof(*ranges));
	memcpy(&maps->ranges[first], ranges, nr * sizeof(*ranges));
	maps->nr = first + nr + rest;
	return 0;
}

/* Pieces of ranges, as they will stand. */
struct pieces {
	unsigned int nr;
	struct range ranges[3];
};

static void append(struct pieces *pieces, struct range range)
{
	struct range *last = pieces->nr ? &pieces->ranges[pieces->nr - 1] : NULL;

	if (range.start >= range.end)
		return;
	if (last && last->end == range.start && last->protection == range.protection)
		last->end = range.end;
	else
		pieces->ranges[pieces->nr++] = range;
}

/* Puts @new, if that is not NULL, in the place of all there is from @start to @end. */
static int set(struct guest_maps *maps, uint64_t start, uint64_t end, const struct range *new)
{
	/* Also those that only touch it, which may become one with it. */
	unsigned int first = first_after(maps, start - 1), last = first;
	struct pieces pieces = { 0 };

	while (last < maps->nr && maps->ranges[last].start <= end)
		last++;
	if (first < last) {
		struct range before = maps->ranges[first];

		before.end = before.end < start ? before.end : start;
		append(&pieces, before);
	}
	if (new)
		append(&pieces, *new);
	if (first < last) {
		struct range after = maps->ranges[last - 1];

		after.start = after.start > end ? after.start : end;
		append(&pieces, after);
	}
	return replace(maps, first, last, pieces.ranges, pieces.nr);
}

int guest_maps_add(struct guest_maps *maps, uint64_t gpa, uint64_t size, unsigned int protection)
{
	const struct range range = { gpa, gpa + size, protection };

	if (!guest_maps_inside(maps, gpa, size))
		return -ENOMEM;
	return size ? set(maps, range.start, range.end, &range) : 0;
}

bool guest_maps_removable(const struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	unsigned int i = first_after(maps, gpa);

	return maps->nr < maps->limit || i == maps->nr || maps->ranges[i].start >= gpa ||
	       maps->ranges[i].end <= gpa + size;
}

int guest_maps_remove(struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	if (!guest_maps_inside(maps, gpa, size))
		return -EINVAL;
	return size ? set(maps, gpa, gpa + size, NULL) : 0;
}

uint64_t guest_maps_find(const struct guest_maps *maps, uint64_t size)
{
	uint64_t end = maps->size;

	for (unsigned int i = maps->nr; i > 0; i--) {
		if (end - maps->ranges[i - 1].end >= size)
			return end - size;
		end = maps->ranges[i - 1].start;
	}
	return end >= GUEST_FIRST_GPA && end - GUEST_FIRST_GPA >= size ? end - size : 0;
}

uint64_t guest_maps_mapped(const struct guest_maps *maps)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < maps->nr; i++)
		sum += maps->ranges[i].end - maps->ranges[i].start;
	return sum;
}
