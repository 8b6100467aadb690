/* SPDX-License-Identifier: MIT */
/* The allocator of counting_allocator.h: each block has its size and its state before it. */
#include "counting_allocator.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIVE UINT64_C(0x6c69766520626c6b)
#define FREED UINT64_C(0x6672656564626c6b)

/* Last in the space before the block, where the C library's own free lists leave it alone. */
struct block {
	void *base;
	size_t size;
	uint64_t state;
	uint64_t unused;
};

static bool fails(struct counting_allocator *memory)
{
	if (!atomic_load(&memory->failing) && atomic_fetch_sub(&memory->countdown, 1) != 1)
		return false;
	atomic_fetch_add(&memory->failed, 1);
	return true;
}

static void *count_alloc(void *ctx, size_t size, size_t align)
{
	struct counting_allocator *memory = ctx;
	size_t before = align > 64 ? align : 64;
	struct block *block;
	void *base;

	atomic_fetch_add(&memory->calls, 1);
	if (fails(memory) || posix_memalign(&base, before, before + size))
		return NULL;
	block = (struct block *)(void *)((char *)base + before) - 1;
	*block = (struct block){ .base = base, .size = size, .state = LIVE };
	atomic_fetch_add(&memory->blocks, 1);
	atomic_fetch_add(&memory->bytes, size);
	/* The contents need not be zero, so they are not. */
	return memset(block + 1, 0xa5, size);
}

static void count_free(void *ctx, void *ptr)
{
	struct counting_allocator *memory = ctx;
	struct block *block = (struct block *)ptr - 1;

	if (block->state != LIVE) {
		fprintf(stderr, "free of a block that is %s\n",
			block->state == FREED ? "free already" : "not of this allocator");
		abort();
	}
	block->state = FREED;
	memset(ptr, 0x5a, block->size);
	atomic_fetch_sub(&memory->blocks, 1);
	atomic_fetch_sub(&memory->bytes, block->size);
	free(block->base);
}

void counting_allocator_init(struct counting_allocator *memory)
{
	*memory = (struct counting_allocator){
		.ops = { .alloc = count_alloc, .free = count_free, .ctx = memory },
	};
}

void counting_allocator_fail_at(struct counting_allocator *memory, long n)
{
	atomic_store(&memory->countdown, n);
}

void counting_allocator_fail_all(struct counting_allocator *memory, bool failing)
{
	atomic_store(&memory->failing, failing);
}
