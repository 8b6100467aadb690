/* SPDX-License-Identifier: MIT */
/*
 * The memslots that a recorded VM has at some moment, as its recorded updates leave them. The
 * replay keeps them to know what an update takes away, and where its vCPUs find memory.
 */
#ifndef STAGE2_TOOLS_SHAPE_H
#define STAGE2_TOOLS_SHAPE_H

#include "trace.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>

/* Sorted by slot number; none has size 0. All zero is an empty one. */
struct shape {
	struct kvm_userspace_memory_region *slots;
	size_t nr_slots;
	size_t room;
};

/* What the update @region makes of @shape. Returns 0, or -ENOMEM and leaves it as it was. */
int shape_apply(struct shape *shape, const struct kvm_userspace_memory_region *region);

/* The memslot of that number, or NULL. */
const struct kvm_userspace_memory_region *shape_find(const struct shape *shape, uint32_t slot);

/* Is any of the range in the host range of a memslot? */
bool shape_overlaps(const struct shape *shape, struct trace_range hva);

void shape_clear(struct shape *shape);

/* A memslot's host and guest range; empty, at 0, for NULL. */
struct trace_range shape_hva(const struct kvm_userspace_memory_region *region);
struct trace_range shape_gpa(const struct kvm_userspace_memory_region *region);

/* An empty range overlaps nothing. */
static inline bool ranges_overlap(struct trace_range a, struct trace_range b)
{
	return a.start < b.end && b.start < a.end && a.start < a.end && b.start < b.end;
}

#endif
