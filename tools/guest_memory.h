/* SPDX-License-Identifier: MIT */
/*
 * A guest's memory, gpa 0 to size: `base` is a stretch of this process that the processor maps
 * once. An access through it may raise SIGSEGV, which the library resolves, so it is for the
 * processor alone; what else reads or writes guest memory uses the operations.
 */
#ifndef STAGE2_TOOLS_GUEST_MEMORY_H
#define STAGE2_TOOLS_GUEST_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct guest_memory;

/* The range is inside the memory; each but destroy() returns 0 or a negative errno. */
struct guest_memory_ops {
	int (*read)(struct guest_memory *memory, uint64_t gpa, void *data, size_t len);
	int (*write)(struct guest_memory *memory, uint64_t gpa, const void *data, size_t len);
	/* Whole pages: they read as zeroes from now on, and take no memory of the host's. */
	int (*discard)(struct guest_memory *memory, uint64_t gpa, uint64_t size);
	void (*destroy)(struct guest_memory *memory);
};

struct guest_memory {
	const struct guest_memory_ops *ops;
	void *base;
	uint64_t size;
};

/*
 * Anonymous memory of this process and nothing else: what the machinery is compared with. -EINVAL:
 * @size is 0 or no multiple of 4 KiB; -ENOMEM.
 */
int guest_memory_plain(uint64_t size, struct guest_memory **memory);

#endif
