/* SPDX-License-Identifier: MIT */
/*
 * struct s2_memslot: one guest range and the host range behind it. Immutable once
 * published, but for the bits of the dirty bitmap: an update makes a new one.
 */
#ifndef S2_MEMSLOT_MEMSLOT_H
#define S2_MEMSLOT_MEMSLOT_H

#include <linux/kvm.h>
#include <stage2/mm.h>
#include <stdatomic.h>
#include <stdbool.h>

struct s2_vm;

/*
 * @dirty_bitmap:  one bit per page, in words of 64; NULL without KVM_MEM_LOG_DIRTY_PAGES.
 *                 Bits are set under mmu_lock, shared or not, and taken under it
 *                 for write.
 * @bitmap_passed: a newer memslot has taken over the bitmap; only looked at when
 *                 this one is freed.
 */
struct s2_memslot {
	struct s2_vm *vm;
	uint64_t base_gfn;
	uint64_t npages;
	uint64_t hva;
	uint32_t flags;
	uint16_t id;
	bool bitmap_passed;
	_Atomic uint64_t *dirty_bitmap;
	struct s2_memslot *retired; /* link in the garbage */
	bool unindexed; /* its VM is going, and it is out of the hva index already */
};

static inline uint64_t s2_memslot_hva_end(const struct s2_memslot *slot)
{
	return slot->hva + (slot->npages << S2_PAGE_SHIFT);
}

/* KVM's hva_to_gfn_memslot() and back, for an address inside the memslot. */
static inline uint64_t s2_memslot_hva_to_gfn(const struct s2_memslot *slot, uint64_t hva)
{
	return slot->base_gfn + ((hva - slot->hva) >> S2_PAGE_SHIFT);
}

static inline uint64_t s2_memslot_gfn_to_hva(const struct s2_memslot *slot, uint64_t gfn)
{
	return slot->hva + ((gfn - slot->base_gfn) << S2_PAGE_SHIFT);
}

static inline bool s2_memslot_logs_dirty(const struct s2_memslot *slot)
{
	return slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
}

static inline bool s2_memslot_readonly(const struct s2_memslot *slot)
{
	return slot->flags & KVM_MEM_READONLY;
}

/* Words of 64 bits in a bitmap of @npages pages. */
static inline uint64_t s2_bitmap_words(uint64_t npages)
{
	return (npages + 63) / 64;
}

/* mark_page_dirty_in_slot(). The caller holds mmu_lock, shared at least. */
static inline void s2_memslot_mark_dirty(const struct s2_memslot *slot, uint64_t gfn)
{
	uint64_t page = gfn - slot->base_gfn;

	if (slot->dirty_bitmap)
		atomic_fetch_or_explicit(&slot->dirty_bitmap[page / 64], UINT64_C(1) << (page % 64),
					 memory_order_relaxed);
}

#endif /* S2_MEMSLOT_MEMSLOT_H */
