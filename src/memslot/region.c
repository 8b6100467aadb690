/* SPDX-License-Identifier: MIT */
/*
 * The argument rules of KVM_SET_USER_MEMORY_REGION; region.h has their order.  They mirror
 * kvm_set_memory_region() and what it calls, and tests/memslot/test_kvm_differential.c holds them
 * against the kernel of the machine.
 */
#include "memslot/region.h"

#include <errno.h>
#include <stdbool.h>

#define REGION_FLAGS (KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)

static bool page_aligned(uint64_t value)
{
	return !(value & (S2_PAGE_SIZE - 1));
}

/* An end equal to the limit is allowed, and so is a delete that names the limit itself. */
static bool hva_range_ok(uint64_t hva, uint64_t size, uint64_t limit)
{
	return hva <= limit && size <= limit - hva;
}

int s2_region_check(const struct kvm_userspace_memory_region *mem,
		    const struct s2_region_rules *rules)
{
	if (mem->flags & ~REGION_FLAGS)
		return -EINVAL;
	if (!page_aligned(mem->memory_size) || !page_aligned(mem->guest_phys_addr))
		return -EINVAL;
	if (!page_aligned(mem->userspace_addr) ||
	    !hva_range_ok(mem->userspace_addr, mem->memory_size, rules->hva_limit))
		return -EINVAL;
	if (s2_region_as_id(mem) >= rules->nr_address_spaces ||
	    s2_region_slot_id(mem) >= rules->nr_slots)
		return -EINVAL;
	/* As in the kernel, a region that ends exactly at 2^64 counts as wrapping. */
	if (mem->guest_phys_addr + mem->memory_size < mem->guest_phys_addr)
		return -EINVAL;
	if (s2_region_npages(mem) > S2_REGION_MAX_PAGES)
		return -EINVAL;
	return 0;
}

static int classify_existing(const struct kvm_userspace_memory_region *mem,
			     const struct s2_region_old *old, enum s2_region_change *change)
{
	/* vCPUs may hold translations made from these: only a delete may drop them. */
	if (mem->userspace_addr != old->hva || s2_region_npages(mem) != old->npages ||
	    ((mem->flags ^ old->flags) & KVM_MEM_READONLY))
		return -EINVAL;

	if (s2_region_base_gfn(mem) != old->base_gfn)
		*change = S2_REGION_MOVE;
	else if (mem->flags != old->flags)
		*change = S2_REGION_FLAGS_ONLY;
	else
		*change = S2_REGION_NONE;
	return 0;
}

int s2_region_classify(const struct kvm_userspace_memory_region *mem,
		       const struct s2_region_old *old, uint64_t nr_memslot_pages,
		       enum s2_region_change *change)
{
	if (!mem->memory_size) {
		if (!old)
			return -EINVAL;
		*change = S2_REGION_DELETE;
		return 0;
	}
	if (old)
		return classify_existing(mem, old, change);

	if (nr_memslot_pages + s2_region_npages(mem) < nr_memslot_pages)
		return -EINVAL;
	*change = S2_REGION_CREATE;
	return 0;
}

int s2_region_check_reach(const struct kvm_userspace_memory_region *mem,
			  enum s2_region_change change, const struct s2_region_rules *rules)
{
	if (change != S2_REGION_CREATE && change != S2_REGION_MOVE)
		return 0;
	/* Step 1 ruled out wrapping and size 0, so the last gfn is well defined. */
	if (s2_region_base_gfn(mem) + s2_region_npages(mem) - 1 > rules->max_gfn)
		return -EINVAL;
	return 0;
}
