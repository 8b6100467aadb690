/* SPDX-License-Identifier: MIT */
/* The arena of blob_arena.h: best fit by exact size, with boundary tags. */
#include "pool/blob_arena.h"

#include <errno.h>
#include <sys/mman.h>

#define NONE UINT32_MAX
#define LARGE (S2_BLOB_SMALL - 1)
#define BITS_PER_GRANULE_OF_MAP (S2_BLOB_GRANULE * 8)

/* In the list of its size; lies behind the header of a free block. */
struct links {
	uint32_t next, prev;
};

_Static_assert(sizeof(struct s2_blob) + sizeof(struct links) <= S2_BLOB_GRANULE,
	       "a free block may be one granule only");

static struct s2_blob *block_at(struct s2_blob_arena *a, uint32_t index)
{
	return (struct s2_blob *)(a->granules + (size_t)index * S2_BLOB_GRANULE);
}

static struct links *links_at(struct s2_blob_arena *a, uint32_t index)
{
	return (struct links *)(block_at(a, index) + 1);
}

static bool holds_blob(struct s2_blob_arena *a, uint32_t index)
{
	/* Acquire pairs with the release in mark(): the blob's header is seen, too. */
	return atomic_load_explicit(&a->begins[index / 64], memory_order_acquire) >> index % 64 & 1;
}

static void mark(struct s2_blob_arena *a, uint32_t index, bool begins)
{
	uint64_t bit = UINT64_C(1) << index % 64;

	if (begins)
		atomic_fetch_or_explicit(&a->begins[index / 64], bit, memory_order_release);
	else
		atomic_fetch_and_explicit(&a->begins[index / 64], ~bit, memory_order_relaxed);
}

static unsigned list_of(uint32_t granules)
{
	return granules > LARGE ? LARGE : granules - 1;
}

/* The next block has to know of a free one before it, or of none: 0. */
static void tell_next(struct s2_blob_arena *a, uint32_t end, uint32_t before)
{
	if (end < a->nr_granules)
		block_at(a, end)->before = before;
}

static void insert(struct s2_blob_arena *a, uint32_t index, uint32_t granules)
{
	struct s2_blob *block = block_at(a, index);
	struct links *links = links_at(a, index);
	unsigned list = list_of(granules);

	block->granules = granules;
	block->before = 0;
	links->next = a->not_empty >> list & 1 ? a->free[list] : NONE;
	links->prev = NONE;
	if (links->next != NONE)
		links_at(a, links->next)->prev = index;
	a->free[list] = index;
	a->not_empty |= UINT64_C(1) << list;
	tell_next(a, index + granules, granules);
}

static void take_out(struct s2_blob_arena *a, uint32_t index)
{
	struct links links = *links_at(a, index);
	unsigned list = list_of(block_at(a, index)->granules);

	if (links.next != NONE)
		links_at(a, links.next)->prev = links.prev;
	if (links.prev != NONE)
		links_at(a, links.prev)->next = links.next;
	else if (links.next != NONE)
		a->free[list] = links.next;
	else
		a->not_empty &= ~(UINT64_C(1) << list);
}

/* With the lock held, after changes of the lists. */
static void tell_room(struct s2_blob_arena *a)
{
	unsigned room = a->not_empty ? 64 - (unsigned)__builtin_clzll(a->not_empty) : 0;

	atomic_store_explicit(&a->room, room, memory_order_relaxed);
}

int s2_blob_arena_init(struct s2_blob_arena *a, uint64_t size)
{
	uint32_t granules = size / S2_BLOB_GRANULE;
	uint32_t for_map = (granules + BITS_PER_GRANULE_OF_MAP - 1) / BITS_PER_GRANULE_OF_MAP;
	void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	*a = (struct s2_blob_arena){
		.map = map,
		.map_size = size,
		.begins = map,
		.granules = (char *)map + (size_t)for_map * S2_BLOB_GRANULE,
		.nr_granules = granules - for_map,
	};
	/* Not a spinlock: the first touch of a page of the mapping is made under it. */
	s2_mutex_init(&a->lock, S2_RANK_INTERNAL);
	insert(a, 0, a->nr_granules);
	tell_room(a);
	return 0;
}

void s2_blob_arena_destroy(struct s2_blob_arena *a)
{
	munmap(a->map, a->map_size);
}

/* With the lock held; NONE if no free block is large enough. */
static uint32_t take(struct s2_blob_arena *a, uint32_t granules)
{
	uint64_t fitting = a->not_empty & UINT64_MAX << list_of(granules);
	uint32_t index, rest;

	if (!fitting)
		return NONE;
	index = a->free[__builtin_ctzll(fitting)];
	take_out(a, index);
	rest = block_at(a, index)->granules - granules;
	if (rest)
		insert(a, index + granules, rest);
	else
		tell_next(a, index + granules, 0);
	a->used += granules;
	return index;
}

struct s2_blob *s2_blob_alloc(struct s2_blob_arena *a, size_t length, uint64_t *slot)
{
	uint32_t granules = s2_blob_granules(length);
	struct s2_blob *blob = NULL;
	uint32_t index;

	s2_mutex_lock(&a->lock);
	index = take(a, granules);
	tell_room(a);
	if (index != NONE) {
		blob = block_at(a, index);
		blob->granules = granules;
		blob->length = length;
		mark(a, index, true);
		*slot = index;
	}
	s2_mutex_unlock(&a->lock);
	return blob;
}

struct s2_blob *s2_blob_find(struct s2_blob_arena *a, uint64_t slot)
{
	return slot < a->nr_granules && holds_blob(a, slot) ? block_at(a, slot) : NULL;
}

/* With the lock held. */
static void give_back(struct s2_blob_arena *a, uint32_t index)
{
	struct s2_blob *blob = block_at(a, index);
	uint32_t begin = index, end = index + blob->granules;

	mark(a, index, false);
	a->used -= blob->granules;
	if (blob->before) {
		begin -= blob->before;
		take_out(a, begin);
	}
	if (end < a->nr_granules && !holds_blob(a, end)) {
		take_out(a, end);
		end += block_at(a, end)->granules;
	}
	insert(a, begin, end - begin);
}

void s2_blob_free(struct s2_blob_arena *a, uint64_t slot)
{
	s2_mutex_lock(&a->lock);
	if (s2_blob_find(a, slot))
		give_back(a, slot);
	tell_room(a);
	s2_mutex_unlock(&a->lock);
}
