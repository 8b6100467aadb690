/* SPDX-License-Identifier: MIT */
/*
 * A guest's memory in a pool: a region in a memcg of its own, a VM with one memslot for it, a
 * window for the processor and a vCPU for copies.
 */
#ifndef STAGE2_TOOLS_GUEST_MEMORY_WINDOW_H
#define STAGE2_TOOLS_GUEST_MEMORY_WINDOW_H

#include "guest_memory.h"

#include <stage2/pool.h>
#include <stage2/vcpu.h>
#include <stage2/window.h>

/* The number of the memslot, which begins at gpa 0. */
#define GUEST_MEMORY_SLOT 0

struct guest_memory_window {
	struct guest_memory memory;
	struct s2_pool *pool;
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	struct s2_window *window;
	struct s2_vcpu *vcpu;
	uint64_t hva;
};

/*
 * @size: a multiple of 4 KiB. memory.ops are for one thread at a time, the guest's. 0, or what
 * the library says about the part that could not be made.
 */
int guest_memory_window_create(struct s2_pool *pool, uint64_t size,
			       struct guest_memory_window **memory);

#endif
