/* SPDX-License-Identifier: MIT */
/*
 * A sorted array: recordings have few memslots, and VMMs number them upwards, so that most
 * insertions are at the end.
 */
#include "shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The index of the first memslot whose number is not below @slot. */
static size_t lower_bound(const struct shape *shape, uint32_t slot)
{
	size_t low = 0, high = shape->nr_slots;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (shape->slots[middle].slot < slot)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_at(const struct shape *shape, size_t i, uint32_t slot)
{
	return i < shape->nr_slots && shape->slots[i].slot == slot;
}

static int make_room(struct shape *shape, size_t nr_slots)
{
	if (nr_slots <= shape->room)
		return 0;

	size_t room = nr_slots + nr_slots / 2 + 8;
	void *slots = reallocarray(shape->slots, room, sizeof(*shape->slots));

	if (!slots)
		return -ENOMEM;
	shape->slots = slots;
	shape->room = room;
	return 0;
}

int shape_apply(struct shape *shape, const struct kvm_userspace_memory_region *region)
{
	size_t i = lower_bound(shape, region->slot);
	bool there = is_at(shape, i, region->slot);
	struct kvm_userspace_memory_region *at;

	if (!region->memory_size) {
		if (there) {
			at = shape->slots + i;
			memmove(at, at + 1, (--shape->nr_slots - i) * sizeof(*at));
		}
		return 0;
	}
	if (!there) {
		if (make_room(shape, shape->nr_slots + 1))
			return -ENOMEM;
		at = shape->slots + i;
		memmove(at + 1, at, (shape->nr_slots++ - i) * sizeof(*at));
	}
	shape->slots[i] = *region;
	return 0;
}

const struct kvm_userspace_memory_region *shape_find(const struct shape *shape, uint32_t slot)
{
	size_t i = lower_bound(shape, slot);

	return is_at(shape, i, slot) ? &shape->slots[i] : NULL;
}

bool shape_overlaps(const struct shape *shape, struct trace_range hva)
{
	for (size_t i = 0; i < shape->nr_slots; i++) {
		if (ranges_overlap(shape_hva(&shape->slots[i]), hva))
			return true;
	}
	return false;
}

void shape_clear(struct shape *shape)
{
	free(shape->slots);
	*shape = (struct shape){ 0 };
}

struct trace_range shape_hva(const struct kvm_userspace_memory_region *region)
{
	if (!region)
		return (struct trace_range){ 0 };
	return (struct trace_range){ region->userspace_addr,
				     region->userspace_addr + region->memory_size };
}

struct trace_range shape_gpa(const struct kvm_userspace_memory_region *region)
{
	if (!region)
		return (struct trace_range){ 0 };
	return (struct trace_range){ region->guest_phys_addr,
				     region->guest_phys_addr + region->memory_size };
}
