/* SPDX-License-Identifier: MIT */
/*
 * Unrelated invalidations out of a list made beforehand: what the gate benchmark measures, what
 * storms in the fault benchmark, and how the slots benchmark looks up host addresses. Also the
 * memslots they are unrelated to, and the random numbers that place both.
 */
#ifndef STAGE2_TOOLS_BENCH_PAIRS_H
#define STAGE2_TOOLS_BENCH_PAIRS_H

#include <stage2/stage2.h>
#include <stdint.h>

/* A power of two. 16 KiB of ranges per thread: read in order, they come from the cache in time. */
#define BENCH_PAIRS 1024

struct bench_pairs {
	struct {
		uint64_t start;
		uint64_t end;
	} range[BENCH_PAIRS];
};

/*
 * The host addresses of the gate and fault benchmarks: 2,048 chunks of 128 MiB, a small VM's
 * memory, of which nothing needs to be mapped. Memslots are put in even ones, invalidations in odd
 * ones, so that each lookup has to go down among the memslots instead of passing them by.
 */
#define BENCH_CHUNK_SIZE (UINT64_C(128) << 20)
#define BENCH_CHUNK_PAIRS 1024

uint64_t bench_guest_chunk(unsigned int nr);

/* Fills @pairs with ranges of 1 to 16 pages in odd chunks; each @seed gives others. */
void bench_pairs_fill(struct bench_pairs *pairs, uint64_t seed);

/* @n pairs of start and end, beginning with number @first of the list. */
int bench_pairs_run(const struct bench_pairs *pairs, struct s2_mm *mm, uint64_t first, uint64_t n);

/* What KVM_SET_USER_MEMORY_REGION is given, without flags; 0 @pages deletes. */
static inline struct kvm_userspace_memory_region bench_region(uint32_t slot, uint64_t gfn,
							      uint64_t pages, uint64_t hva)
{
	return (struct kvm_userspace_memory_region){
		.slot = slot,
		.guest_phys_addr = gfn << S2_PAGE_SHIFT,
		.memory_size = pages << S2_PAGE_SHIFT,
		.userspace_addr = hva,
	};
}

int bench_set_memslot(struct s2_vm *vm, uint32_t slot, uint64_t gfn, uint64_t pages, uint64_t hva);

/* The next of a sequence of random numbers (xorshift64*); *@state must not be 0. */
static inline uint64_t bench_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
