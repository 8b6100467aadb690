/* SPDX-License-Identifier: MIT */
/*
 * A VM with many memslots, and what updating them costs. Only the call that is made differs between
 * a VM of stage2 and one of what it is compared with: memslots and updates are the same.
 *
 * Each memslot is one page, with a gap of one page behind it both in the guest's addresses and in
 * the host's, where the order is another: so there is somewhere to add and to move to, something to
 * look up in the one index that the other one's order does not help with, and unrelated ranges with
 * a memslot on either side.
 */
#ifndef STAGE2_TOOLS_BENCH_MEMSLOTS_H
#define STAGE2_TOOLS_BENCH_MEMSLOTS_H

#include "bench.h"

#define BENCH_MOST_SLOTS 32000
#define BENCH_NR_SLOT_COUNTS 4

/* Far from what the kernel maps; nothing has to be there. */
#define BENCH_FIRST_SLOT_HVA (UINT64_C(1) << 40)

/* What the benchmarks compare; the last one is BENCH_MOST_SLOTS. */
extern const unsigned int bench_slot_counts[BENCH_NR_SLOT_COUNTS];

/* How many choices are made beforehand; a power of two. */
#define BENCH_CHOICES 4096

/* KVM_SET_USER_MEMORY_REGION of a VM: 0 or a negative errno. */
typedef int bench_set_region_fn(void *vm, const struct kvm_userspace_memory_region *region);

struct bench_memslots {
	bench_set_region_fn *set_region;
	void *vm;
	unsigned int nr;
	uint32_t choice[BENCH_CHOICES]; /* each a number of a memslot */
	bool logging[BENCH_MOST_SLOTS]; /* is its dirty log on? */
};

/* Gives @vm, which has none, @nr memslots. */
int bench_memslots_fill(struct bench_memslots *memslots, bench_set_region_fn *set_region, void *vm,
			unsigned int nr);

/* Which memslot a worker's operation number @i is about. */
static inline uint32_t bench_memslots_choose(const struct bench_memslots *memslots,
					     const struct bench_worker *worker, uint64_t i)
{
	return memslots->choice[(worker->done + i) % BENCH_CHOICES];
}

static inline uint64_t bench_memslots_gfn(uint32_t slot)
{
	return (uint64_t)slot * 2;
}

/*
 * The page behind a memslot in the host's addresses, another one for each @gap below the number of
 * memslots; but not the page behind memslot @gap, so that a division can be saved.
 */
static inline uint64_t bench_memslots_gap_hva(uint32_t gap)
{
	return BENCH_FIRST_SLOT_HVA + ((uint64_t)gap * 2 + 1) * S2_PAGE_SIZE;
}

/* Plans a cell whose row is {"slots","op"}. */
int bench_memslots_plan(struct bench_plan *plan, const struct bench_memslots *memslots,
			const char *op, bench_run_fn *run, void *ctx);

/* Plans a cell for each way to update a memslot. */
int bench_memslots_plan_updates(struct bench_plan *plan, struct bench_memslots *memslots);

#endif
