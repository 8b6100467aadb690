/* SPDX-License-Identifier: MIT */
/*
 * See bench_pairs.h. The numbers are the same in each run, so that two runs measure the same thing.
 */
#include "bench_pairs.h"

/* Far from what the kernel maps of its own accord, and where KVM accepts a memslot. */
#define FIRST_CHUNK (UINT64_C(1) << 40)

uint64_t bench_guest_chunk(unsigned int nr)
{
	return FIRST_CHUNK + (uint64_t)nr * 2 * BENCH_CHUNK_SIZE;
}

void bench_pairs_fill(struct bench_pairs *pairs, uint64_t seed)
{
	uint64_t state = seed * 2 + 1;

	for (unsigned int i = 0; i < BENCH_PAIRS; i++) {
		uint64_t chunk = bench_random(&state) % BENCH_CHUNK_PAIRS;
		uint64_t pages = 1 + bench_random(&state) % 16;
		uint64_t room = BENCH_CHUNK_SIZE / S2_PAGE_SIZE - pages;
		uint64_t first = bench_random(&state) % (room + 1);

		pairs->range[i].start =
			FIRST_CHUNK + (chunk * 2 + 1) * BENCH_CHUNK_SIZE + first * S2_PAGE_SIZE;
		pairs->range[i].end = pairs->range[i].start + pages * S2_PAGE_SIZE;
	}
}

int bench_pairs_run(const struct bench_pairs *pairs, struct s2_mm *mm, uint64_t first, uint64_t n)
{
	struct s2_invalidation inv;

	for (uint64_t i = first; i < first + n; i++) {
		uint64_t start = pairs->range[i % BENCH_PAIRS].start;
		uint64_t end = pairs->range[i % BENCH_PAIRS].end;
		int error = s2_invalidate_range_start(mm, &inv, start, end, 0);

		if (error)
			return error;
		s2_invalidate_range_end(mm, &inv);
	}
	return 0;
}

int bench_set_memslot(struct s2_vm *vm, uint32_t slot, uint64_t gfn, uint64_t pages, uint64_t hva)
{
	const struct kvm_userspace_memory_region region = bench_region(slot, gfn, pages, hva);

	return s2_vm_set_memory_region(vm, &region);
}
