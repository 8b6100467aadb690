/* SPDX-License-Identifier: MIT */
/* See bench_allocator.h. */
#include "bench_allocator.h"

#include <stdlib.h>

/* A piece's size and where malloc's begins, in front of the piece. */
struct piece {
	size_t size;
	void *whole;
};

static void *counting_alloc(void *ctx, size_t size, size_t align)
{
	_Atomic uint64_t *bytes = ctx;
	size_t front = align > sizeof(struct piece) ? align : sizeof(struct piece);
	char *whole = size > SIZE_MAX - 2 * front ? NULL : malloc(size + 2 * front);
	uintptr_t at = ((uintptr_t)whole + 2 * front - 1) & ~(front - 1);

	if (!whole)
		return NULL;
	((struct piece *)at)[-1] = (struct piece){ size, whole };
	atomic_fetch_add_explicit(bytes, size, memory_order_relaxed);
	return (void *)at;
}

static void counting_free(void *ctx, void *ptr)
{
	_Atomic uint64_t *bytes = ctx;
	struct piece piece = ((struct piece *)ptr)[-1];

	atomic_fetch_sub_explicit(bytes, piece.size, memory_order_relaxed);
	free(piece.whole);
}

struct s2_allocator bench_counting_allocator(_Atomic uint64_t *bytes)
{
	return (struct s2_allocator){ counting_alloc, counting_free, bytes };
}
