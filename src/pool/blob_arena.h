/* SPDX-License-Identifier: MIT */
/*
 * Where compressed pages lie: blobs of up to S2_BLOB_MAX bytes in one mapping.
 *
 * The mapping is cut into granules of 64 bytes. Blocks, free ones and such that hold a
 * blob, are runs of granules; two free ones never touch. A blob is at most 56 granules
 * with its header, so that there is one list of free blocks for each size up to 63 and
 * one for all that are larger, and one word tells which lists are not empty: the best
 * fit, a split and a merge take a few instructions each, whatever the arena's size.
 *
 * A blob does not move, so that it is decompressed where it lies and its place is its
 * name. The price is that there is no compaction, as zsmalloc has: whoever drops all but
 * a small blob out of each 3.5 KiB leaves an arena that takes no large one. Size classes
 * without compaction are worse off there (their pages stay with their class), chains of
 * small cells are better but have to be gathered from all over before each
 * decompression. With pages that come and go at random, best fit leaves a few per cent.
 */
#ifndef S2_POOL_BLOB_ARENA_H
#define S2_POOL_BLOB_ARENA_H

#include "base/lock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define S2_BLOB_GRANULE 64
#define S2_BLOB_SMALL 64 /* granules; blocks that large share one list */

struct s2_blob {
	uint32_t granules; /* of the block */
	uint32_t before;   /* granules of the free block that ends here, 0 for none */
	uint16_t length;   /* of the data */
	uint8_t data[];
};

/* 7/8 of a page, the header included: below that, a page in memory is hardly worth its while. */
#define S2_BLOB_MAX (56 * S2_BLOB_GRANULE - offsetof(struct s2_blob, data))

#define S2_BLOB_ARENA_MIN UINT64_C(4096)
#define S2_BLOB_ARENA_MAX (UINT64_C(1) << 37) /* granules are numbered in 32 bits, and some left */

struct s2_blob_arena {
	struct s2_mutex lock;
	void *map;
	size_t map_size;
	_Atomic uint64_t *begins; /* one bit for each granule: a blob begins there */
	char *granules;
	uint32_t nr_granules;
	uint32_t used; /* granules that hold blobs; lock */

	_Atomic unsigned room; /* granules of the largest free block, up to S2_BLOB_SMALL; lock */

	/* Bit i: free[i] is not empty. It lists blocks of i + 1 granules, the last one larger ones. */
	uint64_t not_empty;
	uint32_t free[S2_BLOB_SMALL];
};

/* @size, from S2_BLOB_ARENA_MIN to _MAX, is all the memory the arena takes. -ENOMEM. */
int s2_blob_arena_init(struct s2_blob_arena *arena, uint64_t size);
void s2_blob_arena_destroy(struct s2_blob_arena *arena);

/* A blob for @length bytes, up to S2_BLOB_MAX; NULL: there is no room. Any thread. */
struct s2_blob *s2_blob_alloc(struct s2_blob_arena *arena, size_t length, uint64_t *slot);

/* How many granules a blob of @length bytes takes. */
static inline uint32_t s2_blob_granules(size_t length)
{
	return (offsetof(struct s2_blob, data) + length + S2_BLOB_GRANULE - 1) / S2_BLOB_GRANULE;
}

/* The most granules that a blob would find free now. */
static inline unsigned s2_blob_room(const struct s2_blob_arena *arena)
{
	return atomic_load_explicit(&arena->room, memory_order_relaxed);
}

/* The blob that begins at @slot, which may be any number; NULL if none does. */
struct s2_blob *s2_blob_find(struct s2_blob_arena *arena, uint64_t slot);

/* Does nothing if no blob begins there. */
void s2_blob_free(struct s2_blob_arena *arena, uint64_t slot);

#endif /* S2_POOL_BLOB_ARENA_H */
