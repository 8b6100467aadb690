/* SPDX-License-Identifier: MIT */
/*
 * The argument rules of KVM_SET_USER_MEMORY_REGION, as pure functions: what one call asks for, and
 * whether it may have it.  They hold no state and take no lock, so that the order of the answers
 * can be read, and tested, apart from the indexes and the gates.
 *
 * A caller goes through the steps in this order, and returns the first refusal:
 *
 *   0. take a copy of the caller's struct (-EFAULT for a bad pointer): it may change under us
 *   1. s2_region_check()        -EINVAL  fields that no slot could have, whatever exists already
 *   2. s2_region_classify()     -EINVAL  what the slot of that id, or its absence, does not allow
 *                               S2_REGION_NONE: return 0 and leave everything, the generation
 *                               too, as it is
 *   3. CREATE and MOVE only:    -EEXIST  the new guest range overlaps a slot of another id in the
 *      (the gfn index)                   same address space; a MOVE may overlap its old place
 *   4. s2_region_check_reach()  -EINVAL  CREATE and MOVE only: the range ends beyond the last gfn
 *
 * Only the place of -EEXIST among these can be seen from outside: a region that both overlaps and
 * reaches too far is -EEXIST, one that overlaps and would change the size of a slot is -EINVAL.
 */
#ifndef S2_MEMSLOT_REGION_H
#define S2_MEMSLOT_REGION_H

#include "base/arch.h"

#include <linux/kvm.h>
#include <stage2/vm.h>
#include <stdint.h>

/*
 * What KVM on x86-64 grants, beside S2_USER_MEM_SLOTS.  A host range must end within the 47 bits
 * of user space less its guard page (access_ok()); guest addresses have 52 bits, less where KVM
 * uses two-dimensional paging and the CPU has fewer physical address bits.  A KVM on LA57 or LAM
 * hardware grants more host addresses.
 */
#define S2_REGION_HVA_LIMIT ((UINT64_C(1) << 47) - 4096)
#define S2_REGION_MAX_GFN ((UINT64_C(1) << 40) - 1)

/* The kernel indexes dirty bitmaps with an unsigned int, and refuses more pages than this. */
#define S2_REGION_MAX_PAGES ((UINT64_C(1) << 31) - 1)

enum s2_region_change {
	S2_REGION_CREATE,
	S2_REGION_DELETE,
	S2_REGION_MOVE, /* may change KVM_MEM_LOG_DIRTY_PAGES at the same time */
	S2_REGION_FLAGS_ONLY,
	S2_REGION_NONE,
};

struct s2_region_rules {
	unsigned int nr_slots;		/* slot ids are below this */
	unsigned int nr_address_spaces; /* address space ids are below this */
	uint64_t max_gfn;		/* the last guest frame a slot may have */
	uint64_t hva_limit;		/* a slot's last byte is below this */
};

/* What the rules ask of the slot that has the id now. */
struct s2_region_old {
	uint64_t base_gfn;
	uint64_t npages;
	uint64_t hva;
	uint32_t flags;
};

static inline unsigned int s2_region_as_id(const struct kvm_userspace_memory_region *mem)
{
	return mem->slot >> 16;
}

static inline unsigned int s2_region_slot_id(const struct kvm_userspace_memory_region *mem)
{
	return mem->slot & 0xffff;
}

static inline uint64_t s2_region_base_gfn(const struct kvm_userspace_memory_region *mem)
{
	return mem->guest_phys_addr >> S2_PAGE_SHIFT;
}

static inline uint64_t s2_region_npages(const struct kvm_userspace_memory_region *mem)
{
	return mem->memory_size >> S2_PAGE_SHIFT;
}

/*
 * Step 1.  Returns 0 or -EINVAL.  Holds for a delete too: a delete is refused for bad flags or an
 * address that is misaligned or out of user space, though it uses neither.
 */
int s2_region_check(const struct kvm_userspace_memory_region *mem,
		    const struct s2_region_rules *rules);

/*
 * Step 2, for a region that passed step 1.  @old is NULL when no slot has the id in that address
 * space; @nr_memslot_pages is the sum over all slots of the VM.  Returns 0 and sets @change, or
 * -EINVAL and leaves it.
 */
int s2_region_classify(const struct kvm_userspace_memory_region *mem,
		       const struct s2_region_old *old, uint64_t nr_memslot_pages,
		       enum s2_region_change *change);

/* Step 4, after the overlap check.  Returns 0 or -EINVAL. */
int s2_region_check_reach(const struct kvm_userspace_memory_region *mem,
			  enum s2_region_change change, const struct s2_region_rules *rules);

#endif
