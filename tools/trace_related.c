/* SPDX-License-Identifier: MIT */
/*
 * Which invalidations of a recording are related: walks the events in recorded order with the set
 * of memslots installed at each moment. It is written apart from the library on purpose, because
 * what the gates count is compared with it.
 *
 * The set is kept as a cover over address segments. All bounds that memslots will ever have are
 * known beforehand, so they are sorted once and a tree is laid over the segments between them,
 * counting at each node the memslots that cover all of it. With u updates and i invalidations
 * everything together costs O((u + i) log u) time and O(u) memory, however memslots overlap.
 */
#include "trace_related.h"

#include <errno.h>
#include <stdlib.h>

#include "trace.h"

static int compare_keys(const void *x, const void *y)
{
	const struct trace_key *a = x, *b = y;

	if (a->major != b->major)
		return a->major < b->major ? -1 : 1;
	if (a->minor != b->minor)
		return a->minor < b->minor ? -1 : 1;
	return 0;
}

size_t trace_keys_sort(struct trace_key *key, size_t nr)
{
	size_t i, kept = 0;

	if (nr)
		qsort(key, nr, sizeof(*key), compare_keys);
	for (i = 0; i < nr; i++)
		if (!kept || compare_keys(&key[kept - 1], &key[i]))
			key[kept++] = key[i];
	return kept;
}

