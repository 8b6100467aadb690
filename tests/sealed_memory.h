/* SPDX-License-Identifier: MIT */
/*
 * An allocator that gives each block pages of its own, so that all of the library's
 * memory can be made read-only and each block that is written to nevertheless be told
 * apart. The first write to a page is noted and then let through: what runs under the
 * seal runs to its end and leaves nothing half done.
 *
 * The program's own data is sealed with it, where no sanitizer writes there.
 */
#ifndef TESTS_SEALED_MEMORY_H
#define TESTS_SEALED_MEMORY_H

#include <stage2/allocator.h>
#include <stdbool.h>
#include <stddef.h>

#define SEALED_BLOCKS_MAX 1024

/* @first_write: the offset of the first that was noted, if @written. */
struct sealed_block {
	char *base;
	size_t size; /* whole pages; 0 if it was freed */
	bool written;
	size_t first_write;
};

struct sealed_memory {
	struct s2_allocator ops; /* for struct s2_mm_config */
	struct sealed_block blocks[SEALED_BLOCKS_MAX];
	unsigned nr;
};

/* In memory of its own, which the seal leaves alone. One at a time. */
struct sealed_memory *sealed_memory_create(void);
void sealed_memory_destroy(struct sealed_memory *memory);

/*
 * Runs @path with every block read-only, by the thread that created them. What it
 * wrote to is in the blocks then. Returns how many blocks were written to.
 */
unsigned run_sealed(struct sealed_memory *memory, void (*path)(void *arg), void *arg);

/* The block that holds @address; NULL if none does. */
struct sealed_block *sealed_block_of(struct sealed_memory *memory, const void *address);

#endif /* TESTS_SEALED_MEMORY_H */
