/* SPDX-License-Identifier: MIT */
/*
 * The ranges are a sorted array in which no two touch: a guest has few of them, its system calls
 * ask for them far more often than they change them, and the limit bounds what a change costs.
 */
#include "guest_maps.h"

#include "guest_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct range {
	uint64_t start;
	uint64_t end;
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

bool guest_maps_cover(const struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	unsigned int i;

	if (!size)
		return true;
	i = first_after(maps, gpa);
	return i < maps->nr && maps->ranges[i].start <= gpa && maps->ranges[i].end - gpa >= size;
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

int guest_maps_add(struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	struct range range = { gpa, gpa + size };
	unsigned int first;
	unsigned int last;

	if (!guest_maps_inside(maps, gpa, size))
		return -ENOMEM;
	if (!size)
		return 0;
	/* gpa - 1: one that ends at gpa becomes part of it, as does one that begins at its end. */
	first = first_after(maps, gpa - 1);
	for (last = first; last < maps->nr && maps->ranges[last].start <= range.end; last++) {
		if (maps->ranges[last].start < range.start)
			range.start = maps->ranges[last].start;
		if (maps->ranges[last].end > range.end)
			range.end = maps->ranges[last].end;
	}
	return replace(maps, first, last, &range, 1);
}

bool guest_maps_removable(const struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	unsigned int i = first_after(maps, gpa);

	return maps->nr < maps->limit || i == maps->nr || maps->ranges[i].start >= gpa ||
	       maps->ranges[i].end <= gpa + size;
}

int guest_maps_remove(struct guest_maps *maps, uint64_t gpa, uint64_t size)
{
	struct range left[2];
	unsigned int first;
	unsigned int last;
	unsigned int nr = 0;

	if (!guest_maps_inside(maps, gpa, size))
		return -EINVAL;
	if (!size)
		return 0;
	first = first_after(maps, gpa);
	for (last = first; last < maps->nr && maps->ranges[last].start < gpa + size; last++) {
		if (maps->ranges[last].start < gpa)
			left[nr++] = (struct range){ maps->ranges[last].start, gpa };
		if (maps->ranges[last].end > gpa + size)
			left[nr++] = (struct range){ gpa + size, maps->ranges[last].end };
	}
	return replace(maps, first, last, left, nr);
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
