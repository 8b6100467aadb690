/* SPDX-License-Identifier: MIT */
/*
 * What tests of the pool begin with: a pool with two tiers that fail when told to, and
 * one VM whose memory is one region of it, in a memcg of its own, from gfn 0 on.
 */
#ifndef TESTS_POOL_POOL_VM_H
#define TESTS_POOL_POOL_VM_H

#include "pool/faulty_tier.h"
#include "small_vm.h"

#define POOL_FRAMES 16u /* the fewest there may be */

struct pool_vm {
	struct counting_allocator memory;
	struct faulty_tier tiers[2];
	struct s2_pool *pool;
	struct s2_memcg *memcg;
	struct s2_vm *vm;
	struct s2_vcpu *vcpu;
	uint64_t hva;
	uint64_t pages;
};

/* @limit in pages; @tiers: how many. */
void pool_vm_begin(struct pool_vm *p, enum s2_gate gate, unsigned frames, uint64_t pages,
		   uint64_t limit, unsigned tiers);

/* With a pool, and a memcg, that have more to them; allocator and tiers are the fixture's. */
void pool_vm_begin_config(struct pool_vm *p, const struct s2_pool_config *config, uint64_t pages,
			  const struct s2_memcg_config *memcg, unsigned tiers);

/* Also checks that all memory and all slots have come back. */
void pool_vm_end(struct pool_vm *p);

int map_region(struct s2_vm *vm, uint32_t id, uint64_t gfn, uint64_t pages, uint64_t hva);

struct s2_pool_stats pool_stats(struct pool_vm *p);
struct s2_pool_stats memcg_stats(struct s2_memcg *memcg);

/* Whole pages, each word of which tells the page's number and generation; 0 is zeroes. */
void page_fill(uint64_t *page, uint64_t gfn, uint64_t generation);
int guest_fill(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t generation);
bool page_is(const uint64_t *page, uint64_t gfn, uint64_t generation);
void assert_guest_has(struct s2_vcpu *vcpu, uint64_t gfn, uint64_t generation);
/* Pages @first to @end, and that the former succeeds. */
void guest_fill_pages(struct s2_vcpu *vcpu, uint64_t first, uint64_t end, uint64_t generation);
void assert_guest_has_pages(struct s2_vcpu *vcpu, uint64_t first, uint64_t end,
			    uint64_t generation);
int host_fill(struct pool_vm *p, uint64_t gfn, uint64_t generation);
void host_fill_pages(struct pool_vm *p, uint64_t first, uint64_t end, uint64_t generation);
void assert_host_has(struct pool_vm *p, uint64_t gfn, uint64_t generation);

static inline uint64_t hva_of(const struct pool_vm *p, uint64_t gfn)
{
	return p->hva + (gfn << S2_PAGE_SHIFT);
}

#endif /* TESTS_POOL_POOL_VM_H */