size_t trace_keys_find(const struct trace_key *key, size_t nr, struct trace_key k)
{
	size_t low = 0, high = nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare_keys(&key[mid], &k) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct cover {
	struct trace_key *bound; /* (process, hva); segment i is bound[i] to bound[i + 1] */
	size_t nr_bounds;
	size_t leaves;	/* a power of two; node n has the children 2n and 2n + 1 */
	uint32_t *full; /* memslots that cover the node's segments, all of them */
	bool *any;	/* a memslot covers some part of the node */
};

struct slot {
	bool installed;
	struct trace_range range;
};

struct walk {
	struct trace *trace;
	struct cover cover;
	struct trace_key *slot_key; /* (vm, slot) */
	struct slot *slot;
	size_t nr_slots;
};

static void update_node(struct cover *c, size_t n)
{
	c->any[n] = c->full[n] || (n < c->leaves && (c->any[2 * n] || c->any[2 * n + 1]));
}

static void update_ancestors(struct cover *c, size_t n)
{
	for (n /= 2; n; n /= 2)
		update_node(c, n);
}

static void add_to_node(struct cover *c, size_t n, int delta)
{
	c->full[n] += (uint32_t)delta;
	update_node(c, n);
}

/* @range is a memslot's: both its bounds are in the set. */
static void cover_add(struct cover *c, uint32_t process, struct trace_range range, int delta)
{
	size_t first =
		trace_keys_find(c->bound, c->nr_bounds, (struct trace_key){ process, range.start });
	size_t end =
		trace_keys_find(c->bound, c->nr_bounds, (struct trace_key){ process, range.end });
	size_t l = first + c->leaves, r = end + c->leaves;

	for (; l < r; l /= 2, r /= 2) {
		if (l & 1)
			add_to_node(c, l++, delta);
		if (r & 1)
			add_to_node(c, --r, delta);
	}
	update_ancestors(c, first + c->leaves);
	update_ancestors(c, end - 1 + c->leaves);
}

static bool covered_from_above(const struct cover *c, size_t n)
{
	for (; n; n /= 2)
		if (c->full[n])
			return true;
	return false;
}

static bool cover_overlaps(const struct cover *c, uint32_t process, struct trace_range range)
{
	size_t end =
		trace_keys_find(c->bound, c->nr_bounds, (struct trace_key){ process, range.end });
	size_t first = trace_keys_find(c->bound, c->nr_bounds,
				       (struct trace_key){ process, range.start + 1 });
	size_t l, r;

	/* The segment that contains range.start begins at the last bound not above it. */
	if (first)
		first--;
	if (first >= end)
		return false;
	if (covered_from_above(c, first + c->leaves) || covered_from_above(c, end - 1 + c->leaves))
		return true;
	l = first + c->leaves;
	r = end + c->leaves;
	for (; l < r; l /= 2, r /= 2)
		if (((l & 1) && c->any[l++]) || ((r & 1) && c->any[--r]))
			return true;
	return false;
}

static struct trace_range region_range(const struct kvm_userspace_memory_region *region)
{
	return (struct trace_range){ region->userspace_addr,
				     region->userspace_addr + region->memory_size };
}

static int walk_init(struct walk *w, struct trace *trace)
{
	struct cover *c = &w->cover;
	size_t updates = trace->count[TRACE_MEMSLOT], i;

	w->trace = trace;
	w->slot_key = calloc(updates, sizeof(*w->slot_key));
	w->slot = calloc(updates, sizeof(*w->slot));
	c->bound = calloc(updates, 2 * sizeof(*c->bound));
	if (!w->slot_key || !w->slot || !c->bound)
		return -ENOMEM;
	for (i = 0; i < trace->nr_calls; i++) {
		const struct trace_call *call = &trace->calls[i];
		struct trace_range range = region_range(&call->region);

		if (call->kind != TRACE_MEMSLOT)
			continue;
		w->slot_key[w->nr_slots++] = (struct trace_key){ call->vm, call->region.slot };
		c->bound[c->nr_bounds++] = (struct trace_key){ call->process, range.start };
		c->bound[c->nr_bounds++] = (struct trace_key){ call->process, range.end };
	}
	w->nr_slots = trace_keys_sort(w->slot_key, w->nr_slots);
	c->nr_bounds = trace_keys_sort(c->bound, c->nr_bounds);
	for (c->leaves = 1; c->leaves < c->nr_bounds; c->leaves *= 2)
		;
	c->full = calloc(c->leaves, 2 * sizeof(*c->full));
	c->any = calloc(c->leaves, 2 * sizeof(*c->any));
	return c->full && c->any ? 0 : -ENOMEM;
}

static void walk_destroy(struct walk *w)
{
	free(w->slot_key);
	free(w->slot);
	free(w->cover.bound);
	free(w->cover.full);
	free(w->cover.any);
}

static void remove_slot(struct walk *w, uint32_t process, struct slot *slot)
{
	if (slot->installed)
		cover_add(&w->cover, process, slot->range, -1);
	slot->installed = false;
}

static void update_slot(struct walk *w, const struct trace_call *call)
{
	struct trace_key k = { call->vm, call->region.slot };
	struct slot *slot = &w->slot[trace_keys_find(w->slot_key, w->nr_slots, k)];

	remove_slot(w, call->process, slot);
	if (!call->region.memory_size)
		return;
	slot->installed = true;
	slot->range = region_range(&call->region);
	cover_add(&w->cover, call->process, slot->range, 1);
}

static void remove_vm(struct walk *w, uint32_t vm)
{
	size_t i = trace_keys_find(w->slot_key, w->nr_slots, (struct trace_key){ vm, 0 });

	for (; i < w->nr_slots && w->slot_key[i].major == vm; i++)
		remove_slot(w, w->trace->vms[vm].process, &w->slot[i]);
}

static void judge(struct walk *w, struct trace_call *call)
{
	unsigned int i;

	for (i = 0; i < call->nr_ranges; i++)
		if (cover_overlaps(&w->cover, call->process, call->range[i]))
			call->related = true;
	if (call->related) {
		w->trace->related[call->kind]++;
		w->trace->nr_related++;
	}
}

int trace_mark_related(struct trace *trace)
{
	struct walk w = { 0 };
	size_t i;
	int ret;

	if (!trace->count[TRACE_MEMSLOT])
		return 0;
	ret = walk_init(&w, trace);
	for (i = 0; !ret && i < trace->nr_events; i++) {
		const struct trace_event *event = &trace->events[i];

		if (event->type == TRACE_START)
			judge(&w, &trace->calls[event->index]);
		else if (event->type == TRACE_UPDATE)
			update_slot(&w, &trace->calls[event->index]);
		else if (event->type == TRACE_VM_GONE)
			remove_vm(&w, event->index);
	}
	walk_destroy(&w);
	return ret;
}
